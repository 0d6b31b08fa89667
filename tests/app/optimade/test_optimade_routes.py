"""Finished jobs as an OPTIMADE database: filters, owners, and the validator of the standard."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from optimade.adapters import Structure as Adapter
from optimade.validator import ImplementationValidator
from pymatgen.core.structure import Structure

from app.auth.key_file import key_file
from app.optimade.optimade_entries import _anonymous, _hill, _reduced
from cdvae.data.cif_writer import write_cif
from cdvae_schema.wire import jobs_key
from tests.app.conftest import MakeClient, StandInWorker, record

STRUCTURES = "/optimade/v1/structures"

pytestmark = [
    pytest.mark.filterwarnings("ignore::optimade.warnings.OptimadeWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_fields' attribute on the instance"),
]


def of(index: int, species: list[str], **changes: Any) -> dict[str, Any]:
    """Return a record with its sites on the diagonal of a skewed cell."""
    lattice = [[4.0, 0.0, 0.1], [0.3, 5.0, 0.0], [0.0, -0.2, 6.0]]
    places = [[number / len(species)] * 3 for number in range(len(species))]
    structure = Structure(lattice, species, places)
    cell = {**record(0)["lattice"], "matrix": lattice}
    formula = structure.composition.reduced_formula
    cif = write_cif(structure, {"index": index})
    return record(index, cif=cif, lattice=cell, reduced_formula=formula, **changes)


PEROVSKITE = ["Sr", "Ti", "O", "O", "O"]
RECORDS = [
    of(0, PEROVSKITE),
    of(1, ["Ba", "Ti", "O", "O", "O"], predicted={"formation_energy": -0.5}),
    of(2, ["Ti", "O", "O", "Ti", "O", "O"], valid={"structure": True, "composition": False}),
]


def finish(client: TestClient, worker: StandInWorker, records: list[Any], **headers: str) -> str:
    """Return the id of a finished job with these crystals."""
    body = {"num_samples": len(records)}
    answer = client.post("/generate", json=body, headers=headers)
    work, _ = worker.take()
    worker.write(work, [records])
    worker.end(work, "finished", "succeeded")
    return str(answer.json()["id"])


def found(client: TestClient, query: str, **headers: str) -> list[str]:
    answer = client.get(STRUCTURES, params={"filter": query}, headers=headers)
    assert answer.status_code == 200, answer.text
    return [one["id"].rpartition("-")[2] for one in answer.json()["data"]]


@pytest.mark.parametrize(
    ("query", "indices"),
    [
        ('elements HAS "Sr"', ["0"]),
        ('elements HAS ALL "O","Ti"', ["0", "1", "2"]),
        ('elements HAS ANY "Ba","Sr" AND nelements=3', ["0", "1"]),
        ('chemical_formula_reduced="O3SrTi"', ["0"]),
        ('chemical_formula_anonymous="A2B"', ["2"]),
        ("nsites>5", ["2"]),
        ("nsites=5 AND _cdvae_valid=1", ["0", "1"]),
        ("_cdvae_predicted.formation_energy<0", ["1"]),
        ('elements HAS "Pb"', []),
    ],
)
def test_structures_are_found(
    client: TestClient, worker: StandInWorker, query: str, indices: list[str]
) -> None:
    finish(client, worker, RECORDS)
    assert found(client, query) == indices


def test_an_entry_is_the_crystal_that_was_made(client: TestClient, worker: StandInWorker) -> None:
    job = finish(client, worker, RECORDS)
    answer = client.get(f"{STRUCTURES}/{job}-1").json()["data"]
    assert (answer["type"], answer["attributes"]["_cdvae_job"]) == ("structures", job)
    read = Adapter(answer).as_pymatgen
    original = Structure.from_str(RECORDS[1]["cif"], fmt="cif")
    assert read.composition == original.composition
    np.testing.assert_allclose(read.lattice.matrix, RECORDS[1]["lattice"]["matrix"])
    steps = np.sort(read.frac_coords, axis=0) - np.sort(original.frac_coords, axis=0)
    np.testing.assert_allclose(steps, 0, atol=1e-6)


def test_what_ends_later_is_found_too(client: TestClient, worker: StandInWorker) -> None:
    finish(client, worker, RECORDS[:1])
    waiting = client.post("/generate", json={"num_samples": 1}).headers["location"]
    assert found(client, "") == ["0"]
    client.delete(waiting)
    later = finish(client, worker, RECORDS[1:])
    assert found(client, "") == ["0", "1", "2"]
    worker.redis.delete(f"rq:job:{later}")  # simulates the expiry
    assert worker.redis.zrem(jobs_key("anonymous"), later)
    assert found(client, "") == ["0"]


def test_a_key_finds_its_own_structures_only(
    make_client: MakeClient, redis_url: str, worker: StandInWorker, tmp_path: Path
) -> None:
    client = make_client(redis_url=redis_url)
    keys = [key_file(tmp_path / "home").create(name, 600, 100)[0] for name in ("ann", "bob")]
    ann, bob = ({"X-API-Key": key} for key in keys)
    finish(client, worker, RECORDS[:1], **ann)
    job = finish(client, worker, RECORDS[1:], **bob)
    assert found(client, "", **ann) == ["0"]
    assert found(client, "", **bob) == ["1", "2"]
    foreign = client.get(f"{STRUCTURES}/{job}-1", headers=ann).json()
    assert foreign["data"] is None
    assert client.get(STRUCTURES).status_code == 401
    evil = {**ann, "Sec-Fetch-Site": "cross-site"}
    assert client.get(STRUCTURES, headers=evil).status_code == 403


def test_pages_lead_on(client: TestClient, worker: StandInWorker) -> None:
    finish(client, worker, RECORDS)
    page = client.get(STRUCTURES, params={"page_limit": 2}).json()
    assert page["meta"]["data_returned"] == 3
    following = client.get(page["links"]["next"]).json()
    assert [one["id"][-1] for one in page["data"] + following["data"]] == ["0", "1", "2"]
    assert following["links"]["next"] is None


def test_a_wrong_filter_is_the_clients_mistake(client: TestClient) -> None:
    answer = client.get(STRUCTURES, params={"filter": "elements HAS"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["detail"]
    assert client.get("/optimade/v1/extensions/docs").status_code == 404


class ValidatorClient:
    """HTTP client for the validator."""

    def __init__(self, client: TestClient) -> None:
        self._client = client
        self.base_url = "http://localhost/optimade"
        self.response: Any = None
        self.last_request = ""

    def get(self, request: str) -> Any:
        absolute = request.startswith("http")
        url = request if absolute else f"{self.base_url}/{request.lstrip('/')}"
        self.last_request = url.replace("\n", "")
        self.response = self._client.get(self.last_request)
        return self.response


def test_the_validator_of_the_standard_passes(client: TestClient, worker: StandInWorker) -> None:
    finish(client, worker, RECORDS)
    finish(client, worker, RECORDS)
    validator = ImplementationValidator(client=ValidatorClient(client), respond_json=True)
    validator.validate_implementation()
    results = validator.results
    assert validator.valid, results.failure_messages
    assert results.failure_count == results.internal_failure_count == 0
    assert results.success_count > 40


def test_formulas_follow_the_standard() -> None:
    methane = Counter({"H": 4, "C": 1, "Br": 0}) + Counter()
    assert _hill(methane) == "CH4"
    assert _hill(Counter({"O": 6, "Ti": 2, "Sr": 2})) == "O6Sr2Ti2"
    assert _reduced(Counter({"O": 6, "Ti": 2, "Sr": 2})) == "O3SrTi"
    assert _anonymous(Counter({"O": 6, "Ti": 2, "Sr": 2})) == "A3BC"
