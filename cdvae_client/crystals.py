"""Crystals and results as the client hands them out: the wire's records, with conversions.

pymatgen and ASE are imported when they are asked for, so that the client needs neither.
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
    """What a record can be turned into."""

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
    """A generated crystal: the fields of `CrystalRecord`."""


class ReconstructedCrystal(_Convertible, ReconstructedRecord):
    """A candidate for a given crystal: the fields of `ReconstructedRecord`."""


class OptimizedCrystal(_Convertible, OptimizedRecord):
    """An optimized crystal: the fields of `OptimizedRecord`."""


class InterpolatedCrystal(_Convertible, InterpolatedRecord):
    """A crystal on the way between two: the fields of `InterpolatedRecord`."""


class VariedCrystal(_Convertible, VariedRecord):
    """A crystal like a given one: the fields of `VariedRecord`."""


AnyCrystal = Crystal | ReconstructedCrystal | OptimizedCrystal | InterpolatedCrystal | VariedCrystal

_UNSAFE = re.compile(r"[^A-Za-z0-9.]+")


def file_stem(crystal: CrystalRecord) -> str:
    """A name for a crystal's file, as in the service's zip: `00003-SrTiO3`."""
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
    """The crystals of a job of that kind; fields that a newer service adds are passed over."""
    crystals: list[AnyCrystal] = _TYPES[kind].validate_python(records, extra="ignore")
    return crystals


@dataclass(frozen=True)
class Result:
    """The crystals of a job with metrics and provenance; it has their length and order.

    crystals: in the order of presentation, for an optimization best first; metrics, provenance:
    None for a job that was cancelled before they were made.
    """

    job: JobStatus
    crystals: list[AnyCrystal]
    metrics: dict[str, Any] | None
    provenance: Provenance | None

    @classmethod
    def of(cls, content: bytes) -> Result:
        """The result that the service's JSON form says."""
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
