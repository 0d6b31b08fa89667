"""References, checks of model folders, and adding versions to a store."""

import threading
from pathlib import Path

import pytest

from cdvae_service.models import open_store
from cdvae_service.models.checksums import verify
from cdvae_service.models.local_store import LocalStore
from cdvae_service.models.publish import add, set_default
from cdvae_service.models.store_errors import BrokenModelError, StoreError, UnknownModelError

from .conftest import write_model


def test_references(store: Path) -> None:
    models = LocalStore(store)
    assert models.references() == ["other@1", "perov-5@10", "perov-5@9"]
    assert models.resolve("perov-5") == ("perov-5", "10")
    assert models.resolve("perov-5@9") == ("perov-5", "9")
    for reference in ("nothing", "perov-5@11", "../perov-5", "", "perov-5@", "a@b@c"):
        with pytest.raises(UnknownModelError):
            models.resolve(reference)


def test_the_only_model_is_the_default(tmp_path: Path, store: Path) -> None:
    with pytest.raises(UnknownModelError, match="no default"):
        LocalStore(store).resolve(None)
    write_model(tmp_path / "small", "only", "3")
    assert LocalStore(tmp_path / "small").resolve(None) == ("only", "3")


def test_the_alias(store: Path) -> None:
    models = LocalStore(store)
    set_default(models, "perov-5")
    assert models.resolve(None) == ("perov-5", "10")
    set_default(models, "perov-5@9")
    assert models.resolve(None) == ("perov-5", "9")
    # The bare name follows the alias, so that going back to an old version affects every request.
    assert models.resolve("perov-5") == ("perov-5", "9")
    assert models.resolve("perov-5@10") == ("perov-5", "10")
    assert models.resolve("other") == ("other", "1")
    with pytest.raises(UnknownModelError):
        set_default(models, "perov-5@11")
    assert models.default() == "perov-5@9"


def test_a_new_version_is_added_whole(tmp_path: Path, store: Path) -> None:
    source = write_model(tmp_path / "elsewhere", "perov-5", "11", "new weights")
    (source / "notes.txt").write_text("not listed in the card")
    card = add(LocalStore(store), source)
    assert card.reference == "perov-5@11"
    assert LocalStore(store).resolve("perov-5") == ("perov-5", "11")
    folder = store / "perov-5" / "11"
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "config.toml",
        "weights.safetensors",
    ]
    assert verify(folder, "perov-5@11") == card
    assert sorted(path.name for path in folder.parent.iterdir()) == ["10", "11", "9"]


@pytest.mark.parametrize("fault", ["changed", "missing", "card"])
def test_a_damaged_version_is_refused(tmp_path: Path, store: Path, fault: str) -> None:
    source = write_model(tmp_path / "elsewhere", "perov-5", "11")
    if fault == "changed":
        (source / "weights.safetensors").write_text("weights of another run")
    elif fault == "missing":
        (source / "config.toml").unlink()
    else:
        (source / "card.json").write_text('{"name": "perov-5"}')
    with pytest.raises(BrokenModelError):
        add(LocalStore(store), source)
    assert sorted(path.name for path in (store / "perov-5").iterdir()) == ["10", "9"]


def test_versions_do_not_change(tmp_path: Path, store: Path) -> None:
    source = write_model(tmp_path / "elsewhere", "perov-5", "10", "other weights")
    with pytest.raises(StoreError, match="already"):
        add(LocalStore(store), source)
    assert (store / "perov-5" / "10" / "weights.safetensors").read_text() == "weights"


def test_one_of_two_that_add_the_same_version_wins(tmp_path: Path, store: Path) -> None:
    sources = [write_model(tmp_path / x, "perov-5", "11", f"weights {x}") for x in "ab"]
    faults: list[StoreError] = []

    def put(source: Path) -> None:
        try:
            add(LocalStore(store), source)
        except StoreError as error:
            faults.append(error)

    threads = [threading.Thread(target=put, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(faults) == 1
    verify(store / "perov-5" / "11", "perov-5@11")


def test_a_card_belongs_to_its_folder(store: Path) -> None:
    (store / "other" / "1").rename(store / "other" / "2")
    with pytest.raises(BrokenModelError, match="belongs to other@1"):
        verify(store / "other" / "2", "other@2")


def test_a_place_without_a_protocol_is_a_folder(store: Path, tmp_path: Path) -> None:
    assert open_store(str(store), tmp_path / "cache").folder == store
