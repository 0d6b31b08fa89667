"""The methods to evaluate: they reconstruct, generate and optimize crystals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pymatgen.core.structure import Structure

from cdvae.data.dataset import CrystalDataset
from cdvae.data.process_map import Progress
from cdvae.data.structures import to_structures
from cdvae.evaluation.sampling_protocol import Sampled, sample_all, sample_new
from cdvae.inference import (
    SamplerSpec,
    chunks,
    crystal_seed,
    encode,
)
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents
from cdvae.optimization.objective import PropertyObjective
from cdvae.optimization.optimize import optimize

Stage = Callable[[str], Progress]
"""Start a named part of the work and return the callback for its progress."""


class Method(Protocol):
    """A trained method; a crystal is None if the method could not decode it."""

    @property
    def properties(self) -> tuple[str, ...]:
        """The properties that the method can optimize."""

    def reconstruct(
        self, data: CrystalDataset, seed: int, progress: Progress | None = None
    ) -> list[Structure | None]:
        """Return one crystal for each of ``data``, with cell and composition decoded, too."""

    def generate(
        self, n: int, seed: int, progress: Progress | None = None
    ) -> list[Structure | None]:
        """Return ``n`` crystals from the prior."""

    def optimize(
        self, data: CrystalDataset, prop: str, seed: int, progress: Progress | None = None
    ) -> list[list[Structure | None]]:
        """Return the decodings from each start in ``data`` while ``prop`` is minimized."""


class CDVAEMethod:
    """A CDVAE model with one of its samplers."""

    def __init__(self, model: TrainedModel, sampler: SamplerSpec) -> None:
        self.model = model
        self.sampler = sampler
        self.nfe = 0.0  # mean over the crystals of the last task

    @property
    def properties(self) -> tuple[str, ...]:
        """The properties of the heads."""
        return self.model.properties

    def posterior_means(self, data: CrystalDataset) -> Latents:
        """Return the posterior means of the crystals of ``data``."""
        return encode(self.model, data.crystals).means()

    def reconstruct(
        self, data: CrystalDataset, seed: int, progress: Progress | None = None
    ) -> list[Structure | None]:
        """Return one crystal for each of ``data``, decoded from its posterior mean."""
        latents = self.posterior_means(data)
        return self._structures(
            sample_all(self.model, latents.select, len(latents), seed, self.sampler, progress)
        )

    def generate(
        self, n: int, seed: int, progress: Progress | None = None
    ) -> list[Structure | None]:
        """Return ``n`` crystals from the learned prior."""
        return self._structures(sample_new(self.model, n, seed, self.sampler, progress))

    def optimize(
        self, data: CrystalDataset, prop: str, seed: int, progress: Progress | None = None
    ) -> list[list[Structure | None]]:
        """Return the 11 decodings from each crystal of ``data`` while ``prop`` is minimized.

        The search starts at the posterior mean, where the prior is accurate; the paper starts at a
        draw of the posterior.
        """
        paths: list[list[Structure | None]] = []
        for rows in chunks(len(data), self.model):
            seeds = [crystal_seed(seed, i) for i in rows]

            def on_step(done: int, total: int, rows: range = rows) -> None:
                if progress:
                    progress(rows.start + len(rows) * done // total, len(data))

            result = optimize(
                self.model,
                encode(self.model, data.crystals.select(rows)).means(),
                seeds,
                self.sampler,
                objectives=[PropertyObjective(prop, "minimize")],
                patience=None,  # every start has its 11 decodings
                on_step=on_step,
            )
            self.nfe = float(result.nfe.double().mean())
            for path in result.trajectories:
                paths.append([None if c is None else to_structures(c)[0] for c in path.decodings])
        return paths

    def _structures(self, sampled: Sampled) -> list[Structure | None]:
        self.nfe = sampled.nfe
        return sampled.structures
