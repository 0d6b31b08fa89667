"""The committed synchronous client is generated from the one for asyncio."""

from scripts.sync_client import PACKAGE, generated


def test_the_synchronous_client_is_up_to_date() -> None:
    stale = [name for name, text in generated().items() if (PACKAGE / name).read_text() != text]
    assert not stale, "run `make client`"
