"""The store of results: a directory, or an object store such as S3 through fsspec.

App and workers see the same store. Whatever goes wrong with it raises ResultStoreError.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import fsspec

from cdvae_schema.job_results import checked_job_id
from cdvae_schema.result_files import write_whole

P = ParamSpec("P")
R = TypeVar("R")


class ResultStoreError(Exception):
    """The store does not do what it should: full, unreachable, forbidden; the text says why."""


def _store_errors(*passed: type[Exception]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Turn a method's errors into ResultStoreError, except ValueError and those in `passed`."""

    meant: tuple[type[Exception], ...] = (ValueError, *passed)

    def guard(method: Callable[P, R]) -> Callable[P, R]:
        @wraps(method)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return method(*args, **kwargs)
            except meant:
                raise
            except Exception as error:  # every object store has its own
                raise ResultStoreError(f"{type(error).__name__}: {error}") from error

        return guarded

    return guard


class ResultStore(Protocol):
    """Small text files in one folder for each job."""

    def names(self, job_id: str) -> list[str]:
        """The files of a job, in no order; empty where it has none."""

    def read(self, job_id: str, name: str) -> bytes:
        """A file's content; FileNotFoundError where it is missing."""

    def write(self, job_id: str, name: str, text: str) -> None:
        """Store `text` so that a reader sees all of it or what was there before."""

    def delete(self, job_id: str, names: list[str]) -> None:
        """Remove some files of a job, those that are there."""

    def remove(self, job_id: str) -> None:
        """Remove all that there is of a job."""

    def ages(self) -> Iterator[tuple[str, float]]:
        """Every job that has files, with the seconds since the last of them was written."""


class DirectoryStore:
    """Results below a directory of this machine or of a shared file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _folder(self, job_id: str) -> Path:
        return self._root / checked_job_id(job_id)

    @_store_errors()
    def names(self, job_id: str) -> list[str]:
        try:
            return os.listdir(self._folder(job_id))
        except FileNotFoundError:
            return []

    @_store_errors(FileNotFoundError)
    def read(self, job_id: str, name: str) -> bytes:
        return (self._folder(job_id) / name).read_bytes()

    @_store_errors()
    def write(self, job_id: str, name: str, text: str) -> None:
        write_whole(self._folder(job_id) / name, text)

    @_store_errors()
    def delete(self, job_id: str, names: list[str]) -> None:
        for name in names:
            (self._folder(job_id) / name).unlink(missing_ok=True)

    @_store_errors()
    def remove(self, job_id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder(job_id))

    @_store_errors()
    def ages(self) -> Iterator[tuple[str, float]]:
        if not self._root.is_dir():
            return iter(())
        now = time.time()
        found = []
        for folder in self._root.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another worker was faster
                found.append((folder.name, now - folder.stat().st_mtime))
        return iter(found)


class ObjectStore:
    """Results below a URL of fsspec, e.g. `s3://bucket/prefix`; an object appears whole."""

    def __init__(self, url: str) -> None:
        # A cached listing would hide what another process has just written.
        self._files, root = fsspec.url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True
        )
        self._root = root.rstrip("/")

    def _folder(self, job_id: str) -> str:
        return f"{self._root}/{checked_job_id(job_id)}"

    def _listed(self, folder: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self._files.find(folder, detail=True)
        return found

    @_store_errors()
    def names(self, job_id: str) -> list[str]:
        return [path.rpartition("/")[2] for path in self._listed(self._folder(job_id))]

    @_store_errors(FileNotFoundError)
    def read(self, job_id: str, name: str) -> bytes:
        content: bytes = self._files.cat_file(f"{self._folder(job_id)}/{name}")
        return content

    @_store_errors()
    def write(self, job_id: str, name: str, text: str) -> None:
        self._files.pipe_file(f"{self._folder(job_id)}/{name}", text.encode())

    @_store_errors()
    def delete(self, job_id: str, names: list[str]) -> None:
        there = set(self.names(job_id))
        wanted = [f"{self._folder(job_id)}/{name}" for name in names if name in there]
        if wanted:
            self._files.rm(wanted)

    @_store_errors()
    def remove(self, job_id: str) -> None:
        self.delete(job_id, self.names(job_id))

    @_store_errors()
    def ages(self) -> Iterator[tuple[str, float]]:
        newest: dict[str, float] = {}
        now = time.time()
        for path, facts in self._listed(self._root).items():
            job_id = path.removeprefix(f"{self._root}/").partition("/")[0]
            written = facts.get("LastModified") or facts["created"]
            assert isinstance(written, datetime)
            newest[job_id] = min(newest.get(job_id, now), now - written.timestamp())
        return iter(newest.items())


def open_store(home: Path, url: str | None) -> ResultStore:
    """The store at a URL of fsspec; without one the directory `results` in `home`."""
    return DirectoryStore(home / "results") if url is None else ObjectStore(url)
