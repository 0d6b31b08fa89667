"""A site of real processes: Redis with its append-only file, workers, front ends."""

import json
import shutil
from collections.abc import Iterator

import pytest

from cdvae.testing import write_tiny_model
from tests.faults.site import Site
from tests.worker.conftest import BEHAVIOURS


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with Redis alone; whatever a test starts is ended."""
    folder = tmp_path_factory.mktemp("site")
    tiny = write_tiny_model(folder / "store")
    for name in BEHAVIOURS:
        copy = folder / "store" / name / "1"
        shutil.copytree(tiny, copy)
        card = json.loads((copy / "card.json").read_text())
        (copy / "card.json").write_text(json.dumps({**card, "name": name}))
    (folder / "store" / "default.txt").write_text("tiny\n")
    site = Site(folder)
    site.open()
    yield site
    site.close()
