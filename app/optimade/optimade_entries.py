"""Convert crystals of finished jobs to OPTIMADE structures (version 1.2, optimade.org)."""

import math
from collections import Counter
from typing import Any

from app.results.formats import Record, Sites
from cdvae_schema.job_specs import JobStatus

PREFIX = "cdvae"
FIELDS = [
    {"name": "job", "type": "string", "description": "Id of the job."},
    {"name": "index", "type": "integer", "description": "Index of the crystal in the job."},
    {"name": "kind", "type": "string", "description": "Kind of the job, e.g. generate."},
    {"name": "model", "type": "string", "description": "name@version of the model."},
    # Integers, since the package cannot filter by booleans.
    {"name": "valid", "type": "integer", "description": "1 if both validity checks pass, else 0."},
    {
        "name": "novel",
        "type": "integer",
        "description": "0 if the training data contain it, else 1.",
    },
    {"name": "density", "type": "float", "unit": "g/cm^3", "description": "Mass density."},
    {"name": "spacegroup", "type": "integer", "description": "Number of the space group."},
    {"name": "predicted", "type": "dictionary", "description": "Properties, units of the card."},
]
"""Fields in addition to the standard; clients see them as `_cdvae_<name>`."""


def entry(record: Record, status: JobStatus) -> dict[str, Any]:
    """Return the structure of a stored record, with all fields flat and without prefix."""
    sites = Sites.of(record)
    counts = Counter(sites.symbols)
    elements = sorted(counts)
    group = record["spacegroup"]
    return {
        "id": f"{status.id}-{record['index']}",
        "type": "structures",
        "last_modified": status.finished_at or status.created_at,
        "elements": elements,
        "nelements": len(elements),
        "elements_ratios": [counts[one] / len(sites.symbols) for one in elements],
        "chemical_formula_descriptive": record["reduced_formula"],
        "chemical_formula_reduced": _reduced(counts),
        "chemical_formula_hill": _hill(counts),
        "chemical_formula_anonymous": _anonymous(counts),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": sites.lattice,
        "cartesian_site_positions": sites.cartesian(),
        "nsites": len(sites.symbols),
        "species": [
            {"name": one, "chemical_symbols": [one], "concentration": [1.0]} for one in elements
        ],
        "species_at_sites": sites.symbols,
        "structure_features": [],
        "job": status.id,
        "index": record["index"],
        "kind": status.kind,
        "model": status.request.model,
        "valid": int(all(record["valid"].values())),
        "novel": None if record["novel"] is None else int(record["novel"]),
        "density": record["density"],
        "spacegroup": group["number"] if group else None,
        "predicted": record["predicted"],
    }


def _text(counts: list[tuple[str, int]]) -> str:
    return "".join(symbol + (str(count) if count > 1 else "") for symbol, count in counts)


def _reduced(counts: Counter[str]) -> str:
    """Return the formula in alphabetical order with the smallest integers: `O3SrTi`."""
    divisor = math.gcd(*counts.values())
    return _text([(one, counts[one] // divisor) for one in sorted(counts)])


def _hill(counts: Counter[str]) -> str:
    """Return all atoms: carbon and hydrogen first where there is carbon, else alphabetical."""
    first = ["C", "H"] if "C" in counts else []
    return _text([(one, counts[one]) for one in sorted(counts, key=lambda s: (s not in first, s))])


def _anonymous(counts: Counter[str]) -> str:
    """Return the formula with the names A, B, …, Z, Aa, Ba, … by falling count: `A3BC`."""
    divisor = math.gcd(*counts.values())
    shares = sorted((count // divisor for count in counts.values()), reverse=True)
    return _text([(_name(number), share) for number, share in enumerate(shares)])


def _name(number: int) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    round_, place = divmod(number, len(letters))
    return letters[place] + (letters[round_ - 1].lower() if round_ else "")
