"""The three tasks over HTTP, Redis, RQ and a worker, and what happens when processes are killed."""

import io
import time
import warnings
import zipfile
from pathlib import Path

import ase.io
import pytest
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifParser

from tests.e2e.service import SRTIO3, Service
from tests.waiting import HANG_SECONDS

LONG = {"num_samples": 5000, "sampler": {"name": "langevin", "nfe": 5000}}


def test_a_ready_service_has_a_worker_with_its_model(service: Service) -> None:
    assert service.call("GET", "/readyz?workers=1").status == 200
    assert service.call("GET", "/healthz").status == 200


def test_generate(service: Service, tmp_path: Path) -> None:
    job = service.submit("/generate", {"num_samples": 4, "seed": 3})
    status = service.wait(job)
    assert status["state"] == "succeeded", status
    assert status["progress"]["fraction"] == 1
    result = service.result(job).json
    assert [crystal["index"] for crystal in result["crystals"]] == [0, 1, 2, 3]
    assert result["job"]["id"] == job
    assert result["metrics"]["num_samples"] == 4
    assert result["provenance"]["seed"] == 3

    again = service.submit("/generate", {"num_samples": 4, "seed": 3})
    assert service.wait(again)["state"] == "succeeded"
    cifs = [crystal["cif"] for crystal in result["crystals"]]
    assert [crystal["cif"] for crystal in service.result(again).json["crystals"]] == cifs


def test_results_load_in_pymatgen_and_ase(service: Service, tmp_path: Path) -> None:
    job = service.submit("/generate", {"num_samples": 3, "seed": 5})
    assert service.wait(job)["state"] == "succeeded"
    crystals = service.result(job).json["crystals"]

    text = service.result(job, "chemical/x-cif").body.decode()
    with warnings.catch_warnings():
        # With several blocks pymatgen compares each composition to the first block's formula.
        warnings.filterwarnings("ignore", "Missing elements", UserWarning)
        structures = CifParser.from_str(text).parse_structures(primitive=False)
    assert len(structures) == 3
    for structure, crystal in zip(structures, crystals, strict=True):
        assert structure.volume == pytest.approx(crystal["volume"], rel=1e-5)
        assert structure.composition.formula == crystal["formula"]
    (tmp_path / "all.cif").write_text(text)
    assert [len(atoms) for atoms in ase.io.read(tmp_path / "all.cif", ":")] == [5, 5, 5]

    archive = zipfile.ZipFile(io.BytesIO(service.result(job, "application/zip").body))
    names = [name for name in archive.namelist() if name.endswith(".cif")]
    assert len(names) == 3
    assert "summary.json" in {Path(name).name for name in archive.namelist()}
    for name, crystal in zip(sorted(names), crystals, strict=True):
        cif = archive.read(name).decode()
        assert f"index: {crystal['index']}" in cif
        assert Structure.from_str(cif, fmt="cif").volume == pytest.approx(crystal["volume"])
        assert len(ase.io.read(io.StringIO(cif), format="cif")) == 5


def test_reconstruct(service: Service) -> None:
    two = SRTIO3 + SRTIO3.replace("data_SrTiO3", "data_CaTiO3").replace("Sr", "Ca")
    job = service.submit("/reconstruct", two)
    assert service.wait(job)["state"] == "succeeded"
    result = service.result(job).json
    assert [crystal["source"] for crystal in result["crystals"]] == [0, 1]
    assert 0 <= result["metrics"]["match_rate"] <= 1


def test_one_bad_block_refuses_all_and_names_it(service: Service) -> None:
    bad = SRTIO3 + SRTIO3.replace("data_SrTiO3", "data_broken").replace("3.905", "zero")
    answer = service.call("POST", "/reconstruct", bad)
    assert answer.status in (400, 422)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "broken" in answer.body.decode()
    # Nothing is queued, and the worker still runs jobs.
    job = service.submit("/generate", {"num_samples": 1})
    assert service.status(job)["queue_position"] in (None, 1)
    assert service.wait(job)["state"] == "succeeded"


def test_optimize(service: Service) -> None:
    body = {"num_samples": 6, "steps": 50, "learning_rate": 0.05, "seed": 1}
    job = service.submit("/optimize?property=formation_energy", body)
    assert service.wait(job)["state"] == "succeeded"
    result = service.result(job).json
    values = [crystal["predicted"]["formation_energy"] for crystal in result["crystals"]]
    assert values == sorted(values)
    for crystal in result["crystals"]:
        assert crystal["predicted"]["formation_energy"] != crystal["start_value"]
    assert set(result["metrics"]["success_rate"]) == {"5", "10", "15"}


def test_cancel(service: Service) -> None:
    running = service.submit("/generate", LONG)
    beside = service.submit("/generate", LONG)
    service.wait(running, "running")
    assert service.call("DELETE", f"/jobs/{beside}").status in (200, 202)
    assert service.wait(beside, timeout=HANG_SECONDS)["state"] == "cancelled"
    assert service.status(running)["state"] == "running"
    assert service.call("DELETE", f"/jobs/{running}").status in (200, 202)
    assert service.wait(running, timeout=HANG_SECONDS)["state"] == "cancelled"


def test_a_job_whose_executor_is_killed_is_tried_once_more(service: Service) -> None:
    before = service.submit("/generate", {"num_samples": 2})
    assert service.wait(before)["state"] == "succeeded"
    job = service.submit("/generate", LONG)
    after = service.submit("/generate", {"num_samples": 2})
    started = service.wait(job, "running")["started_at"]
    service.executor().kill()
    service.wait_until(lambda: service.started_again(job, started))
    service.executor().kill()
    status = service.wait(job, timeout=HANG_SECONDS)
    assert status["state"] == "failed"
    assert status["error"]["code"] == "worker_lost"
    assert status["error"]["detail"]
    assert service.wait(after)["state"] == "succeeded"


def test_a_killed_worker_is_replaced_and_its_job_goes_on(service: Service) -> None:
    job = service.submit("/generate", LONG)
    after = service.submit("/generate", {"num_samples": 2})
    started = service.wait(job, "running")["started_at"]
    worker, executor = service.worker(), service.executor()
    worker.kill()
    service.wait_until(lambda: service.started_again(job, started))
    assert service.worker() != worker
    assert not executor.is_running()
    service.call("DELETE", f"/jobs/{job}")
    assert service.wait(job, timeout=HANG_SECONDS)["state"] == "cancelled"
    assert service.wait(after)["state"] == "succeeded"


def test_a_killed_redis_comes_back_with_its_jobs(service: Service) -> None:
    done = service.submit("/generate", {"num_samples": 2})
    assert service.wait(done)["state"] == "succeeded"
    (redis,) = [p for p in service.processes() if "valkey" in p.name()]
    redis.kill()
    job = _submit_when_back(service)
    assert service.wait(job, timeout=HANG_SECONDS)["state"] == "succeeded"
    assert service.status(done)["state"] == "succeeded"


def _submit_when_back(service: Service) -> str:
    end = time.monotonic() + HANG_SECONDS
    while time.monotonic() < end:
        answer = service.call("POST", "/generate", {"num_samples": 2})
        if answer.status == 202:
            return str(answer.json["id"])
        assert answer.status == 503, answer.body
        time.sleep(0.3)
    raise AssertionError("Redis did not come back")
