"""Every invalid request gets a 4xx problem document that names the field; no job is queued."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app.api_settings import MEGABYTE
from tests.app.conftest import CELL, CIF, GROUP, SITES, MakeClient, pymatgen_dict
from tests.app.problem_documents import problem


@pytest.fixture(autouse=True)
def _nothing_is_queued(redis_client: Redis) -> Iterator[None]:
    yield
    assert redis_client.keys("rq:*") == []


CUBE = {"a": 3.9, "b": 3.9, "c": 3.9, "alpha": 90, "beta": 90, "gamma": 90}
WITH_BA = {"elements": {"include": ["Ba"]}}
WITHOUT_O = {"elements": {"exclude": ["O"]}}

GENERATE: list[tuple[str, Any, str]] = [
    ("zero samples", {"num_samples": 0}, "/num_samples"),
    ("negative samples", {"num_samples": -1}, "/num_samples"),
    ("a milliard samples", {"num_samples": 10**9}, "/num_samples"),
    ("more than the card allows", {"num_samples": 101}, "/num_samples"),
    ("text for a number", {"num_samples": "16"}, "/num_samples"),
    ("a fraction", {"num_samples": 1.5}, "/num_samples"),
    ("a boolean", {"num_samples": True}, "/num_samples"),
    ("null", {"num_samples": None}, "/num_samples"),
    ("negative seed", {"seed": -1}, "/seed"),
    ("huge seed", {"seed": 2**53}, "/seed"),
    ("text seed", {"seed": "7"}, "/seed"),
    ("unknown model", {"model": "nope"}, "/model"),
    ("unknown version", {"model": "tiny@9"}, "/model"),
    ("path as model", {"model": "../tiny"}, "/model"),
    ("glob as model", {"model": "*"}, "/model"),
    ("number as model", {"model": 5}, "/model"),
    ("unknown sampler", {"sampler": {"name": "slow"}}, "/sampler/name"),
    ("sampler without name", {"sampler": {"steps": 5}}, "/sampler/name"),
    ("sampler as text", {"sampler": "ancestral"}, "/sampler"),
    ("no steps", {"sampler": {"name": "ancestral", "nfe": 0}}, "/sampler/nfe"),
    ("too many steps", {"sampler": {"name": "ancestral", "nfe": 101}}, "/sampler/nfe"),
    ("odd steps", {"sampler": {"name": "langevin", "nfe": 75}}, "/sampler/nfe"),
    ("unknown priority", {"priority": "urgent"}, "/priority"),
    ("unknown field", {"num_sample": 3}, "/num_sample"),
    ("unknown inner field", {"sampler": {"name": "ancestral", "stesp": 1}}, "/sampler/stesp"),
    ("field with a slash", {"a/b~c": 3}, "/a~1b~0c"),
    ("not yet: callback", {"callback_url": "https://example.org"}, "/callback_url"),
    ("bad lattice", {"lattice": {"a": 1}}, "/lattice/b"),
    ("too few atoms", {"num_atoms": 4}, "/num_atoms"),
    ("too many atoms", {"num_atoms": 6}, "/num_atoms"),
    ("no formula", {"composition": "SrTiO3)"}, "/composition"),
    ("empty formula", {"composition": ""}, "/composition"),
    ("formula with a huge number", {"composition": "O" + "9" * 200}, "/composition"),
    ("unknown element", {"composition": "SrTiS3"}, "/composition"),
    ("no element", {"composition": "SrTiXx3"}, "/composition"),
    ("formula of another size", {"composition": "SrO"}, "/composition"),
    ("formula against the number", {"composition": "SrTiO3", "num_atoms": 4}, "/num_atoms"),
    ("formula without what it needs", {"composition": "SrTiO3", **WITH_BA}, "/elements/include"),
    ("formula with what it must not", {"composition": "SrTiO3", **WITHOUT_O}, "/elements/exclude"),
    ("unknown in include", {"elements": {"include": ["O", "U"]}}, "/elements/include/1"),
    ("no element in exclude", {"elements": {"exclude": ["Xx"]}}, "/elements/exclude/0"),
    ("in and out", {"elements": {"include": ["O"], "exclude": ["O"]}}, "/elements"),
    ("nothing left", {"elements": {"exclude": ["Sr", "Ti", "O", "Ba", "H"]}}, "/elements/exclude"),
    ("impossible angles", {"lattice": {**CUBE, "alpha": 30, "beta": 30}}, "/lattice"),
    ("a cell too small", {"lattice": {**CUBE, "a": 1.0}}, "/lattice"),
    ("a cell too large", {"lattice": {**CUBE, "a": 400.0}}, "/lattice"),
    ("no such space group", {"spacegroup": 231}, "/spacegroup"),
    ("no room in the group", {"spacegroup": 225}, "/spacegroup"),
    ("no sites for the formula", {"spacegroup": 227, "composition": "Sr2TiO2"}, "/spacegroup"),
    ("a cell against the group", {"spacegroup": 221, "lattice": {**CUBE, "c": 4.2}}, "/lattice"),
    ("unknown property", {"target": {"property": "x", "value": 1}}, "/target/property"),
    ("a list", [1, 2], ""),
    ("a number", 5, ""),
]


@pytest.mark.parametrize(
    ("body", "pointer"), [row[1:] for row in GENERATE], ids=[row[0] for row in GENERATE]
)
def test_generate_refuses(client: TestClient, body: Any, pointer: str) -> None:
    answer = problem(client.post("/generate", json=body), 422)
    assert pointer in [error.get("pointer") for error in answer["errors"]]


OPTIMIZE: list[tuple[str, Any, str]] = [
    ("direction", {"direction": "up"}, "/direction"),
    ("target without value", {"direction": "target"}, ""),
    ("value without target", {"value": 1.0}, ""),
    ("start of no kind", {"start": 5}, "/start"),
    ("start of unknown name", {"start": "random"}, "/start"),
    ("start without structures", {"start": {}}, "/start/structures"),
    ("start with no structures", {"start": {"structures": []}}, "/start/structures"),
    ("start with a bad one", {"start": {"structures": [{}]}}, "/start/structures/0"),
    (
        "start with a bad CIF",
        {"start": {"structures": [{"cif": CIF.replace("Sr1 Sr", "Sr1 U")}]}},
        "/start/structures/0/cif",
    ),
    ("steps", {"steps": 0}, "/steps"),
    ("too many steps", {"steps": 10**9}, "/steps"),
    ("learning rate", {"learning_rate": 0}, "/learning_rate"),
    ("text learning rate", {"learning_rate": "ancestral"}, "/learning_rate"),
    ("samples", {"num_samples": 0}, "/num_samples"),
    ("trust radius", {"trust_radius": 0}, "/trust_radius"),
    ("patience", {"patience": 0}, "/patience"),
    ("twice", {"objectives": [{"property": "formation_energy"}]}, "/objectives/0/property"),
    ("unknown", {"objectives": [{"property": "hardness"}]}, "/objectives/0/property"),
    ("no value", {"objectives": [{"property": "x", "direction": "target"}]}, "/objectives/0"),
    ("weight", {"objectives": [{"property": "x", "weight": 0}]}, "/objectives/0/weight"),
]


@pytest.mark.parametrize(
    ("body", "pointer"), [row[1:] for row in OPTIMIZE], ids=[row[0] for row in OPTIMIZE]
)
def test_optimize_refuses(client: TestClient, body: Any, pointer: str) -> None:
    answer = problem(client.post("/optimize?property=formation_energy", json=body), 422)
    assert pointer in [error.get("pointer") for error in answer["errors"]]


@pytest.mark.parametrize("query", ["", "?property=", "?property=hardness", "?propertyy=x"])
def test_optimize_refuses_a_wrong_property(client: TestClient, query: str) -> None:
    answer = problem(client.post(f"/optimize{query}"), 422)
    assert answer["errors"][0]["parameter"] == "property"


def test_a_direction_without_a_property_is_refused(client: TestClient) -> None:
    body = {"direction": "maximize", "objectives": [{"property": "formation_energy"}]}
    answer = problem(client.post("/optimize", json=body), 422)
    assert answer["errors"][0]["parameter"] == "property"


def test_a_wrong_property_names_the_right_ones(client: TestClient) -> None:
    answer = problem(client.post("/optimize?property=hardness"), 422)
    assert "formation_energy" in answer["detail"]


ONE, TWO = {"cif": CIF}, {"structure": pymatgen_dict()}
PAIR = {"cif": CIF + CIF.replace("SrTiO3", "other")}
WALKS: list[tuple[str, str, Any, str]] = [
    ("one end", "/interpolate", {"structures": [ONE]}, "/structures"),
    ("three ends", "/interpolate", {"structures": [PAIR, TWO]}, "/structures"),
    ("no ends", "/interpolate", {}, "/structures"),
    ("one point", "/interpolate", {"structures": [ONE, TWO], "num_points": 1}, "/num_points"),
    ("many points", "/interpolate", {"structures": [ONE, TWO], "num_points": 101}, "/num_points"),
    ("no crystal", "/variations", {}, "/structure"),
    ("two crystals", "/variations", {"structure": PAIR}, "/structure/cif"),
    ("no strength", "/variations", {"structure": ONE, "strength": 0}, "/strength"),
    ("strong", "/variations", {"structure": ONE, "strength": 1.01}, "/strength"),
    ("many", "/variations", {"structure": ONE, "num_samples": 101}, "/num_samples"),
    ("broken", "/variations", {"structure": {"structure": {"sites": []}}}, "/structure/structure"),
]


@pytest.mark.parametrize(
    ("path", "body", "pointer"), [row[1:] for row in WALKS], ids=[row[0] for row in WALKS]
)
def test_walks_refuse(client: TestClient, path: str, body: Any, pointer: str) -> None:
    answer = problem(client.post(path, json=body), 422)
    assert any((error.get("pointer") or "").startswith(pointer) for error in answer["errors"])


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_must_be_finite(client: TestClient, text: str) -> None:
    response = client.post(
        "/optimize?property=formation_energy",
        content=f'{{"direction": "target", "value": {text}}}',
        headers={"Content-Type": "application/json"},
    )
    answer = problem(response, 422)
    assert answer["errors"][0]["pointer"] == "/value"


@pytest.mark.parametrize(
    "text", ["{", "nonsense", '{"a": }', "\x00", "[" * 60_000, '{"a": 1}}', "\xff"]
)
def test_no_json_text_is_400(client: TestClient, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    problem(client.post("/generate", content=text.encode("latin-1"), headers=headers), 400)


@pytest.mark.parametrize(
    "path", ["/generate", "/reconstruct", "/optimize?property=x", "/interpolate", "/variations"]
)
@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_media_types_are_415(client: TestClient, path: str, media: str) -> None:
    response = client.post(path, content=b"{}", headers={"Content-Type": media})
    problem(response, 415)
    assert "application/json" in response.headers["accept-post"]


def test_compressed_bodies_are_415(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    problem(client.post("/generate", content=b"{}", headers=headers), 415)


def test_a_body_of_50_megabytes_is_413(client: TestClient) -> None:
    headers = {"Content-Type": "chemical/x-cif"}
    answer = client.post("/reconstruct", content=b"#" * (50 * MEGABYTE), headers=headers)
    problem(answer, 413)


def test_the_limit_holds_for_streams_of_unknown_length(make_client: MakeClient) -> None:
    client = make_client(max_body_bytes=1000)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b" " * 100

    headers = {"Content-Type": "application/json"}
    response = client.post("/generate", content=endless(), headers=headers)
    assert "content-length" not in response.request.headers
    problem(response, 413)


BLOCK = "data_x\n"
BAD_CIFS: list[tuple[str, str, int, str, int | None]] = [
    # (what, CIF text, status, a part of the detail, line)
    ("empty", "", 400, "no data_ block", 1),
    ("only comments", "# nothing\n", 400, "no data_ block", 1),
    ("prose", "hello world\n", 400, "expected block header", 1),
    ("open quote", f"{BLOCK}_a 'b\n", 400, "unterminated", 2),
    ("ragged loop", f"{BLOCK}loop_\n_a\n_b\n1 2 3\n", 400, "Wrong number of values", 2),
    ("no cell", f"{BLOCK}{SITES}", 422, "_cell_length_a is missing", 2),
    ("no sites", f"{BLOCK}{CELL}", 422, "no atom sites", None),
    ("no positions", f"{BLOCK}{CELL}loop_\n_atom_site_label\nSr1\n", 422, "no atom sites", None),
    ("zero edge", BLOCK + CELL.replace("a 3.905", "a 0") + SITES, 422, "cell edge a", 2),
    ("negative edge", BLOCK + CELL.replace("b 3.905", "b -3") + SITES, 422, "cell edge b", 2),
    ("NaN edge", BLOCK + CELL.replace("c 3.905", "c nan") + SITES, 422, "not a number", 4),
    ("infinite edge", BLOCK + CELL.replace("c 3.905", "c inf") + SITES, 422, "not a number", 4),
    ("huge edge", BLOCK + CELL.replace("c 3.905", "c 1e30") + SITES, 422, "cell edge c", 2),
    ("flat cell", BLOCK + CELL.replace("gamma 90", "gamma 180") + SITES, 422, "gamma", 2),
    (
        "impossible angles",
        BLOCK + CELL.replace("90", "30").replace("gamma 30", "gamma 90") + SITES,
        422,
        "no cell has the angles",
        2,
    ),
    (
        "dilute",
        BLOCK + CELL.replace("3.905", "100") + GROUP + SITES,
        422,
        "Å³ per atom",
        9,
    ),
    (
        "partial occupancy",
        CIF.replace("Sr1 Sr 0 0 0 1", "Sr1 Sr 0 0 0 0.5"),
        422,
        "occupancy 0.5",
        9,
    ),
    ("zero occupancy", CIF.replace("0 0 0 1", "0 0 0 0"), 422, "occupancy 0", 9),
    ("odd occupancy", CIF.replace("0 0 0 1", "0 0 0 abc"), 422, "occupancy abc", 9),
    ("NaN position", CIF.replace("0 0 0 1", "nan 0 0 1"), 422, "no finite position", 9),
    ("unknown position", CIF.replace("0 0 0 1", "? 0 0 1"), 422, "no finite position", 9),
    ("no element", CIF.replace("Sr1 Sr", "Sr1 Xx"), 422, "unknown element", 9),
    ("a dummy atom", CIF.replace("Sr1 Sr", "Vac .Vac"), 422, "unknown element", 9),
    ("element unknown to the model", CIF.replace("Sr1 Sr", "U1 U"), 422, "support U", 9),
    (
        "same position",
        CIF.replace("Ti1 Ti 0.5 0.5 0.5", "Ti1 Ti 0.001 0 0").replace(GROUP, "")
        + "O2 O .5 0 .5 1\nO3 O 0 .5 .5 1\n",
        422,
        "same position",
        8,
    ),
    ("too few atoms", CIF.replace(GROUP, ""), 422, "3 atoms; the model takes exactly 5", 8),
    (
        "too many by symmetry",
        CIF.replace("O1 O 0.5 0.5 0", "O1 O 0.5 0.5 0.2"),
        422,
        "more than 5 atoms",
        9,
    ),
    ("unknown group", CIF.replace("P m -3 m", "P m -7 q"), 422, "unknown space group", 8),
    (
        "bad operation",
        f"data_x\n{CELL}loop_\n_symmetry_equiv_pos_as_xyz\nx,y,foo\n{SITES}",
        422,
        "symmetry operation",
        8,
    ),
]


@pytest.mark.parametrize(
    ("text", "status", "part", "line"), [row[1:] for row in BAD_CIFS], ids=[r[0] for r in BAD_CIFS]
)
@pytest.mark.parametrize("form", ["raw", "json"])
def test_reconstruct_refuses_a_bad_cif(
    client: TestClient, form: str, text: str, status: int, part: str, line: int | None
) -> None:
    if form == "raw":
        response = client.post(
            "/reconstruct", content=text, headers={"Content-Type": "chemical/x-cif"}
        )
    else:
        response = client.post("/reconstruct", json={"structures": [{"cif": text}]})
    answer = problem(response, status)
    (error,) = answer["errors"]
    assert part in error["detail"]
    assert error.get("line") == line
    assert error.get("pointer") == (None if form == "raw" else "/structures/0/cif")


def test_a_hundred_thousand_atoms_are_refused(client: TestClient) -> None:
    rows = "".join(f"O{n} O 0.1 0.2 {n / 1e5} 1\n" for n in range(100_000))
    response = client.post(
        "/reconstruct", content=CIF + rows, headers={"Content-Type": "chemical/x-cif"}
    )
    answer = problem(response, 422)
    assert "100003 atoms" in answer["detail"]


def test_a_hundred_thousand_operations_are_refused(client: TestClient) -> None:
    rows = "".join(f"x,y,z+1/{n + 1}\n" for n in range(100_000))
    text = f"data_x\n{CELL}loop_\n_symmetry_equiv_pos_as_xyz\n{rows}{SITES}"
    headers = {"Content-Type": "chemical/x-cif"}
    answer = problem(client.post("/reconstruct", content=text, headers=headers), 422)
    assert "100000 symmetry operations" in answer["detail"]


@pytest.mark.parametrize("media", ["raw", "json"])
def test_one_bad_block_of_two_is_named(client: TestClient, media: str) -> None:
    bad = CIF.replace("data_SrTiO3", "data_second").replace("0 0 0 1", "0 0 0 0.25")
    if media == "raw":
        headers = {"Content-Type": "chemical/x-cif"}
        response = client.post("/reconstruct", content=CIF + bad, headers=headers)
    else:
        response = client.post("/reconstruct", json={"structures": [{"cif": CIF}, {"cif": bad}]})
    (error,) = problem(response, 422)["errors"]
    assert error["block"] == "second"
    assert "'second'" in error["detail"]
    assert "Sr1" in error["detail"]
    if media == "raw":
        assert error["line"] == CIF.count("\n") + 9
    else:
        assert error["pointer"] == "/structures/1/cif"


def test_one_unreadable_block_of_two_is_named(client: TestClient) -> None:
    text = CIF + "data_second\nloop_\n_a\n_b\n1\n"
    headers = {"Content-Type": "chemical/x-cif"}
    answer = problem(client.post("/reconstruct", content=text, headers=headers), 400)
    (error,) = answer["errors"]
    assert error["block"] == "second"
    assert error["line"] == CIF.count("\n") + 2


def test_every_bad_structure_is_named(client: TestClient) -> None:
    bad = {"cif": CIF.replace("Sr1 Sr", "U1 U")}
    given = [{"cif": CIF}, bad, {"structure": pymatgen_dict()}, bad]
    answer = problem(client.post("/reconstruct", json={"structures": given}), 422)
    pointers = [error["pointer"] for error in answer["errors"]]
    assert pointers == ["/structures/1/cif", "/structures/3/cif"]


def test_bytes_that_are_no_text_are_400(client: TestClient) -> None:
    headers = {"Content-Type": "chemical/x-cif"}
    response = client.post("/reconstruct", content=b"data_x\n\xff\xfe", headers=headers)
    assert problem(response, 400)["errors"][0]["line"] == 2


def test_two_blocks_of_one_name_are_400(client: TestClient) -> None:
    headers = {"Content-Type": "chemical/x-cif"}
    answer = problem(client.post("/reconstruct", content=CIF + CIF, headers=headers), 400)
    assert "SrTiO3" in answer["detail"]


def test_a_million_blocks_are_refused_before_they_are_parsed(client: TestClient) -> None:
    text = " ".join(f"data_{n}" for n in range(1_000_000))
    headers = {"Content-Type": "chemical/x-cif"}
    began = time.monotonic()
    problem(client.post("/reconstruct", content=text, headers=headers), 422)
    assert time.monotonic() - began < 5  # parsing would take minutes


def test_answers_stay_short(client: TestClient) -> None:
    long = "x" * 1_000_000
    headers = {"Content-Type": "chemical/x-cif"}
    operation = f"data_x\n{CELL}loop_\n_symmetry_equiv_pos_as_xyz\n'{long}'\n{SITES}"
    for response in (
        client.post("/generate", json={long[:60_000]: 1}),
        client.post("/generate", json={f"x{number}": 1 for number in range(5_000)}),
        client.post("/generate", json={"sampler": {"name": "ancestral", long[:60_000]: 1}}),
        client.post("/optimize?property=formation_energy", json={long: 1}),
        client.post("/reconstruct", content=f"data_{long}\n", headers=headers),
        client.post("/reconstruct", content=CIF.replace("Sr1 Sr", f"Sr1 {long}"), headers=headers),
        client.post("/reconstruct", content=operation, headers=headers),
    ):
        problem(response, 422)
        assert len(response.content) < 10_000


def test_too_many_blocks_are_refused(client: TestClient) -> None:
    text = "".join(CIF.replace("data_SrTiO3", f"data_{n}") for n in range(11))
    headers = {"Content-Type": "chemical/x-cif"}
    assert (
        "11" in problem(client.post("/reconstruct", content=text, headers=headers), 422)["detail"]
    )
    body = {"structures": [{"cif": CIF}] * 11}
    problem(client.post("/reconstruct", json=body), 422)


def _edit(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(data: dict[str, Any]) -> None:
        place: Any = data
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value

    return edit


EDITS: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("no lattice", _edit("lattice", value=None), "/lattice"),
    ("flat lattice", _edit("lattice", "matrix", value=[[1, 0, 0]] * 3), "/lattice"),
    ("zero lattice", _edit("lattice", "matrix", value=[[0, 0, 0]] * 3), "/lattice"),
    ("text lattice", _edit("lattice", "matrix", 1, 2, value="1"), "/lattice/matrix/1/2"),
    ("short lattice", _edit("lattice", "matrix", value=[[1, 2, 3]]), "/lattice/matrix"),
    ("slab", _edit("lattice", "pbc", value=[True, True, False]), "/lattice/pbc"),
    ("no sites", _edit("sites", value=[]), "/sites"),
    ("sites as text", _edit("sites", value="many"), "/sites"),
    ("site as text", _edit("sites", 2, value="O"), "/sites/2"),
    ("two species", _edit("sites", 1, "species", value=[{}, {}]), "/sites/1/species"),
    ("occupancy", _edit("sites", 0, "species", 0, "occu", value=0.5), "/sites/0/species/0/occu"),
    (
        "no element",
        _edit("sites", 0, "species", 0, "element", value="Qq"),
        "/sites/0/species/0/element",
    ),
    ("boolean position", _edit("sites", 0, "abc", 1, value=True), "/sites/0/abc/1"),
    ("no position", _edit("sites", 0, "abc", value=None), "/sites/0/abc"),
    ("huge position", _edit("sites", 0, "abc", 1, value=1e300), "/sites/0/abc/1"),
    ("other element", _edit("sites", 0, "species", 0, "element", value="U"), ""),
    ("too many atoms", lambda data: data["sites"].extend(data["sites"] * 20_000), ""),
]


@pytest.mark.parametrize(
    ("edit", "pointer"), [row[1:] for row in EDITS], ids=[row[0] for row in EDITS]
)
def test_reconstruct_refuses_a_bad_dictionary(
    client: TestClient, edit: Callable[[dict[str, Any]], None], pointer: str
) -> None:
    data = json.loads(json.dumps(pymatgen_dict()))
    edit(data)
    response = client.post("/reconstruct", json={"structures": [{"structure": data}]})
    (error,) = problem(response, 422)["errors"]
    assert error["pointer"] == f"/structures/0/structure{pointer}"


RECONSTRUCT: list[tuple[str, Any, str]] = [
    ("nothing", {}, "/structures"),
    ("no structures", {"structures": []}, "/structures"),
    ("not a list", {"structures": {}}, "/structures"),
    ("neither form", {"structures": [{}]}, "/structures/0"),
    ("both forms", {"structures": [{"cif": CIF, "structure": {}}]}, "/structures/0"),
    ("number as CIF", {"structures": [{"cif": 5}]}, "/structures/0/cif"),
    ("candidates", {"structures": [{"cif": CIF}], "num_candidates": 0}, "/num_candidates"),
    ("too many", {"structures": [{"cif": CIF}], "num_candidates": 101}, "/num_candidates"),
]


@pytest.mark.parametrize(
    ("body", "pointer"), [row[1:] for row in RECONSTRUCT], ids=[row[0] for row in RECONSTRUCT]
)
def test_reconstruct_refuses(client: TestClient, body: Any, pointer: str) -> None:
    answer = problem(client.post("/reconstruct", json=body), 422)
    assert pointer in [error.get("pointer") for error in answer["errors"]]


@pytest.mark.parametrize(
    "query", ["seed=x", "num_candidates=0", "nfe=5", "sampler=slow", "priority=urgent"]
)
def test_reconstruct_refuses_bad_parameters(client: TestClient, query: str) -> None:
    headers = {"Content-Type": "chemical/x-cif"}
    problem(client.post(f"/reconstruct?{query}", content=CIF, headers=headers), 422)


def test_parameters_do_not_mix_with_a_json_body(client: TestClient) -> None:
    response = client.post("/reconstruct?seed=5", json={"structures": [{"cif": CIF}]})
    assert problem(response, 422)["errors"][0]["parameter"] == "seed"


@pytest.mark.parametrize("identity", ["nope", "../../etc", "a b", "x" * 100, "%00"])
@pytest.mark.parametrize("tail", ["", "/result", "/crystals/0"])
def test_unknown_jobs_are_404(client: TestClient, identity: str, tail: str) -> None:
    problem(client.get(f"/jobs/{identity}{tail}"), 404)
    if not tail:
        problem(client.delete(f"/jobs/{identity}"), 404)


def test_unknown_paths_and_methods(client: TestClient) -> None:
    problem(client.get("/nope"), 404)
    response = client.get("/generate")
    problem(response, 405)
    assert response.headers["allow"] == "POST"
    problem(client.put("/jobs/x"), 405)
    problem(client.get("/models/nope"), 404)
    problem(client.get("/static/../main.py"), 404)


def test_a_broken_card_is_no_client_error(client: TestClient, store: Path) -> None:
    (store / "tiny" / "1" / "card.json").write_text("{}")
    response = client.post("/generate", json={})
    problem(response, 503)
    assert response.headers["retry-after"]
