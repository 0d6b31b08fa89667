"""A model store elsewhere, at any URL that fsspec reads, with a copy of what is needed here.

Cards, statistics and the alias are copied by `refresh`, the other files of a version when somebody
asks for its folder. The front end therefore never downloads weights.
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
    """The store at `url`, copied to the folder `cache`; what has been copied outlives an outage."""

    def __init__(self, url: str, cache: Path) -> None:
        super().__init__(cache)
        self.url = url
        if fsspec is None:
            raise StoreError(f"{url} needs fsspec: pip install 'cdvae-service[s3]'")
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{url}: {error}") from error

    def refresh(self) -> None:
        """Copy new cards, their statistics and the alias; StoreError if the store is away."""
        with self._errors():
            self._files.invalidate_cache()
            cards = self._files.glob(f"{self._root}/*/*/{CARD}")
            for card in cards:
                name, version = card.split("/")[-3:-1]
                target = self.folder / name / version
                if (target / CARD).exists():  # versions do not change
                    continue
                statistics = card.removesuffix(CARD) + STATISTICS
                if self._files.exists(statistics):
                    write_whole(target / STATISTICS, self._read(statistics))
                write_whole(target / CARD, self._read(card))  # last: it says that all is here
            alias = f"{self._root}/{ALIAS}"
            if self._files.exists(alias):
                write_whole(self.folder / ALIAS, self._read(alias))

    def path(self, name: str, version: str) -> Path:
        """The folder of a version, downloaded and checked if it is not here yet."""
        target = super().path(name, version)
        if not (target / WEIGHTS).exists():
            card = read_card(target, f"{name}@{version}")
            with checked_copy(target.parent, card, partial(self._fetch, card)) as folder:
                for file in (*card.files_sha256, WEIGHTS):  # the weights say that all is here
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
        """Whatever the file system raises, as a StoreError: each protocol has its own errors."""
        try:
            yield
        except Exception as error:
            raise StoreError(f"{self.url}: {type(error).__name__}: {error}") from error
