"""A loaded model with the operations that jobs need. Jobs use the science through it only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cdvae import inference
from cdvae.constraints import Constraints
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference import ConstrainedPrior, Decoded, SamplerSpec
from cdvae.inference.consistency import DecodingConsistency, consistency
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.metrics.fingerprint import Fingerprint
from cdvae.metrics.novelty import KEYS, NoveltyIndex
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents, Posterior
from cdvae.optimization import latent_paths
from cdvae.optimization.composition_filter import CompositionFilter
from cdvae.optimization.objective import PropertyObjective, combine_objectives
from cdvae.optimization.optimize import optimize

OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Progress:
    """The course of one property in a search, in the card's units."""

    trajectory: list[float]  # best crystal so far, by the model's head
    validated_gain: float  # from the first crystal to the best, by the independent property model

    @property
    def predicted_gain(self) -> float:
        """The gain by the model's own head."""
        return self.trajectory[-1] - self.trajectory[0]


Found = Mapping[str, Progress]
"""The course of a search, by property."""


class Engine:
    """One trained model on one device. Subclasses in tests replace single methods."""

    def __init__(self, model: TrainedModel) -> None:
        self.model = model
        arrays = {name: tensor.cpu().numpy() for name, tensor in model.reference.tensors.items()}
        self._known = NoveltyIndex.from_arrays(arrays) if KEYS in arrays else None

    @property
    def reference(self) -> str:
        """The model as `name@version`."""
        return f"{self.model.name}@{self.model.version}"

    @property
    def device(self) -> str:
        """The device of the model, in words."""
        device = self.model.device
        if device.type == "cuda":
            return f"{device} ({torch.cuda.get_device_name(device)})"
        return str(device)

    def statistics(self) -> Mapping[str, Any]:
        """Return the statistics of the training data (`reference.json`)."""
        return self.model.reference.statistics

    def data_latents(self) -> Tensor:
        """Return (R, D) latents of crystals of the data set, the starts of optimizations."""
        return self.model.reference.latents

    def is_novel(self, own: Fingerprint | None) -> bool | None:
        """Return whether the training data lack the crystal; None where that is unknown."""
        return None if self._known is None else self._known.is_novel(own)

    def chunks(self, number: int, searched: bool = False) -> list[range]:
        """Return the crystals 0 … number-1 in ranges that fit into memory.

        searched: they are starts of a search. A search takes a hundred times as long as a
        decoding, so its ranges are smaller.
        """
        divide = inference.chunks if searched else inference.portions
        return divide(number, self.model)

    def sample_latents(self, seeds: Sequence[int]) -> Latents:
        """Return draws of the prior, one for each seed."""
        return inference.sample_latents(self.model, seeds)

    def constrained(self, constraints: Constraints) -> ConstrainedPrior:
        """Return the prior of crystals that meet the constraints; raises InfeasibleError."""
        return ConstrainedPrior(self.model, constraints)

    def composition_filter(self, constraints: Constraints) -> CompositionFilter:
        """Return a filter of the compositions that a search may visit; raises InfeasibleError."""
        return CompositionFilter(self.model, constraints)

    def encode(self, crystals: CrystalBatch) -> Posterior:
        """Return the posterior of each crystal."""
        return inference.encode(self.model, crystals)

    def sample_posterior(
        self, posterior: Posterior, seeds: Sequence[int], width: Tensor
    ) -> Latents:
        """Return one draw of each posterior, scaled by ``width`` (B,); each has its seed."""
        return inference.sample_posterior(self.model, posterior, seeds, width)

    def interpolate_latents(
        self, crystals: CrystalBatch, z: Tensor, positions: Sequence[float]
    ) -> Tensor:
        """Return (N, D) latents between two crystals, see `latent_paths.interpolate_latents`."""
        return latent_paths.interpolate_latents(
            self.model, crystals.to(self.model.device), z, positions
        )

    def perturb_latents(
        self,
        crystal: CrystalBatch,
        z: Tensor,
        strength: float,
        seeds: Sequence[int],
        keep_composition: bool,
    ) -> Tensor:
        """Return (N, D) latents near that of a crystal, see `latent_paths.perturb_latents`."""
        own = crystal.to(self.model.device)
        return latent_paths.perturb_latents(self.model, own, z, strength, seeds, keep_composition)

    def distance(self, z: Tensor, other: Tensor) -> Tensor:
        """Return (B,) distances between latents, see `latent_paths.distance`."""
        return latent_paths.distance(self.model, z, other)

    def consistency(self, latents: Latents, crystals: CrystalBatch) -> DecodingConsistency:
        """Return the consistency of crystals with the latents that they were decoded from."""
        return consistency(self.model, latents, crystals)

    def predict(self, latents: Tensor) -> dict[str, Tensor]:
        """Return the properties, (B,) each, in the units of the card."""
        return inference.predict(self.model, latents)

    def optimize(
        self,
        latents: Latents,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        on_step: OnStep,
        *,
        objectives: Sequence[PropertyObjective],
        steps: int,
        learning_rate: float,
        trust_radius: float,
        patience: int | None,
        composition_filter: CompositionFilter | None,
    ) -> tuple[Decoded, list[Found]]:
        """Return the best crystal found from each start, and the course of its search.

        Raises NonFiniteSampleError like `decode`.
        """
        search = optimize(
            self.model,
            latents,
            seeds,
            sampler,
            objectives=objectives,
            steps=steps,
            learning_rate=learning_rate,
            trust_radius=trust_radius,
            patience=patience,
            composition_filter=composition_filter,
            on_step=on_step,
        )
        crystals = search.best()
        properties = inference.estimate(self.model, crystals)
        before = inference.estimate(self.model, search.first())
        found: list[Found] = []
        for row, path in enumerate(search.trajectories):
            columns = list(zip(*path.values, strict=True))
            found.append(
                {
                    objective.prop: Progress(
                        trajectory=list(columns[column]),
                        validated_gain=float(
                            properties[objective.prop][row] - before[objective.prop][row]
                        ),
                    )
                    for column, objective in enumerate(objectives)
                }
            )
        return Decoded(crystals, properties, search.nfe), found

    def cost(
        self, objectives: Sequence[PropertyObjective], properties: Mapping[str, Sequence[float]]
    ) -> list[float]:
        """Return the cost that a search minimizes. properties: in the units of the card."""
        combined = combine_objectives(self.model, objectives)
        return list(combined.cost(combined.standardize(properties)).tolist())

    def decode(
        self,
        latents: Latents,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        on_level: OnStep,
        fixed: Sequence[FixedAttributes | None] | None = None,
    ) -> Decoded:
        """Return the crystals of the latents; `fixed` attributes override the latents.

        Raises NonFiniteSampleError with indices of this batch.
        """
        return inference.decode(self.model, latents, seeds, sampler, on_level, fixed)
