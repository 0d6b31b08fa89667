"""Add versions to a store, atomically and after a check."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cdvae_schema.cards import ModelCard
from cdvae_schema.result_files import write_whole
from cdvae_service.models.checksums import verify
from cdvae_service.models.local_store import ALIAS, CARD, WEIGHTS, LocalStore
from cdvae_service.models.store_errors import BrokenModelError, StoreError, UnknownModelError

Fetch = Callable[[str, Path], None]


def add(store: LocalStore, source: Path) -> ModelCard:
    """Copy the model folder `source` into the store, under the name and version of its card.

    Raises BrokenModelError for a damaged folder and StoreError for an existing version.
    """
    try:
        card = ModelCard.model_validate_json((source / CARD).read_bytes())
    except (OSError, ValueError) as error:
        raise BrokenModelError(f"{source} is not a model folder: {error}") from error
    target = store.folder / card.name / card.version

    def fetch(name: str, to: Path) -> None:
        try:
            shutil.copyfile(source / name, to)
        except OSError as error:
            raise BrokenModelError(f"{source / name}: {error.strerror}") from error

    with checked_copy(target.parent, card, fetch) as folder:
        try:
            folder.rename(target)
        except OSError as error:  # a rename onto a folder with files fails, also in a race
            raise StoreError(
                f"the store has {card.reference} already; versions are immutable"
            ) from error
    return card


def pull(origin: LocalStore, reference: str, target: LocalStore) -> bool:
    """Copy a `name@version` between stores; return False if `target` has it already.

    The alias `default` is copied too, once `target` has the model that it refers to.
    Raises StoreError.
    """
    name, version = origin.resolve(reference)
    new = version not in target.versions(name)
    if new:
        add(target, origin.path(name, version))
    default = origin.default()
    if default is not None and not (target.folder / ALIAS).exists():
        with suppress(UnknownModelError):
            set_default(target, default)
    return new


@contextmanager
def checked_copy(parent: Path, card: ModelCard, fetch: Fetch) -> Iterator[Path]:
    """Yield a temporary folder in `parent` with the card's files, fetched and checked.

    The caller renames it; it is on the file system of `parent`, so the rename is atomic.
    """
    parent.mkdir(parents=True, exist_ok=True)
    # No version starts with a dot, so the unfinished copy is not mistaken for one.
    with tempfile.TemporaryDirectory(dir=parent, prefix=".new-") as scratch:
        folder = Path(scratch) / card.version
        folder.mkdir()
        for name in (CARD, WEIGHTS, *card.files_sha256):
            fetch(name, folder / name)
        verify(folder, card.reference)
        yield folder


def set_default(store: LocalStore, reference: str) -> None:
    """Point the alias `default` to `reference`; raises UnknownModelError."""
    store.resolve(reference)
    write_whole(store.folder / ALIAS, f"{reference}\n")
