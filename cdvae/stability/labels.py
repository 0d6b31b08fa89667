"""Generated crystals with what a potential makes of them: training data of a stability critic.

A file holds the crystals of one seed. It is written when all of them are relaxed, so a folder of
labels is resumed by skipping the seeds whose files exist.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from safetensors import safe_open
from safetensors.numpy import save

from cdvae.errors import DataError
from cdvae.stability.potential import Potential, Untreatable, label
from cdvae.stability.relaxation import Relaxation, relax

FORMAT = 1


@dataclass(frozen=True)
class LabelledCrystal:
    """A generated crystal and its relaxation."""

    seed: int
    index: int  # within its seed
    structure: Structure
    relaxed: Structure | None  # None where the potential cannot treat the crystal
    energy_before: float | None  # eV/atom
    energy: float | None  # eV/atom
    largest_force: float | None  # eV/Å, at the end
    steps: int
    converged: bool
    reason: str | None  # why it was not relaxed


def label_file(folder: Path, seed: int) -> Path:
    """Return where the labels of ``seed`` are."""
    return folder / f"labels-{seed:06d}.safetensors"


def label_seed(
    folder: Path,
    seed: int,
    structures: Sequence[Structure],
    potential: Potential,
    origin: dict[str, Any],
    on_step: Callable[[int], None] | None = None,
    *,
    max_steps: int,
) -> Path:
    """Relax ``structures``, write the labels of ``seed`` to ``folder`` and return the file.

    Args:
        folder: is made where it is missing.
        seed: the seed of the crystals.
        structures: the crystals in their order.
        potential: relaxes them.
        origin: facts about the crystals for the file: model, sampler.
        on_step: called with the number of crystals that are done.
        max_steps: steps of a relaxation at most.
    """
    results = relax(structures, potential, on_step, max_steps=max_steps)
    relaxed = [one.structure if isinstance(one, Relaxation) else None for one in results]
    ends = [new or old for new, old in zip(relaxed, structures, strict=True)]
    numbers = [np.array(one.atomic_numbers, dtype=np.uint8) for one in structures]
    arrays = {
        "num_atoms": np.array([len(one) for one in structures], dtype=np.uint8),
        "atomic_numbers": np.concatenate(numbers),
        "frac_coords": _stacked([one.frac_coords for one in structures]),
        "lattice": np.array([one.lattice.matrix for one in structures], dtype=np.float32),
        "relaxed_frac_coords": _stacked([one.frac_coords for one in ends]),
        "relaxed_lattice": np.array([one.lattice.matrix for one in ends], dtype=np.float32),
        "energy_before": _numbers(results, "energy_before"),
        "energy": _numbers(results, "energy"),
        "largest_force": _numbers(results, "largest_force"),
        "steps": np.array([getattr(one, "steps", 0) for one in results], dtype=np.int32),
        "converged": np.array([getattr(one, "converged", False) for one in results], dtype=bool),
    }
    reasons = {i: one.reason for i, one in enumerate(results) if isinstance(one, Untreatable)}
    facts = {
        "format": FORMAT,
        "seed": seed,
        "potential": label(potential),
        "max_steps": max_steps,
        "reasons": reasons,
        **origin,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = label_file(folder, seed)
    partial = path.with_suffix(".partial")
    partial.write_bytes(save(arrays, {"labels": json.dumps(facts)}))
    os.replace(partial, path)  # a reader never sees half a file
    return path


def read_labels(folder: Path) -> Iterator[LabelledCrystal]:
    """Yield the crystals of all label files of ``folder``, seed by seed.

    Raises:
        DataError: a file is damaged or of another format.
    """
    for path in sorted(folder.glob("labels-*.safetensors")):
        try:
            with safe_open(path, "np") as file:
                facts = json.loads(file.metadata()["labels"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:  # safetensors raises its own type for damaged files
            raise DataError(f"{path} is not a file of labels: {error}") from error
        if facts["format"] != FORMAT:
            raise DataError(f"{path} has format {facts['format']}, not {FORMAT}")
        yield from _crystals(facts, arrays)


def _crystals(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> Iterator[LabelledCrystal]:
    ends = arrays["num_atoms"].astype(int).cumsum()
    for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        species: list[Any] = arrays["atomic_numbers"][start:end].tolist()
        atoms = slice(start, end)
        reason = facts["reasons"].get(str(i))
        before, after = (
            Structure(Lattice(arrays[cell][i]), species, arrays[sites][atoms].astype(float))
            for cell, sites in (
                ("lattice", "frac_coords"),
                ("relaxed_lattice", "relaxed_frac_coords"),
            )
        )
        measured = {
            name: None if reason else float(arrays[name][i])
            for name in ("energy_before", "energy", "largest_force")
        }
        yield LabelledCrystal(
            seed=int(facts["seed"]),
            index=i,
            structure=before,
            relaxed=None if reason else after,
            steps=int(arrays["steps"][i]),
            converged=bool(arrays["converged"][i]),
            reason=reason,
            **measured,
        )


def _stacked(coordinates: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(coordinates).astype(np.float32)


def _numbers(results: Sequence[Relaxation | Untreatable], name: str) -> np.ndarray:
    return np.array([getattr(one, name, np.nan) for one in results], dtype=np.float64)
