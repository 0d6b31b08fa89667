"""A running service with a real Prometheus that watches it, for the tests of a module."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.prometheus import Prometheus
from tests.e2e.service import Service, environment


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    (card,) = Path(environment(folder)["CDVAE_MODEL_STORE"]).glob("*/*/card.json")
    # The card names a validity, so that the alert has a value to compare with.
    content = json.loads(card.read_text()) | {"quality": {"generation": {"validity": 0.5}}}
    card.write_text(json.dumps(content))
    # One job at a time, so that the next one waits.
    service = Service(folder, settings={"CDVAE_MAX_CONCURRENT_JOBS": "1"})
    service.start()
    yield service
    assert service.stop() == 0, service.log.read_text()


@pytest.fixture(scope="module")
def prometheus(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    targets = {
        "cdvae-app": service.port,
        "cdvae-worker": int(service.variables["CDVAE_WORKER_METRICS_PORT"]),
    }
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), targets)
    prometheus.start()
    yield prometheus
    prometheus.stop()
