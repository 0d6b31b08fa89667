"""Relaxation of a job's crystals, where the worker has an interatomic potential."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any

from schema.crystals import CrystalRecord, Relaxed

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from cdvae.relaxation import Potential
    from worker.records import Origin

LoadPotential = Callable[[str], "Potential"]


class NoPotentialError(Exception):
    """The job wants its crystals relaxed, and this worker cannot do that."""


def find_potential() -> LoadPotential | None:
    """How to load the potential that is installed; None where there is none."""
    from cdvae.relaxation import installed, load_chgnet

    return load_chgnet if installed() else None


class Relaxer:
    """The potential of one process, loaded when the first job wants it. Jobs take turns.

    load: None where there is no potential; device: where it computes.
    """

    def __init__(self, load: LoadPotential | None, device: str) -> None:
        self._load, self._device = load, device
        self._lock = threading.Lock()

    @property
    def available(self) -> bool:
        """Whether this worker can relax crystals."""
        return self._load is not None

    @cached_property
    def _potential(self) -> Potential:
        if self._load is None:
            raise NoPotentialError("no interatomic potential is installed")
        return self._load(self._device)

    def relaxed(
        self,
        record: CrystalRecord,
        structure: Structure,
        origin: Origin,
        on_step: Callable[[], None],
    ) -> CrystalRecord:
        """The record with its relaxed crystal; without where that is impossible or makes no sense.

        Raises NoPotentialError.
        """
        from cdvae.data.cif import write_cif
        from cdvae.relaxation import relax

        with self._lock:
            potential = self._potential
            found = relax(structure, potential, on_step) if record.valid.structure else None
        if found is None:
            return record
        provenance = {**origin.of(record.index), "relaxed": potential.name}
        relaxed = Relaxed(
            potential=potential.name,
            cif=write_cif(found.structure, provenance),
            energy_per_atom=found.energy,
            energy_per_atom_before=found.energy_before,
            rmsd=found.rmsd,
            converged=found.converged,
            steps=found.steps,
        )
        return record.model_copy(update={"relaxed": relaxed})


def relaxation_metrics(records: Sequence[CrystalRecord]) -> dict[str, Any]:
    """What became of the crystals of a job that were to be relaxed."""
    found = [record.relaxed for record in records if record.relaxed is not None]
    distances = [one.rmsd for one in found if one.rmsd is not None]
    return {
        "relaxed": len(found) / len(records) if records else None,
        "converged": fmean(one.converged for one in found) if found else None,
        "energy_per_atom": fmean(one.energy_per_atom for one in found) if found else None,
        "rmsd": fmean(distances) if distances else None,
    }
