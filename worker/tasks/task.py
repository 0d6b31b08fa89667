"""What every kind of job says of itself; see `worker.tasks.decoding_tasks.TASKS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

from pymatgen.core.structure import Structure

from cdvae.inference import Decoded, SamplerSpec
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.nn.encoder import Latents
from cdvae_schema.crystal_records import CrystalRecord
from worker.model.engine import OnStep


class Decode(Protocol):
    """`Engine.decode` beside other jobs; without latents they are drawn from the prior."""

    def __call__(
        self,
        latents: Latents | None,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        on_level: OnStep,
        fixed: Sequence[FixedAttributes] | None = None,
    ) -> Decoded:
        """The crystals of the latents; what is `fixed` of them is so whatever the latents say."""


class Task(ABC):
    """One kind of job: what it does before and after the decoding that all share."""

    stage = "sampling"
    """What the job is said to do while crystals are made."""

    @abstractmethod
    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        """These crystals of the job; raises NonFiniteSampleError with indices of this batch."""

    def finalize_record(self, record: CrystalRecord, structure: Structure) -> CrystalRecord:
        """The record with what is particular to this kind of job."""
        return record

    def finalize(self, records: Sequence[CrystalRecord]) -> Sequence[CrystalRecord]:
        """All records, with what only all of them together say."""
        return records

    def metrics(self, records: Sequence[CrystalRecord]) -> dict[str, Any]:
        """The metrics that only this kind of job has."""
        return {}

    def order(self, records: Sequence[CrystalRecord]) -> list[int] | None:
        """Crystal indices in the order of presentation; None: by index."""
        return None
