"""A real Redis and models that misbehave."""

import shutil
import signal
from collections.abc import Iterator

import pytest
from redis import Redis

from cdvae.testing import write_tiny_model
from cdvae_service.cli.stack.redis_server import RedisServer
from tests.worker.laboratory import Lab

BEHAVIOURS = (
    "pairs",
    "paced",
    "slow",
    "counted",
    "thorough",
    "stuck",
    "nan",
    "nan_property",
    "raises",
    "no_memory",
    "exits",
    "killed",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A laboratory without workers."""
    folder = tmp_path_factory.mktemp("lab")
    tiny = write_tiny_model(folder / "store")
    for name in BEHAVIOURS:
        shutil.copytree(tiny, folder / "store" / name / "1")
    (folder / "store" / "default.txt").write_text("tiny\n")
    server = RedisServer(folder / "redis")
    server.start()
    with Redis.from_url(server.url) as client:
        lab = Lab(folder, server.url, client)
        yield lab
        for worker in lab.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in lab.workers:
            worker.wait(20)
    server.stop()
