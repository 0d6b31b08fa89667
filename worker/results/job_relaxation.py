"""Relaxation of a job's crystals, where the worker has an interatomic potential."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cdvae_schema.crystal_records import CrystalRecord, Relaxed

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from cdvae.stability.potential import Potential
    from cdvae.stability.relaxation import Relaxation
    from worker.results.analysis import CrystalProvenance
    from worker.results.result_writer import ResultWriter


LoadPotential = Callable[[str], "Potential"]

BATCH_CRYSTALS = 16
"""Crystals in one evaluation of the potential."""
POLL_INTERVAL = 0.2  # s between two calls of `on_step` by a job that waits for the potential


class NoPotentialError(Exception):
    """The job requests relaxation, and this worker has no potential."""


def find_potential() -> LoadPotential | None:
    """Return the function that loads the installed potential; None without one."""
    from cdvae.stability.chgnet_potential import load_chgnet
    from cdvae.stability.potentials import installed

    return load_chgnet if installed("chgnet") else None


class Relaxer:
    """The potential of one process. The first job that needs it loads it; jobs take turns.

    load: None without a potential. device: the device of the potential.
    """

    def __init__(self, load: LoadPotential | None, device: str) -> None:
        self._load, self._device = load, device
        self._lock = threading.Lock()

    @property
    def available(self) -> bool:
        """True if this worker can relax crystals."""
        return self._load is not None

    @cached_property
    def _potential(self) -> Potential:
        if self._load is None:
            raise NoPotentialError("no interatomic potential is installed")
        return self._load(self._device)

    def relaxed(
        self,
        records: Sequence[CrystalRecord],
        structures: Sequence[Structure],
        nfe: Sequence[int],
        origin: CrystalProvenance,
        on_step: Callable[[int], None],
    ) -> list[CrystalRecord]:
        """Return the records with their relaxed crystals.

        Records of invalid structures, and of crystals that the potential cannot treat, stay as
        they are. on_step: called with the number of finished crystals. Raises NoPotentialError.
        """
        from cdvae.stability.potential import label
        from cdvae.stability.relaxation import Relaxation, relax

        possible = [place for place, record in enumerate(records) if record.valid.structure]
        while not self._lock.acquire(timeout=POLL_INTERVAL):
            on_step(0)
        try:
            potential = self._potential
            found = relax([structures[place] for place in possible], potential, on_step)
        finally:
            self._lock.release()
        result = list(records)
        for place, one in zip(possible, found, strict=True):
            if isinstance(one, Relaxation):
                result[place] = _with(
                    records[place],
                    one,
                    label(potential),
                    origin.of(records[place].index, nfe[place]),
                )
        return result


def relax_all(
    relaxer: Relaxer,
    folder: ResultWriter,
    origin: CrystalProvenance,
    on_fraction: Callable[[float], None],
) -> None:
    """Relax a job's crystals chunk by chunk; skip the chunks that an earlier attempt relaxed.

    on_fraction: called with the finished fraction; it may raise to stop. Raises NoPotentialError.
    """
    records = folder.records()
    total = len(records)
    for chunk in folder.chunks:
        if any(record.relaxed for record in chunk.records):
            continue
        for start in range(0, len(chunk.records), BATCH_CRYSTALS):
            part = slice(start, start + BATCH_CRYSTALS)
            own, structures = chunk.records[part], chunk.structures[part]
            first = own[0].index

            def on_step(done: int, first: int = first) -> None:
                on_fraction((first + done) / total)

            relaxed = relaxer.relaxed(own, structures, chunk.nfe[part], origin, on_step)
            records[first : first + len(own)] = relaxed
        folder.replace(records)


def _with(
    record: CrystalRecord, found: Relaxation, name: str, provenance: dict[str, str | int]
) -> CrystalRecord:
    from cdvae.data.cif_writer import write_cif

    relaxed = Relaxed(
        potential=name,
        cif=write_cif(found.structure, {**provenance, "relaxed": name}),
        energy_per_atom=found.energy,
        energy_per_atom_before=found.energy_before,
        rmsd=found.rmsd,
        converged=found.converged,
        steps=found.steps,
    )
    return record.model_copy(update={"relaxed": relaxed})


def relaxation_metrics(records: Sequence[CrystalRecord]) -> dict[str, Any]:
    """Return the metrics of the relaxation of a job's crystals."""
    found = [record.relaxed for record in records if record.relaxed is not None]
    distances = [one.rmsd for one in found if one.rmsd is not None]
    return {
        "relaxed": len(found) / len(records) if records else None,
        "converged": fmean(one.converged for one in found) if found else None,
        "energy_per_atom": fmean(one.energy_per_atom for one in found) if found else None,
        "rmsd": fmean(distances) if distances else None,
    }
