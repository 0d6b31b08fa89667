"""A store at a URL with a local copy."""

import shutil
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from cdvae_service.models import open_store
from cdvae_service.models.checksums import verify
from cdvae_service.models.local_store import LocalStore
from cdvae_service.models.publish import set_default
from cdvae_service.models.store_errors import BrokenModelError, StoreError

from .conftest import write_model


@pytest.fixture
def remote(store: Path, tmp_path: Path) -> LocalStore:
    """Return the store at a URL."""
    set_default(LocalStore(store), "perov-5")
    opened = open_store(f"file://{store}", tmp_path / "cache")
    opened.refresh()
    return opened


def test_cards_come_first_and_weights_when_asked_for(remote: LocalStore, store: Path) -> None:
    assert remote.references() == ["other@1", "perov-5@10", "perov-5@9"]
    assert remote.resolve(None) == ("perov-5", "10")
    assert not list(remote.folder.glob("*/*/weights.safetensors"))
    folder = remote.path("perov-5", "10")
    assert folder.is_relative_to(remote.folder)
    verify(folder, "perov-5@10")
    assert len(list(remote.folder.glob("*/*/weights.safetensors"))) == 1
    assert sorted(path.name for path in folder.parent.iterdir()) == ["10", "9"]


def test_statistics_come_with_the_card(remote: LocalStore, store: Path) -> None:
    assert not (remote.folder / "perov-5" / "10" / "reference.json").exists()
    (write_model(store, "perov-5", "11") / "reference.json").write_text("{}")
    remote.refresh()
    assert (remote.folder / "perov-5" / "11" / "reference.json").read_text() == "{}"
    assert not (remote.folder / "perov-5" / "11" / "weights.safetensors").exists()


def test_a_new_version_and_a_new_alias_are_seen(remote: LocalStore, store: Path) -> None:
    write_model(store, "perov-5", "11", "new")
    set_default(LocalStore(store), "perov-5@9")
    assert remote.resolve(None) == ("perov-5", "10")
    remote.refresh()
    assert remote.resolve(None) == ("perov-5", "9")
    assert remote.path("perov-5", "11").joinpath("weights.safetensors").read_text() == "new"


def test_what_was_damaged_on_the_way_is_refused(remote: LocalStore, store: Path) -> None:
    (store / "perov-5" / "9" / "weights.safetensors").write_text("weightz")
    with pytest.raises(BrokenModelError, match="sha256"):
        remote.path("perov-5", "9")
    assert not (remote.folder / "perov-5" / "9" / "weights.safetensors").exists()
    (store / "perov-5" / "9" / "weights.safetensors").write_text("weights")
    verify(remote.path("perov-5", "9"), "perov-5@9")


def test_an_outage_leaves_what_was_copied(remote: LocalStore, store: Path) -> None:
    remote.path("perov-5", "10")
    shutil.rmtree(store)
    assert remote.path("perov-5", "10").is_dir()
    with pytest.raises(StoreError):
        remote.path("perov-5", "9")
    assert remote.resolve(None) == ("perov-5", "10")


def test_an_unknown_protocol_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="gopher"):
        open_store("gopher://somewhere/models", tmp_path)


def test_an_s3_bucket(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP with an S3-compatible server."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        bucket = fsspec.filesystem("s3", skip_instance_cache=True)
        bucket.mkdir("models")
        bucket.put(f"{store}/", "models/shop", recursive=True)
        remote = open_store("s3://models/shop", tmp_path / "cache")
        remote.refresh()
        assert remote.resolve("perov-5") == ("perov-5", "10")
        verify(remote.path("perov-5", "10"), "perov-5@10")
        write_model(store, "perov-5", "11", "new")
        bucket.put(f"{store}/perov-5/11/", "models/shop/perov-5/11", recursive=True)
        remote.refresh()
        verify(remote.path("perov-5", "11"), "perov-5@11")
    finally:
        server.stop()
        S3FileSystem.clear_instance_cache()  # it caches the connection to the stopped server
