"""Both stores of results behave the same: a directory and an S3-compatible service."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from cdvae_service.results.result_store import (
    DirectoryStore,
    ObjectStore,
    ResultStore,
    ResultStoreError,
    open_store,
)

BUCKET = "crystals"

HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.mark.parametrize(
    "facts",
    [
        {"LastModified": HOUR_AGO},  # S3
        {"updated": HOUR_AGO.isoformat().replace("+00:00", "Z")},  # Google Cloud Storage
        {"last_modified": HOUR_AGO},  # Azure
        {"last_modified": format_datetime(HOUR_AGO)},
        {"mtime": HOUR_AGO.timestamp(), "created": time.time()},  # files
        {},  # it says so only when it is asked
    ],
)
def test_every_object_store_says_when_a_file_was_written(
    facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore("memory://results")
    files = store._files
    listing = {f"{store._root}/job/chunk-0.json": {"type": "file", **facts}}
    monkeypatch.setattr(files, "find", lambda *_, **__: listing)
    monkeypatch.setattr(files, "modified", lambda path: HOUR_AGO)
    before = (datetime.now(UTC) - HOUR_AGO).total_seconds()
    age = dict(store.ages())["job"]
    # The headers of HTTP have whole seconds.
    assert before - 1 <= age <= (datetime.now(UTC) - HOUR_AGO).total_seconds() + 1


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Yield the URL of a bucket on a local S3-compatible server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).mkdir(BUCKET)
        yield f"s3://{BUCKET}/results"
    server.stop()


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    if request.param == "directory":
        return open_store(tmp_path, None)
    url = request.getfixturevalue("s3")
    return open_store(tmp_path, f"{url}/{tmp_path.name}")


def test_what_is_written_is_read(store: ResultStore) -> None:
    assert store.names("job") == []
    assert list(store.ages()) == []
    store.write("job", "chunk-00000.json", "[1, 2]")
    store.write("job", "result.json", '{"text": "Å"}')
    store.write("other", "chunk-00000.json", "[]")
    assert sorted(store.names("job")) == ["chunk-00000.json", "result.json"]
    assert store.read("job", "result.json").decode() == '{"text": "Å"}'
    store.write("job", "result.json", "again")
    assert store.read("job", "result.json") == b"again"
    ages = dict(store.ages())
    assert set(ages) == {"job", "other"}
    assert all(-5 < age < 60 for age in ages.values())


def test_what_is_not_there_is_missing(store: ResultStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("job", "result.json")
    store.write("job", "result.json", "x")
    with pytest.raises(FileNotFoundError):
        store.read("job", "chunk-00000.json")


def test_files_and_jobs_are_removed(store: ResultStore) -> None:
    for name in ("a", "b", "c"):
        store.write("job", name, name)
    store.delete("job", ["a", "b", "missing"])
    assert store.names("job") == ["c"]
    store.remove("job")
    store.remove("job")
    assert store.names("job") == []


def test_another_process_sees_what_is_new(store: ResultStore, tmp_path: Path, s3: str) -> None:
    is_directory = isinstance(store, DirectoryStore)
    other = open_store(tmp_path, None if is_directory else f"{s3}/{tmp_path.name}")
    assert other.names("job") == []
    store.write("job", "a", "1")
    assert other.names("job") == ["a"]
    store.delete("job", ["a"])
    assert other.names("job") == []


@pytest.mark.parametrize("job_id", ["../up", "a/b", "", "x" * 65, "job\n"])
def test_no_id_leaves_the_store(store: ResultStore, job_id: str) -> None:
    for call in (store.names, store.remove, lambda one: store.write(one, "a", "1")):
        with pytest.raises(ValueError, match="not a job id"):
            call(job_id)


def test_a_directory_that_cannot_be_written_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file in the way")
    with pytest.raises(ResultStoreError, match=r"NotADirectory|FileExists"):
        open_store(tmp_path, None).write("job", "a", "1")


def test_a_file_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path)
    store.write("job", "a", "before")

    def fail(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ResultStoreError, match="No space left"):
        store.write("job", "a", "after")
    assert store.read("job", "a") == b"before"
    assert store.names("job") == ["a"]


def test_an_object_store_that_is_gone_is_an_error_of_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    begun = time.monotonic()
    with pytest.raises(ResultStoreError):
        ObjectStore("s3://nowhere/results").write("job", "a", "1")
    assert time.monotonic() - begun < 60
