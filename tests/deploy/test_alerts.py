"""Configuration, rules and alerts as promtool sees them; every alert has a test and a runbook."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.prometheus import DEPLOY
from tests.needs import program

RUNBOOK = DEPLOY.parent / "docs" / "operations.md"


def promtool(*words: str) -> str:
    ended = subprocess.run(
        [program("promtool", "Debian's prometheus"), *words],
        cwd=DEPLOY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def alerts() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]:
        yield from (rule for rule in group["rules"] if "alert" in rule)


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-kubernetes.yml"])
def test_the_configuration_is_valid(name: str, tmp_path: Path) -> None:
    config = yaml.safe_load((DEPLOY / name).read_text())
    for job in config["scrape_configs"]:
        # Debian builds Prometheus without the discovery of pods.
        for search in job.pop("kubernetes_sd_configs", []):
            assert set(search) == {"role", "namespaces"}
    shutil.copy(DEPLOY / "alerts.yml", tmp_path)
    (tmp_path / name).write_text(yaml.safe_dump(config))
    assert "SUCCESS" in promtool("check", "config", str(tmp_path / name))


def test_every_alert_fires_for_its_cause_and_not_without() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_no_alert_is_untested() -> None:
    tests = yaml.safe_load((DEPLOY / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in alerts()}


def test_every_alert_has_a_runbook() -> None:
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for rule in alerts():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md"
        assert anchor in anchors, rule["alert"]
        assert anchor == rule["alert"].lower()
