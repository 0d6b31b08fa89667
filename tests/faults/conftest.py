"""A site of real processes: Redis with its append-only file, workers, front ends."""

from collections.abc import Iterator

import pytest

from tests.faults.site import Site, open_site


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a site with only Redis; all processes that a test starts end with it."""
    with open_site(tmp_path_factory.mktemp("site")) as site:
        yield site
