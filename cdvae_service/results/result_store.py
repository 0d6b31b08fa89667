"""Store results in a directory or an object store such as S3 through fsspec.

The front end and the workers use the same store. Every failure raises ResultStoreError.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import fsspec

from cdvae_schema.job_results import checked_job_id
from cdvae_schema.result_files import write_whole

P = ParamSpec("P")
R = TypeVar("R")


class ResultStoreError(Exception):
    """The store failed, e.g. full, unreachable or forbidden; the message gives the reason."""


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
            except Exception as error:  # every object store has its own error classes
                raise ResultStoreError(f"{type(error).__name__}: {error}") from error

        return guarded

    return guard


class ResultStore(Protocol):
    """Small text files in one folder for each job."""

    def names(self, job_id: str) -> list[str]:
        """Return the names of a job's files, in no order; empty if it has none."""

    def read(self, job_id: str, name: str) -> bytes:
        """Return the content of a file; raises FileNotFoundError."""

    def write(self, job_id: str, name: str, text: str) -> None:
        """Store `text` atomically: a reader sees the old or the new content."""

    def delete(self, job_id: str, names: list[str]) -> None:
        """Remove these files of a job; missing ones are ignored."""

    def remove(self, job_id: str) -> None:
        """Remove all files of a job."""

    def ages(self) -> Iterator[tuple[str, float]]:
        """Yield each job with files and the seconds since its last write."""


class DirectoryStore:
    """Results in a directory, on this machine or on a shared file system."""

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
            with contextlib.suppress(FileNotFoundError):  # another worker removed it first
                found.append((folder.name, now - folder.stat().st_mtime))
        return iter(found)


class ObjectStore:
    """Results at a URL of fsspec, e.g. `s3://bucket/prefix`; objects are written atomically."""

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
            newest[job_id] = min(newest.get(job_id, now), now - self._written(path, facts))
        return iter(newest.items())

    def _written(self, path: str, facts: dict[str, Any]) -> float:
        """Return when a file was written, in seconds since the epoch."""
        value = next((facts[name] for name in _WRITTEN if facts.get(name)), None)
        if value is None:
            value = self._files.modified(path)
        if isinstance(value, str):
            value = _parsed(value)
        return value.timestamp() if isinstance(value, datetime) else float(value)


_WRITTEN = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
"""Names of the modification time in listings of S3, Azure, Google Cloud, files and others."""


def _parsed(text: str) -> datetime:
    """Return a time written as ISO 8601 or as in HTTP headers; UTC where it names no zone."""
    try:
        time_written = datetime.fromisoformat(text)
    except ValueError:
        time_written = parsedate_to_datetime(text)
    return time_written if time_written.tzinfo else time_written.replace(tzinfo=UTC)


def open_store(home: Path, url: str | None) -> ResultStore:
    """Return the store at a URL of fsspec; without a URL the directory `results` in `home`."""
    return DirectoryStore(home / "results") if url is None else ObjectStore(url)
