"""The search for models when no setting names a store."""

import sys
from pathlib import Path

import pytest

from cdvae_service.models import discovery, open_store
from cdvae_service.models.store_errors import NoStoreError


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty working directory and a package folder outside a checkout."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(discovery, "ROOT", tmp_path / "checkout")
    return folder


def make_checkout(folder: Path) -> Path:
    (folder / "checkout" / "model_store").mkdir(parents=True)
    (folder / "checkout" / "pyproject.toml").touch()
    return folder / "checkout" / "model_store"


def install_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = folder / "site" / discovery.PACKAGE
    package.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(package.parent)])
    return package


def test_the_order_is_working_directory_then_checkout_then_package(
    working_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = install_package(tmp_path, monkeypatch)
    assert discovery.find_store() == package
    checkout = make_checkout(tmp_path)
    assert discovery.find_store() == discovery.installed_store() == checkout
    (working_directory / "model_store").mkdir()
    assert discovery.find_store() == working_directory / "model_store"
    assert discovery.installed_store() == checkout
    assert open_store(None, tmp_path).folder == working_directory / "model_store"
    assert open_store(str(checkout), tmp_path).folder == checkout


def test_without_a_store_the_message_names_the_places_and_the_ways_out(
    working_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "pyproject.toml").touch()
    with pytest.raises(NoStoreError) as caught:
        open_store(None, tmp_path)
    for expected in (
        str(working_directory / "model_store"),
        str(tmp_path / "checkout" / "model_store"),
        "cdvae-models",
        "cdvae models pull",
        "CDVAE_MODEL_STORE",
    ):
        assert expected in str(caught.value)
    with pytest.raises(NoStoreError, match="--from"):
        discovery.installed_store()
