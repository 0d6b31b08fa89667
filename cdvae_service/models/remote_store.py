"""A model store at a URL that fsspec reads, with a local copy.

`refresh` copies cards, statistics and the alias; `path` copies the other files of a version. The
front end therefore never downloads weights.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

try:
    import fsspec
except ImportError:
    fsspec = None

from cdvae_schema.cards import ModelCard
from cdvae_schema.result_files import write_whole
from cdvae_service.models.checksums import read_card
from cdvae_service.models.local_store import ALIAS, CARD, STATISTICS, WEIGHTS, LocalStore
from cdvae_service.models.publish import checked_copy
from cdvae_service.models.store_errors import StoreError


class RemoteStore(LocalStore):
    """The store at `url`; models copied to the folder `cache` remain usable in an outage."""

    def __init__(self, url: str, cache: Path) -> None:
        super().__init__(cache)
        self.url = url
        if fsspec is None:
            raise StoreError(f"{url} requires fsspec: pip install 'cdvae-service[s3]'")
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{url}: {error}") from error

    def refresh(self) -> None:
        """Copy new cards, their statistics and the alias; raises StoreError."""
        with self._errors():
            self._files.invalidate_cache()
            cards = self._files.glob(f"{self._root}/*/*/{CARD}")
            for card in cards:
                name, version = card.split("/")[-3:-1]
                target = self.folder / name / version
                if (target / CARD).exists():  # versions are immutable
                    continue
                statistics = card.removesuffix(CARD) + STATISTICS
                if self._files.exists(statistics):
                    write_whole(target / STATISTICS, self._read(statistics))
                write_whole(target / CARD, self._read(card))  # last: it marks the copy as complete
            alias = f"{self._root}/{ALIAS}"
            if self._files.exists(alias):
                write_whole(self.folder / ALIAS, self._read(alias))

    def path(self, name: str, version: str) -> Path:
        """Return the folder of a version; downloads and checks a missing one."""
        target = super().path(name, version)
        if not (target / WEIGHTS).exists():
            card = read_card(target, f"{name}@{version}")
            with checked_copy(target.parent, card, partial(self._fetch, card)) as folder:
                for file in (
                    *card.files_sha256,
                    WEIGHTS,
                ):  # the weights come last and mark the copy as complete
                    (folder / file).replace(target / file)
        return target

    def _fetch(self, card: ModelCard, file: str, to: Path) -> None:
        with self._errors():
            self._files.get_file(f"{self._root}/{card.name}/{card.version}/{file}", str(to))

    def _read(self, place: str) -> str:
        content: Any = self._files.cat_file(place)
        return bytes(content).decode()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert the errors of the file system, which differ by protocol, to StoreError."""
        try:
            yield
        except Exception as error:
            raise StoreError(f"{self.url}: {type(error).__name__}: {error}") from error
