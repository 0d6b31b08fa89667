"""Front end and worker that share only an S3-compatible store for results."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from cdvae_service.cli.stack.stack import free_port
from tests.e2e.service import Service

BUCKET = "crystals-of-a-service"  # unique, because all servers of a process share buckets


class S3(ThreadedMotoServer):
    """An S3 server that keeps its objects while it is stopped."""

    def stop(self) -> None:
        super().stop()
        assert self._server is not None
        self._server.server_close()  # else calls would wait instead of failing


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    server = S3("127.0.0.1", port=free_port(), verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def service(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service that stores its results in the bucket."""
    host, port = s3.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "CDVAE_RESULTS_URL": f"s3://{BUCKET}/results",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        import s3fs

        files = s3fs.S3FileSystem(skip_instance_cache=True)
        files.mkdir(BUCKET)
        service = Service(tmp_path_factory.mktemp("service"), settings=settings)
        service.start()
        yield service
    assert service.stop() == 0, service.log.read_text()


def objects(job: str) -> set[str]:
    """Return the names of the job's objects."""
    import s3fs

    files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    return {Path(path).name for path in files.find(f"{BUCKET}/results/{job}")}


def test_results_are_written_and_read_there(service: Service) -> None:
    job = service.submit("/generate", {"num_samples": 5, "seed": 3})
    assert service.wait(job)["state"] == "succeeded"
    assert {"result.json", "chunk-00000.json"} <= objects(job)
    assert not (service.folder / "home" / "results").exists()
    assert len(service.result(job).json["crystals"]) == 5
    assert service.result(job, "chemical/x-cif").body.count(b"data_") == 5
    archive = zipfile.ZipFile(io.BytesIO(service.result(job, "application/zip").body))
    assert len([name for name in archive.namelist() if name.endswith(".cif")]) == 5
    events = service.call("GET", f"/jobs/{job}/events").body
    assert events.count(b"event: crystal") == 5


def test_a_job_goes_on_there_after_its_process_was_killed(service: Service) -> None:
    body = {"num_samples": 256, "seed": 5, "sampler": {"name": "ancestral", "nfe": 20}}
    reference = service.submit("/generate", body)
    assert service.wait(reference)["state"] == "succeeded"
    job = service.submit("/generate", body)
    service.wait_until(lambda: "chunk-00000.json" in objects(job))
    assert service.status(job)["state"] == "running"
    service.executor().kill()
    assert service.wait(job)["state"] == "succeeded"
    assert service.result(job).json["crystals"] == service.result(reference).json["crystals"]


def test_a_store_that_is_away_is_a_503_and_comes_back(service: Service, s3: S3) -> None:
    job = service.submit("/generate", {"num_samples": 1})
    assert service.wait(job)["state"] == "succeeded"
    s3.stop()
    answer = service.call("GET", f"/jobs/{job}/result")
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert service.call("GET", f"/jobs/{job}").status == 200
    s3.start()
    assert len(service.result(job).json["crystals"]) == 1
