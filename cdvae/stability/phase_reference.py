"""References of phases, from which convex hulls are made.

A reference is two files: ``NAME.safetensors`` with the phases, and ``NAME.json``, its card, with
their source, licence and the potential or functional of the energies. Of the phases with the same
composition only the lowest is kept, as no other can be on a hull.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core.periodic_table import Element
from safetensors import safe_open
from safetensors.numpy import save

from cdvae.errors import DataError

FOLDER = "phase_references"
PACKAGE = "cdvae_phase_references"
FORMAT = 1

Composition = tuple[tuple[int, int], ...]
"""Atomic numbers with their amounts in the smallest whole numbers, by atomic number."""


@dataclass(frozen=True)
class Phase:
    """A competing phase."""

    composition: Composition
    energy: float  # eV/atom: total, or of formation, as the card says
    identifier: str

    @property
    def formula(self) -> str:
        """The reduced formula, elements by atomic number."""
        return "".join(
            f"{Element.from_Z(z).symbol}{amount if amount > 1 else ''}"
            for z, amount in self.composition
        )


@dataclass(frozen=True)
class PhaseReference:
    """Phases of one source and the card that describes them."""

    phases: tuple[Phase, ...]
    card: dict[str, Any]

    @property
    def name(self) -> str:
        """Name and version of the reference."""
        return f"{self.card['name']}@{self.card['version']}"

    @property
    def potential(self) -> str | None:
        """The potential of the energies; None for formation energies of a functional."""
        return self.card.get("potential")

    @cached_property
    def by_system(self) -> dict[frozenset[int], list[Phase]]:
        """The phases by the set of their elements."""
        found: dict[frozenset[int], list[Phase]] = defaultdict(list)
        for phase in self.phases:
            found[frozenset(z for z, _ in phase.composition)].append(phase)
        return dict(found)

    @cached_property
    def elements(self) -> frozenset[int]:
        """The elements that are phases themselves."""
        return frozenset(z for system in self.by_system if len(system) == 1 for z in system)

    @cached_property
    def element_energies(self) -> dict[int, float]:
        """The energy of each element in eV/atom."""
        return {z: min(p.energy for p in self.by_system[frozenset([z])]) for z in self.elements}

    def element_shifts(self, potential: str) -> dict[int, float] | None:
        """Return what to subtract for an atom of each element from an energy of ``potential``.

        The difference is on the scale of the phases. Zeros for the reference's own potential, None
        for a potential that has not been fitted to it.
        """
        if potential == self.potential:
            return dict.fromkeys(self.elements, 0.0)
        fitted = self.card.get("element_shifts", {}).get(potential)
        return None if fitted is None else {Element(e).Z: value for e, value in fitted.items()}


def composition_of(amounts: dict[int, int]) -> Composition:
    """Return the composition with these numbers of atoms of each atomic number."""
    divisor = gcd(*amounts.values())
    return tuple((z, amounts[z] // divisor) for z in sorted(amounts))


def lowest(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    """Return the lowest phase of each composition, ordered by composition."""
    found: dict[Composition, Phase] = {}
    for phase in phases:
        known = found.get(phase.composition)
        if known is None or (phase.energy, phase.identifier) < (known.energy, known.identifier):
            found[phase.composition] = phase
    return tuple(found[key] for key in sorted(found))


def write_reference(reference: PhaseReference, folder: Path) -> Path:
    """Write the two files to ``folder`` and return the one of the phases."""
    phases = reference.phases
    pairs = [pair for phase in phases for pair in phase.composition]
    text = "\n".join(phase.identifier for phase in phases).encode()
    arrays: dict[str, np.ndarray] = {
        "num_elements": np.array([len(phase.composition) for phase in phases], dtype=np.uint8),
        "atomic_numbers": np.array([z for z, _ in pairs], dtype=np.uint8),
        "amounts": np.array([amount for _, amount in pairs], dtype=np.uint16),
        "energies": np.array([phase.energy for phase in phases], dtype=np.float32),
        "identifiers": np.frombuffer(text, dtype=np.uint8),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{reference.card['name']}.safetensors"
    partial = path.with_suffix(".partial")
    partial.write_bytes(save(arrays))
    os.replace(partial, path)
    card = {"format": FORMAT, "count": len(phases), **reference.card}
    path.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return path


def read_reference(path: Path) -> PhaseReference:
    """Return the reference whose phases are at ``path``.

    Raises:
        DataError: a file is missing, damaged or of another format.
    """
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if card["format"] != FORMAT:
            raise DataError(f"{path} has format {card['format']}, not {FORMAT}")
        identifiers = arrays["identifiers"].tobytes().decode().split("\n")
        numbers, amounts = arrays["atomic_numbers"].tolist(), arrays["amounts"].tolist()
        ends = arrays["num_elements"].astype(int).cumsum().tolist()
        phases = tuple(
            Phase(tuple(zip(numbers[start:end], amounts[start:end], strict=True)), energy, name)
            for start, end, energy, name in zip(
                [0, *ends[:-1]], ends, arrays["energies"].tolist(), identifiers, strict=True
            )
        )
    except DataError:
        raise
    except Exception as error:  # safetensors raises its own type for damaged files
        raise DataError(f"{path} is not a reference of phases: {error}") from error
    return PhaseReference(phases, card)


def load_shipped(name: str) -> PhaseReference:
    """Return the reference ``name`` of this installation.

    Raises:
        DataError: there is none with this name.
    """
    folder = shipped_folder()
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.safetensors"))) or "none"
        raise DataError(f"no reference of phases {name!r} in {folder}; known: {known}")
    return read_reference(path)


def shipped_folder() -> Path:
    """Return the folder of the references of this installation.

    Raises:
        DataError: there is none.
    """
    root = Path(__file__).parents[2]
    if Path(FOLDER).is_dir():  # as for models, the working directory comes first
        return Path(FOLDER)
    if (root / "pyproject.toml").is_file():  # a checkout
        return root / FOLDER
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise DataError("this installation has no references of phases: install cdvae-models")
    return Path(next(iter(package.submodule_search_locations)))
