"""Valid requests: the queued jobs and the responses."""

import json
from collections import Counter
from fractions import Fraction
from typing import Any

import gemmi
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from redis import Redis

from app.planning.cif_reader import read_blocks
from cdvae_schema.base import LARGEST_SEED
from cdvae_schema.cards import Limits
from cdvae_schema.job_specs import JobSpec, JobStatus
from cdvae_schema.wire import FIELD_STATUS, FUNCTIONS
from tests.app.conftest import CARD, CELL, CIF, SITES, StandInWorker, pymatgen_dict

RAW = {"Content-Type": "chemical/x-cif"}


def submitted(response: Any) -> JobStatus:
    """Return the status in a 202 response."""
    assert response.status_code == 202, response.text
    status = JobStatus.model_validate_json(response.text)
    assert response.headers["location"] == f"/jobs/{status.id}"
    return status


def test_an_empty_body_means_the_defaults(client: TestClient, worker: StandInWorker) -> None:
    status = submitted(client.post("/generate"))
    assert status.state == "queued"
    assert status.queue_position == 1
    assert status.links.self == f"/jobs/{status.id}"
    assert status.links.result is None
    request = status.request
    assert request.kind == "generate"
    assert request.model == "tiny@1"
    assert request.num_samples == 16
    assert request.sampler.model_dump() == {"name": "ancestral", "nfe": 50}
    assert 0 <= request.seed <= LARGEST_SEED
    assert request.priority == "normal"
    _, spec = worker.take()
    assert spec.request == request
    assert spec.seed == request.seed
    assert spec.created_at == status.created_at


def test_drawn_seeds_differ(client: TestClient) -> None:
    seeds = {submitted(client.post("/generate")).request.seed for _ in range(5)}
    assert len(seeds) == 5


def test_what_is_asked_for_is_kept(client: TestClient, worker: StandInWorker) -> None:
    body = {
        "model": "tiny@1",
        "num_samples": 3,
        "seed": 7,
        "sampler": {"name": "langevin"},
        "priority": "bulk",
        "num_atoms": None,
        "lattice": None,
    }
    submitted(client.post("/generate", json=body))
    job, spec = worker.take()
    assert job.origin == "bulk"
    assert job.func_name == FUNCTIONS["generate"]
    assert spec.seed == 7
    assert spec.sampler.model_dump() == {"name": "langevin", "nfe": 5000}
    assert spec.num_samples == 3
    assert spec.structures == []


WANTED: list[dict[str, Any]] = [
    {"composition": "SrTiO3"},
    {"composition": "Sr1 Ti1 O3", "num_atoms": 5, "elements": {"include": ["Ti"], "exclude": []}},
    {"elements": {"include": ["O", "H"], "exclude": ["U"]}},
    {"lattice": {"a": 3.9, "b": 3.9, "c": 4.1, "alpha": 90.0, "beta": 90.0, "gamma": 90.0}},
    {"composition": "SrTiO3", "spacegroup": 221},
    {"target": {"property": "formation_energy", "value": -1.5}},
]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("/generate", wanted) for wanted in WANTED]
    + [("/optimize?property=formation_energy", wanted) for wanted in WANTED[:3]],
    ids=lambda one: one if isinstance(one, str) else " ".join(one),
)
def test_what_is_required_reaches_the_worker_and_is_echoed(
    client: TestClient, worker: StandInWorker, path: str, wanted: dict[str, Any]
) -> None:
    """Generation accepts all constraints, optimization those on the atoms."""
    status = submitted(client.post(path, json=wanted))
    _, spec = worker.take()
    for request in (status.request, spec.request):
        shown = request.model_dump()
        assert {name: shown[name] for name in wanted} == wanted
        others = {"composition", "num_atoms", "elements", "lattice", "spacegroup", "target"}
        assert all(shown[name] is None for name in (others - set(wanted)) & set(shown))


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ({"composition": "SrPu"}, "/composition"),
        ({"num_atoms": 4000}, "/num_atoms"),
        ({"elements": {"include": ["O"], "exclude": ["O"]}}, "/elements"),
        ({"lattice": {"a": 4, "b": 4, "c": 4, "alpha": 90, "beta": 90, "gamma": 90}}, "/lattice"),
    ],
)
def test_a_search_for_the_impossible_is_refused(
    client: TestClient, wanted: dict[str, Any], where: str
) -> None:
    """An optimization has no constraints on the cell."""
    response = client.post("/optimize?property=formation_energy", json=wanted)
    assert response.status_code == 422
    assert where in [error["pointer"] for error in response.json()["errors"]]


def test_the_queue_holds_json(client: TestClient, redis_client: Redis) -> None:
    status = submitted(client.post("/generate", json={"seed": 1}))
    stored = redis_client.hgetall(f"rq:job:{status.id}")
    assert json.loads(stored[FIELD_STATUS.encode()])["kind"] == "generate"
    assert stored[b"timeout"] == b"86400"
    assert stored[b"failure_ttl"] == stored[b"result_ttl"] == b"604800"


def test_urgent_jobs_come_first(client: TestClient) -> None:
    def post(priority: str) -> JobStatus:
        return submitted(client.post("/generate", json={"priority": priority}))

    bulk, normal, first, second = map(post, ("bulk", "normal", "interactive", "interactive"))
    positions = [
        client.get(f"/jobs/{job.id}").json()["queue_position"]
        for job in (first, second, normal, bulk)
    ]
    assert positions == [1, 2, 3, 4]


@pytest.mark.parametrize("version", ["2", "10"])
def test_a_bare_name_means_the_newest_version(client: TestClient, store: Any, version: str) -> None:
    from tests.app.conftest import write_card

    write_card(store, version="2")
    write_card(store, version=version)
    assert submitted(client.post("/generate")).request.model == f"tiny@{version}"
    pinned = client.post("/generate", json={"model": "tiny@1"})
    assert submitted(pinned).request.model == "tiny@1"


def test_a_raw_cif_with_several_blocks(client: TestClient, worker: StandInWorker) -> None:
    text = CIF + CIF.replace("SrTiO3", "other").replace("Sr1 Sr", "Ba1 Ba")
    response = client.post(
        "/reconstruct?num_candidates=2&seed=5&sampler=ancestral&nfe=9&priority=interactive",
        content=text,
        headers={"Content-Type": "Chemical/X-CIF; charset=utf-8"},
    )
    request = submitted(response).request
    assert request.kind == "reconstruct"
    assert [one.model_dump() for one in request.structures] == [
        {"label": "SrTiO3", "formula": "Sr1 Ti1 O3", "num_atoms": 5},
        {"label": "other", "formula": "Ba1 Ti1 O3", "num_atoms": 5},
    ]
    job, spec = worker.take()
    assert job.func_name == FUNCTIONS["reconstruct"]
    assert job.origin == "interactive"
    assert (spec.seed, spec.sampler.nfe, spec.num_samples) == (5, 9, 4)
    assert [one.atomic_numbers for one in spec.structures] == [[38, 22, 8, 8, 8], [56, 22, 8, 8, 8]]


def test_cif_and_dictionary_give_the_same_crystal(
    client: TestClient, worker: StandInWorker
) -> None:
    given = [{"cif": CIF}, {"structure": pymatgen_dict()}]
    submitted(client.post("/reconstruct", json={"structures": given}))
    _, spec = worker.take()
    cif, dictionary = spec.structures
    assert cif.atomic_numbers == dictionary.atomic_numbers
    assert sorted(cif.frac_coords) == sorted(dictionary.frac_coords)
    for row, other in zip(cif.lattice, dictionary.lattice, strict=True):
        assert row == pytest.approx(other, abs=1e-12)


def test_optimize_from_the_data_set(client: TestClient, worker: StandInWorker) -> None:
    request = submitted(client.post("/optimize?property=formation_energy")).request
    assert request.kind == "optimize"
    assert request.property == "formation_energy"
    assert (request.direction, request.value, request.start) == ("minimize", None, "dataset")
    assert request.num_samples == 100
    job, _ = worker.take()
    assert job.func_name == FUNCTIONS["optimize"]


def test_optimize_from_given_structures(client: TestClient, worker: StandInWorker) -> None:
    body = {
        "direction": "target",
        "value": 1,
        "start": {"structures": [{"cif": CIF}, {"structure": pymatgen_dict()}]},
    }
    request = submitted(client.post("/optimize?property=formation_energy", json=body)).request
    assert request.kind == "optimize"
    assert (request.start, request.num_samples, request.value) == ("structures", 2, 1.0)
    _, spec = worker.take()
    assert len(spec.structures) == 2


def test_optimize_several_properties(client: TestClient, store: Any) -> None:
    from tests.app.conftest import write_card

    energy = CARD["properties"]["formation_energy"]
    write_card(store, properties={"formation_energy": energy, "band_gap": energy})
    gap = {"property": "band_gap", "direction": "target", "value": 1.5, "weight": 2}
    beside = client.post("/optimize?property=formation_energy", json={"objectives": [gap]})
    request = submitted(beside).request
    assert request.kind == "optimize"
    assert [one.property for one in request.objectives] == ["formation_energy", "band_gap"]
    assert [one.weight for one in request.objectives] == [1.0, 2.0]
    alone = submitted(client.post("/optimize", json={"objectives": [gap]})).request
    assert alone.kind == "optimize"
    assert (alone.property, alone.direction, alone.value) == ("band_gap", "target", 1.5)
    assert len(alone.objectives) == 1
    assert (alone.trust_radius, alone.patience) == (0.8, 4)


def test_interpolate(client: TestClient, worker: StandInWorker) -> None:
    body = {"structures": [{"cif": CIF}, {"structure": pymatgen_dict()}], "num_points": 5}
    request = submitted(client.post("/interpolate", json=body)).request
    assert request.kind == "interpolate"
    assert [one.label for one in request.structures] == ["SrTiO3", "1"]
    job, spec = worker.take()
    assert job.func_name == FUNCTIONS["interpolate"]
    assert (spec.num_samples, len(spec.structures)) == (5, 2)
    both = {"structures": [{"cif": CIF + CIF.replace("SrTiO3", "other")}]}
    request = submitted(client.post("/interpolate", json=both)).request
    assert [one.label for one in request.structures] == ["SrTiO3", "other"]
    assert request.num_samples == 11


def test_vary(client: TestClient, worker: StandInWorker) -> None:
    body = {"structure": {"cif": CIF}, "strength": 1, "num_samples": 3, "priority": "bulk"}
    request = submitted(client.post("/variations", json=body)).request
    assert request.kind == "vary"
    assert (request.strength, request.keep_composition) == (1.0, False)
    job, spec = worker.take()
    assert job.func_name == FUNCTIONS["vary"]
    assert job.origin == "bulk"
    assert (spec.num_samples, len(spec.structures)) == (3, 1)
    defaults = submitted(
        client.post("/variations", json={"structure": {"structure": pymatgen_dict()}})
    ).request
    assert (defaults.num_samples, defaults.strength) == (16, 0.3)


def test_relaxation_needs_a_worker_that_can(client: TestClient, worker: StandInWorker) -> None:
    posts: list[tuple[str, dict[str, Any]]] = [
        ("/generate", {}),
        ("/reconstruct", {"structures": [{"cif": CIF}]}),
        ("/optimize?property=formation_energy", {}),
        ("/interpolate", {"structures": [{"cif": CIF}, {"cif": CIF}]}),
        ("/variations", {"structure": {"cif": CIF}}),
    ]
    submitted(client.post("/generate", json={"relax": True}))  # future workers may support it
    for path, body in posts:
        worker.announce()  # each time: a presence expires after some seconds
        answer = client.post(path, json={**body, "relax": True})
        assert answer.status_code == 422, path
        assert answer.json()["errors"][0]["pointer"] == "/relax"
        assert "cdvae-service[worker]" in answer.json()["detail"]
        assert submitted(client.post(path, json=body)).request.relax is False
    worker.announce()
    raw = client.post("/reconstruct?relax=true", content=CIF, headers=RAW)
    assert raw.status_code == 422
    for path, body in posts:
        worker.announce(relax=True)
        assert submitted(client.post(path, json={**body, "relax": True})).request.relax
    raw = client.post("/reconstruct?relax=true", content=CIF, headers=RAW)
    assert submitted(raw).request.relax


LIMITS = Limits.model_validate({**CARD["limits"], "min_atoms": 1, "max_atoms": 1000})


def crystal(text: str) -> Any:
    """Return the only crystal of a CIF text."""
    (result,) = read_blocks(text, LIMITS)
    if result.error is not None:
        raise result.error
    return result.crystal


def orbit_length(group: str, position: tuple[Fraction, ...]) -> int:
    """Return the number of images of a position, in exact arithmetic."""
    found = gemmi.find_spacegroup_by_name(group)
    assert found is not None
    images = set()
    for operation in found.operations():
        turned = (
            sum(Fraction(operation.rot[row][k], 24) * position[k] for k in range(3))
            + Fraction(operation.tran[row], 24)
            for row in range(3)
        )
        images.add(tuple(value % 1 for value in turned))
    return len(images)


POSITIONS = {
    "Sr": (Fraction(0), Fraction(0), Fraction(0)),
    "Ti": (Fraction(1, 3), Fraction(2, 3), Fraction(1, 4)),
    "O": (Fraction(11, 100), Fraction(29, 100), Fraction(37, 100)),
}


@pytest.mark.parametrize("name", ["P m -3 m", "Fm-3m", "I 41/a m d", "P 63/m m c", "R -3 m", "P 1"])
def test_symmetry_is_expanded(name: str) -> None:
    cell = "9 9 12 90 90 120" if name in ("P 63/m m c", "R -3 m") else "9 9 9 90 90 90"
    text = "data_x\n"
    for tag, value in zip(CELL.split()[::2], cell.split(), strict=True):
        text += f"{tag} {value}\n"
    text += f"_space_group_name_H-M_alt '{name}'\nloop_\n_atom_site_label\n"
    text += "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
    for symbol, position in POSITIONS.items():
        text += f"{symbol}1 " + " ".join(f"{float(value):.4f}" for value in position) + "\n"
    counts = Counter(crystal(text).atomic_numbers)
    for symbol, position in POSITIONS.items():
        number = gemmi.Element(symbol).atomic_number
        assert counts[number] == orbit_length(name, position), symbol


@pytest.mark.parametrize("tag", ["_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz"])
def test_given_operations_are_used(tag: str) -> None:
    operations = f"loop_\n{tag}\nx,y,z\n'-x, -y, -z'\n"
    text = f"data_x\n{CELL}{operations}{SITES}".replace("0.5 0.5 0 1", "0.4 0.5 0 1")
    assert crystal(text).atomic_numbers == [38, 22, 8, 8]


def test_details_of_the_format() -> None:
    text = CIF.replace("a 3.905", "a 3.905(2)").replace("Sr1 Sr ", "Sr1 Sr2+ ")
    text = text.replace("0.5 0.5 0 1", "0.5 0.5 -1.0(1) .")
    found = crystal(text)
    assert found.atomic_numbers == [38, 22, 8, 8, 8]
    assert all(0 <= value < 1 for position in found.frac_coords for value in position)
    labels_only = CIF.replace("_atom_site_type_symbol\n", "")
    for symbol in ("Sr", "Ti", "O"):
        labels_only = labels_only.replace(f"{symbol}1 {symbol} ", f"{symbol}1 ")
    assert crystal(labels_only).atomic_numbers == [38, 22, 8, 8, 8]
    assert crystal(CIF.replace("O1 O ", "D1 D ")).atomic_numbers == [38, 22, 1, 1, 1]


def test_cell_vectors_are_rows() -> None:
    text = f"data_x\n{CELL}{SITES}".replace("gamma 90", "gamma 60")
    lattice = crystal(text).lattice
    assert lattice[0] == pytest.approx([3.905, 0, 0])
    assert lattice[1] == pytest.approx([3.905 / 2, 3.905 * 3**0.5 / 2, 0])


def test_a_spec_survives_json(client: TestClient, worker: StandInWorker) -> None:
    submitted(client.post("/reconstruct", content=CIF, headers=RAW))
    _, spec = worker.take()
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    with pytest.raises(ValidationError, match="1 structures where 0 are named"):
        JobSpec.model_validate(
            {
                **spec.model_dump(),
                "kind": "generate",
                "request": {
                    "kind": "generate",
                    "model": "tiny@1",
                    "seed": 1,
                    "sampler": {"name": "ancestral", "nfe": 1},
                    "priority": "normal",
                    "num_samples": 1,
                },
            }
        )
