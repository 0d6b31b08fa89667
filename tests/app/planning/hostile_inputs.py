"""Malicious and broken inputs with the status of their response."""

from collections.abc import Iterator
from typing import Any

from tests.app.conftest import CELL, CIF, GROUP, SITES, pymatgen_dict

MANY = 200_000

Case = tuple[str, bytes, int]


def cif(name: str, text: str | bytes, status: int) -> Case:
    return name, text if isinstance(text, bytes) else text.encode(), status


def cell(**values: str) -> str:
    """A P1 crystal whose cell has these parameters."""
    text = CELL
    for key, value in values.items():
        old = next(line for line in CELL.splitlines() if line.split()[0].endswith(f"_{key}"))
        text = text.replace(old, f"{old.split()[0]} {value}")
    return f"data_x\n{text}{SITES}"


CIFS: list[Case] = [
    cif("empty", "", 415),
    cif("blanks", " \n\t\n", 400),
    cif("comment only", "# nothing\n", 400),
    cif("no block", "_cell_length_a 1\n", 400),
    cif("a block without anything", "data_x\n", 422),
    cif("binary", bytes(range(256)), 400),
    cif("NUL bytes", "data_x\n\0\0\0", 400),
    cif("UTF-16", CIF.encode("utf-16"), 400),
    cif("UTF-32", CIF.encode("utf-32"), 400),
    cif("Latin-1", "data_x\n# Å\n".encode("latin-1") + CIF.encode(), 400),
    cif("an overlong sequence", b"data_\xc0\xaf\n" + CIF.encode(), 400),
    cif("a surrogate", b"data_\xed\xa0\x80\n" + CIF.encode(), 400),
    cif("JSON", '{"cif": 1}', 400),
    cif("HTML", "<html><script>alert(1)</script></html>", 400),
    cif("XML entities", '<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;&a;</x>', 400),
    cif("a pickle", b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.", 400),
    cif("YAML with a tag", "!!python/object/apply:os.system ['true']\n", 400),
    cif("gzip", b"\x1f\x8b\x08" + b"\0" * 40, 400),
    cif("cut in a loop row", CIF[: CIF.rindex("O1") + 7], 400),
    cif("cut in the header", CIF[: CIF.index("_atom_site_fract_x")], 422),
    cif("an open quote", CIF.replace("'P m -3 m'", "'P m -3 m"), 400),
    cif("an open text field", f"data_x\n_note\n;begin\n{CIF}", 400),
    cif("a loop without values", "data_x\nloop_\n_a\n_b\n", 422),
    cif("a loop without tags", "data_x\nloop_\n1 2 3\n", 400),
    cif("a tag twice", CIF.replace(GROUP, GROUP + GROUP), 400),
    cif("blocks of one name", CIF + CIF, 400),
    cif("NaN as length", cell(a="nan"), 422),
    cif("infinity as length", cell(a="inf"), 422),
    cif("a huge exponent", cell(a="1e999"), 422),
    cif("hexadecimal length", cell(a="0x10"), 422),
    cif("text as length", cell(a="long"), 422),
    cif("unknown length", cell(a="?"), 422),
    cif("zero length", cell(a="0"), 422),
    cif("negative length", cell(b="-3.9"), 422),
    cif("a speck", cell(a="1e-12"), 422),
    cif("a light year", cell(c="9.46e25"), 422),
    cif("no angle", cell(alpha="0"), 422),
    cif("a straight angle", cell(beta="180"), 422),
    cif("angles that make no cell", cell(alpha="20", beta="20", gamma="170"), 422),
    cif("zero volume", cell(alpha="60", beta="60", gamma="120"), 422),
    cif("no cell", f"data_x\n{SITES}", 422),
    cif("no sites", f"data_x\n{CELL}", 422),
    cif("NaN as coordinate", CIF.replace("0.5 0.5 0.5 1", "nan 0.5 0.5 1"), 422),
    cif("infinity as coordinate", CIF.replace("0.5 0.5 0.5 1", "1e400 0.5 0.5 1"), 422),
    cif("text as coordinate", CIF.replace("0.5 0.5 0.5 1", "here 0.5 0.5 1"), 422),
    cif("partial occupancy", CIF.replace("0 0 0 1", "0 0 0 0.5"), 422),
    cif("no occupancy at all", CIF.replace("0 0 0 1", "0 0 0 0"), 422),
    cif("too much occupancy", CIF.replace("0 0 0 1", "0 0 0 7"), 422),
    cif("NaN occupancy", CIF.replace("0 0 0 1", "0 0 0 nan"), 422),
    cif("two atoms in a place", CIF.replace("0.5 0.5 0.5 1", "0 0 0 1"), 422),
    cif("two atoms almost in a place", CIF.replace("0.5 0.5 0.5 1", "1e-6 0 0 1"), 422),
    cif("the same site twice", CIF + "Sr2 Sr 0 0 0 1\n", 422),
    cif("no such element", CIF.replace("Sr1 Sr ", "Xx1 Xx "), 422),
    cif("an element of another model", CIF.replace("Sr1 Sr ", "U1 U "), 422),
    cif("a vacancy", CIF.replace("Sr1 Sr ", "Vac Vac "), 422),
    cif("a path as element", CIF.replace("Sr1 Sr ", "../../etc/passwd ../../x "), 422),
    cif("no such group", CIF.replace("P m -3 m", "Q q q"), 422),
    cif("an operation that is none", f"data_x\n{CELL}loop_\n_symmetry_equiv_pos_as_xyz\nx,y\n{SITES}", 422),
    cif("code as operation", f"data_x\n{CELL}loop_\n_symmetry_equiv_pos_as_xyz\n'__import__(1),y,z'\n{SITES}", 422),
    cif("a thousand operations", f"data_x\n{CELL}loop_\n_symmetry_equiv_pos_as_xyz\n" + "x,y,z\n" * 1000 + SITES, 422),
    cif("a general position in a large group", CIF.replace("0.5 0.5 0 1", "0.11 0.23 0.37 1"), 422),
    cif("a tail of sites", CIF + "".join(f"O{i} O 0.{i} 0.1 0.2 1\n" for i in range(2, 9)), 422),
    cif("a hundred thousand sites", CIF + "".join(f"O{i} O 0.1 0.2 0.3 1\n" for i in range(100_000)), 422),
    cif("eleven blocks", "".join(CIF.replace("data_SrTiO3", f"data_{i}") for i in range(11)), 422),
    cif("thousands of blocks", "".join(f"data_{i}\n" for i in range(MANY)), 422),
    cif("a block name of a megabyte", CIF.replace("SrTiO3", "x" * 1_000_000) + "O2 O 0 0 0 1\n", 422),
    cif("a value of a megabyte", CIF.replace("a 3.905", "a " + "3" * 1_000_000), 422),
    cif("a text field of ten megabytes", f"data_x\n_note\n;{'x' * 10_000_000}\n;\n", 422),
    cif("a path as block name", CIF.replace("SrTiO3", "../../../tmp/x") + "O2 O 0 0 0 1\n", 422),
    cif("a script as block name", CIF.replace("SrTiO3", "<script>") + "O2 O 0 0 0 1\n", 422),
    cif("more than the limit", b"#" * (20 * 1024 * 1024 + 1), 413),
]  # fmt: skip


def nested(depth: int) -> str:
    return '{"structures":' + "[" * depth + "]" * depth + "}"


def structure(**changes: Any) -> dict[str, Any]:
    return {"structures": [{"structure": pymatgen_dict(**changes)}]}


JSONS: list[tuple[str, Any, int]] = [
    ("a wall of brackets", "[" * MANY, 400),
    ("a wall of braces", '{"a":' * MANY, 400),
    ("deep nesting", nested(100_000), 400),
    ("cut", '{"structures": [{"cif": "data_', 400),
    ("two values", "{}{}", 400),
    ("single quotes", "{'structures': []}", 400),
    ("a lone surrogate", '{"model": "\\ud800"}', 400),
    ("a NUL", '{"model": "a\0b"}', 400),
    ("a number of a megabyte", '{"seed": ' + "1" * 1_000_000 + "}", 400),
    ("NaN", '{"seed": NaN}', 422),
    ("a large float", '{"seed": 1e400}', 422),
    ("no structures", {}, 422),
    ("an empty list", {"structures": []}, 422),
    ("a list of nothing", {"structures": [None, None]}, 422),
    ("both forms", {"structures": [{"cif": CIF, "structure": pymatgen_dict()}]}, 422),
    ("an unknown field", {"structures": [{"cif": CIF}], "__proto__": {}}, 422),
    ("a class to load", {"structures": [{"structure": {"@module": "os", "@class": "system"}}]}, 422),
    ("no lattice", structure(lattice=None), 422),
    ("a flat lattice", structure(lattice={"matrix": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}), 422),
    ("a ragged lattice", structure(lattice={"matrix": [[1, 0], [0, 1, 0], [0, 0, 1]]}), 422),
    ("a lattice of text", structure(lattice={"matrix": [["a"] * 3] * 3}), 422),
    ("sites as an object", structure(sites={"a": 1}), 422),
    ("sites as text", structure(sites="Sr Ti O"), 422),
    ("thousands of structures", {"structures": [{"cif": "x"}] * 11_000}, 422),
    ("a CIF in a CIF's place", {"structures": [{"cif": "\0"}]}, 400),
    ("a model outside", {"structures": [{"cif": CIF}], "model": "../../etc/passwd"}, 422),
]  # fmt: skip


def all_names() -> Iterator[str]:
    yield from (name for name, *_ in CIFS)
    yield from (name for name, *_ in JSONS)
