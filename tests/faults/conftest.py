"""A site of real processes: Redis with its append-only file, workers, front ends."""

from collections.abc import Iterator

import pytest

from tests.faults.site import Site, open_site


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with Redis alone; whatever a test starts is ended."""
    with open_site(tmp_path_factory.mktemp("site")) as site:
        yield site
