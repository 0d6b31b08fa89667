"""Calls generated from the API description, good and bad: none is answered with a 5xx.

`CDVAE_GENERATED_CALLS=5000` makes as many; without it some hundred are enough for every day.
"""

import os
import subprocess
import sys
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.site import Site

CALLS = int(os.environ.get("CDVAE_GENERATED_CALLS", "300"))
ROUND = 1000  # calls that are asked for at a time, each round with a seed of its own
SEED = 1


def answered(client: httpx2.Client) -> dict[str, int]:
    """Requests by status, as the service counted them."""
    counts: dict[str, int] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == "cdvae_http_requests_total":
                status = sample.labels["status"]
                counts[status] = counts.get(status, 0) + int(sample.value)
    return counts


def test_no_generated_call_breaks_the_service(site: Site) -> None:
    client = site.start_api(CDVAE_MAX_WAIT="0", CDVAE_LOG_LEVEL="WARNING")
    operations = sum(map(len, client.get("/openapi.json").json()["paths"].values()))
    rounds = 0
    while sum(answered(client).values()) < CALLS:
        rounds += 1
        assert rounds <= 10 + CALLS // 100, answered(client)
        ended = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run",
                f"{client.base_url}/openapi.json".replace("//openapi", "/openapi"),
                "--checks=not_a_server_error",
                "--phases=fuzzing",
                "--mode=all",
                # /readyz is 503 on purpose where workers are asked for, and the events of a job
                # that nobody works on have no end.
                "--exclude-path=/readyz",
                "--exclude-path=/jobs/{job_id}/events",
                f"--max-examples={max(10, 2 * min(CALLS, ROUND) // operations)}",
                f"--seed={SEED + rounds}",
                "--suppress-health-check=all",
                "--no-color",
            ],
            capture_output=True,
            text=True,
            cwd=site.folder,
            check=False,
            timeout=3600,
        )
        assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
    counts = answered(client)
    assert [status for status in counts if status.startswith("5")] == []
    assert {"200", "202", "404", "422"} <= set(counts)
