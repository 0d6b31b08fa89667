"""Write one crystal for other programs: extended XYZ, VASP's POSCAR, pymatgen's JSON.

The formats use a stored record: the cell vectors exactly as decoded, the sites from its CIF (8
decimals), so that positions differ from the decoded ones by less than 1e-6 Å.
"""

import json
from dataclasses import dataclass
from typing import Any

import gemmi
from gemmi import cif

Record = dict[str, Any]

SITE_TAGS = ["type_symbol", "fract_x", "fract_y", "fract_z"]
CELL_NAMES = ("a", "b", "c", "alpha", "beta", "gamma")


@dataclass(frozen=True)
class Sites:
    """The cell, atoms and origin of a stored record."""

    lattice: list[list[float]]  # rows are the cell vectors, Å
    symbols: list[str]
    frac_coords: list[list[float]]
    origin: str

    @classmethod
    def of(cls, record: Record) -> "Sites":
        """Return the sites of a stored record, in the order of its CIF."""
        block = cif.read_string(record["cif"]).sole_block()
        rows = list(block.find("_atom_site_", SITE_TAGS))
        origin = block.find_value("_audit_creation_method")
        return cls(
            lattice=record["lattice"]["matrix"],
            symbols=[gemmi.Element(row.str(0)).name for row in rows],
            frac_coords=[[cif.as_number(row[axis]) for axis in (1, 2, 3)] for row in rows],
            origin=cif.as_string(origin) if origin else "",
        )

    def cartesian(self) -> list[list[float]]:
        """Return the positions of the atoms, Å."""
        return [
            [sum(one[row] * self.lattice[row][axis] for row in range(3)) for axis in range(3)]
            for one in self.frac_coords
        ]


def xyz(record: Record) -> str:
    """Return one frame of extended XYZ; predicted properties and checks are in its comment line."""
    sites = Sites.of(record)
    fields = {
        "Lattice": " ".join(_number(value) for row in sites.lattice for value in row),
        "Properties": "species:S:1:pos:R:3",
        "pbc": "T T T",
        "index": str(record["index"]),
        "formula": record["reduced_formula"],
        **{f"valid_{name}": "T" if passed else "F" for name, passed in record["valid"].items()},
        **{f"predicted_{name}": repr(value) for name, value in record["predicted"].items()},
        "origin": sites.origin,
    }
    comment = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items() if value)
    rows = zip(sites.symbols, sites.cartesian(), strict=True)
    atoms = "".join(f"{symbol} {' '.join(map(_number, place))}\n" for symbol, place in rows)
    return f"{len(sites.symbols)}\n{comment}\n{atoms}"


def poscar(record: Record) -> str:
    """Return a POSCAR of VASP 5: atoms of one element together, fractional coordinates."""
    sites = Sites.of(record)
    elements = list(dict.fromkeys(sites.symbols))
    atoms = list(zip(sites.symbols, sites.frac_coords, strict=True))
    ordered = [(symbol, place) for one in elements for symbol, place in atoms if symbol == one]
    title = f"{record['reduced_formula']} {record['index']} {sites.origin}".strip()
    lines = [
        title,
        "1.0",
        *(" ".join(map(_number, row)) for row in sites.lattice),
        " ".join(elements),
        " ".join(str(sites.symbols.count(one)) for one in elements),
        "Direct",
        *(f"{' '.join(map(_number, place))} {symbol}" for symbol, place in ordered),
    ]
    return "\n".join(lines) + "\n"


def pymatgen_dict(record: Record) -> dict[str, Any]:
    """Return the crystal as pymatgen's `Structure.as_dict()`, with the rest of the record in
    `properties`.
    """
    sites = Sites.of(record)
    known = {"cif", "lattice", "num_atoms"}
    cell = record["lattice"]
    lattice = {name: cell[name] for name in CELL_NAMES}
    rows = zip(sites.symbols, sites.frac_coords, sites.cartesian(), strict=True)
    return {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": 0,
        "lattice": {
            "matrix": sites.lattice,
            "pbc": [True] * 3,
            **lattice,
            "volume": record["volume"],
        },
        "properties": {
            **{name: value for name, value in record.items() if name not in known},
            "origin": sites.origin,
        },
        "sites": [
            {
                "species": [{"element": symbol, "occu": 1}],
                "abc": frac_coords,
                "properties": {},
                "label": symbol,
                "xyz": place,
            }
            for symbol, frac_coords, place in rows
        ],
    }


def compact(value: Any) -> str:
    """Return JSON text without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _number(value: float) -> str:
    return f"{value:.10f}"


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value
