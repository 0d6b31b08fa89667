"""One service for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.e2e.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a ready service; it must end cleanly and leave no process behind."""
    service = Service(tmp_path_factory.mktemp("service"))
    service.start()
    yield service
    assert service.stop() == 0, service.log.read_text()
