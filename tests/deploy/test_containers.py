"""Dockerfile and compose file as their linters see them, and that they agree with the rest."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TARGETS = ("app", "worker-cpu", "worker-gpu")


def passes(*command: str) -> None:
    tool = Path(sys.executable).with_name(command[0])
    ended = subprocess.run(
        [str(tool), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def test_the_dockerfile_passes_hadolint() -> None:
    passes("hadolint", "Dockerfile")


def test_the_scripts_pass_shellcheck() -> None:
    passes("shellcheck", "deploy/check_images.sh", ".ci/run")


def test_the_compose_file_fits_its_schema() -> None:
    passes("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_every_package_is_in_the_images() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {
        "benchmarks",
        "deploy",
        "scripts",
        "tests",
    }
    assert packages
    for package in packages:
        assert f"COPY {package} ./{package}\n" in dockerfile
        assert f"!{package}" in ignore


def test_compose_builds_the_targets_and_mounts_what_there_is() -> None:
    services = compose()["services"]
    stages = re.findall(r"^FROM .* AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    built = {service["build"]["target"] for service in services.values() if "build" in service}
    assert built == set(TARGETS) <= set(stages)
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), (name, source)
            else:
                assert source in compose()["volumes"]
        image = service["image"]
        assert re.search(r":v?\d+\.\d+\.\d+", image), f"{name} is not pinned: {image}"


def test_ours_run_hardened_and_nothing_is_published_beyond_this_machine() -> None:
    for service in compose()["services"].values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
        if "build" in service:
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]


def test_prometheus_and_grafana_find_each_other() -> None:
    services = compose()["services"]
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())["scrape_configs"]
    names = [n for job in scraped for one in job.get("dns_sd_configs", ()) for n in one["names"]]
    assert set(names) == {"app", "worker", "worker-gpu"} <= set(services)
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards" / "cdvae.yml").read_text())["providers"]
    mounts = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts
    assert set(services["grafana"]["networks"]) & set(services["prometheus"]["networks"])
