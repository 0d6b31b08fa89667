"""The interface of the kinds of jobs; `worker.tasks.decoding_tasks.TASKS` lists them."""

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
    """`Engine.decode` in batches shared with other jobs; without latents, draws of the prior."""

    def __call__(
        self,
        latents: Latents | None,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        on_level: OnStep,
        fixed: Sequence[FixedAttributes] | None = None,
    ) -> Decoded:
        """Return the crystals of the latents; `fixed` attributes override the latents."""


class Task(ABC):
    """One kind of job: its work before and after the decoding that all kinds share."""

    stage = "sampling"
    """The stage that the progress shows while crystals are made."""

    @abstractmethod
    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        """Return these crystals; raises NonFiniteSampleError with indices of this batch."""

    def finalize_record(self, record: CrystalRecord, structure: Structure) -> CrystalRecord:
        """Return the record with the fields of this kind of job."""
        return record

    def finalize(self, records: Sequence[CrystalRecord]) -> Sequence[CrystalRecord]:
        """Return all records, with the fields that depend on all of them."""
        return records

    def metrics(self, records: Sequence[CrystalRecord]) -> dict[str, Any]:
        """Return the metrics of this kind of job."""
        return {}

    def order(self, records: Sequence[CrystalRecord]) -> list[int] | None:
        """Return the crystal indices in the order of presentation; None: by index."""
        return None
