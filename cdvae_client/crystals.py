"""Crystals and results of the client: the records of the wire contract, with conversions.

The conversions import pymatgen and ASE on use, so the client requires neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import TypeAdapter
from pydantic_core import from_json

from cdvae_client.client_errors import MissingPackageError
from cdvae_schema.crystal_records import (
    CellParameters,
    CrystalRecord,
    InterpolatedRecord,
    OptimizedRecord,
    ReconstructedRecord,
    VariedRecord,
)
from cdvae_schema.job_specs import JobKind, JobStatus
from cdvae_schema.outcomes import Provenance

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure


@contextmanager
def _needed(package: str) -> Iterator[None]:
    """Raise MissingPackageError where the block cannot import `package`."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise
        raise MissingPackageError(package) from error


class _Record(Protocol):
    @property
    def cif(self) -> str: ...

    @property
    def lattice(self) -> CellParameters: ...


class _Convertible:
    """Conversions of a record."""

    def structure(self: _Record) -> Structure:
        """Return a pymatgen `Structure`; orientation of the cell and order of the atoms as decoded.

        Raises MissingPackageError where pymatgen is not installed.
        """
        with _needed("pymatgen"):
            from pymatgen.core.structure import Structure
            from pymatgen.io.cif import CifFile

        # The CIF is P1, so its loop has every atom. pymatgen's parser for any CIF would group them
        # by element, and move coordinates near 1/3 and 2/3 onto these by up to 1e-4.
        (block,) = CifFile.from_str(self.cif).data.values()
        columns = [[float(text) for text in block[f"_atom_site_fract_{axis}"]] for axis in "xyz"]
        sites = list(zip(*columns, strict=True))
        return Structure(self.lattice.matrix, block["_atom_site_type_symbol"], sites)

    def atoms(self: _Record) -> Atoms:
        """Return ASE `Atoms`; orientation of the cell and order of the atoms as decoded.

        Raises MissingPackageError where ASE is not installed.
        """
        with _needed("ase"):
            from ase.io.cif import parse_cif

        (block,) = parse_cif(StringIO(self.cif))
        atoms: Any = block.get_unsymmetrized_structure()
        atoms.set_cell(self.lattice.matrix, scale_atoms=True)
        atoms.pbc = True
        return cast("Atoms", atoms)


class Crystal(_Convertible, CrystalRecord):
    """Generated crystal, with the fields of `CrystalRecord`."""


class ReconstructedCrystal(_Convertible, ReconstructedRecord):
    """Reconstruction of an input crystal, with the fields of `ReconstructedRecord`."""


class OptimizedCrystal(_Convertible, OptimizedRecord):
    """Optimized crystal, with the fields of `OptimizedRecord`."""


class InterpolatedCrystal(_Convertible, InterpolatedRecord):
    """Crystal between two others, with the fields of `InterpolatedRecord`."""


class VariedCrystal(_Convertible, VariedRecord):
    """Variation of an input crystal, with the fields of `VariedRecord`."""


AnyCrystal = Crystal | ReconstructedCrystal | OptimizedCrystal | InterpolatedCrystal | VariedCrystal

_UNSAFE = re.compile(r"[^A-Za-z0-9.]+")


def file_stem(crystal: CrystalRecord) -> str:
    """Return a file name for a crystal, as in the service's zip: `00003-SrTiO3`."""
    formula = _UNSAFE.sub("", crystal.reduced_formula) or "crystal"
    return f"{crystal.index:05d}-{formula}"


_TYPES: dict[JobKind, TypeAdapter[Any]] = {
    "generate": TypeAdapter(list[Crystal]),
    "reconstruct": TypeAdapter(list[ReconstructedCrystal]),
    "optimize": TypeAdapter(list[OptimizedCrystal]),
    "interpolate": TypeAdapter(list[InterpolatedCrystal]),
    "vary": TypeAdapter(list[VariedCrystal]),
}


def read_crystals(kind: JobKind, records: list[Any]) -> list[AnyCrystal]:
    """Parse the crystals of a job; fields that a newer service adds are ignored."""
    crystals: list[AnyCrystal] = _TYPES[kind].validate_python(records, extra="ignore")
    return crystals


@dataclass(frozen=True)
class Result:
    """Crystals of a job with metrics and provenance; a sequence of the crystals.

    crystals: best first for an optimization, by index otherwise; metrics, provenance: None for a
    job that was cancelled before they were computed.
    """

    job: JobStatus
    crystals: list[AnyCrystal]
    metrics: dict[str, Any] | None
    provenance: Provenance | None

    @classmethod
    def of(cls, content: bytes) -> Result:
        """Parse the JSON form of a result."""
        data = from_json(content)
        job = JobStatus.model_validate(data["job"], extra="ignore")
        origin = data["provenance"]
        return cls(
            job=job,
            crystals=read_crystals(job.kind, data["crystals"]),
            metrics=data["metrics"],
            provenance=origin and Provenance.model_validate(origin, extra="ignore"),
        )

    def __iter__(self) -> Iterator[AnyCrystal]:
        return iter(self.crystals)

    def __len__(self) -> int:
        return len(self.crystals)

    def __getitem__(self, number: int) -> AnyCrystal:
        return self.crystals[number]

    def __repr__(self) -> str:
        return f"<Result of job {self.job.id}: {len(self)} crystals>"
