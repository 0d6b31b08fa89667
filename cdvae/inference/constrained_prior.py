"""Latents and fixed attributes of crystals that meet constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cdvae.compute import parallel_map
from cdvae.constraints import Constraints
from cdvae.data.structures import niggli_cell, to_structures
from cdvae.errors import InfeasibleError
from cdvae.inference.bucketing import pad_to_multiple, ranges
from cdvae.inference.consistency import consistency
from cdvae.inference.decoding import Decoded
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.inference.initial_state import counts_log_prob, read_counts
from cdvae.inference.latents import PRIOR_DRAWS, PRIOR_ROWS
from cdvae.inference.seeds import crystal_seed, normal, uniform
from cdvae.metrics.validity import structure_valid
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents
from cdvae.prior.conditional_composition import ConditionalComposition
from cdvae.symmetry.group_cells import Group

CHOICES = 128
"""Draws of the prior for a crystal with a given lattice or a target; the best ones are used."""
DECODED = 12
"""Candidates for each crystal with a target."""
GUESSES = 3
"""Candidates for each crystal with a given composition or space group."""
GUESS_WIDTH = 0.5
"""Scale of the noise for a given composition: latents that are more probable under the prior match
known crystals more often, and the heads read the composition from them more often."""


@dataclass(frozen=True)
class Drawn:
    """The candidates to decode; those of one crystal follow each other."""

    latents: Latents
    seeds: list[int]
    fixed: list[FixedAttributes]

    @classmethod
    def cat(cls, parts: Sequence[Drawn]) -> Drawn:
        """Return the concatenation of ``parts``."""
        return cls(
            Latents.cat([part.latents for part in parts]),
            [seed for part in parts for seed in part.seeds],
            [one for part in parts for one in part.fixed],
        )


class ConstrainedPrior:
    """Draws latents for crystals that meet ``constraints``.

    The composition is drawn from the prior under the constraints and then fixed. Several z are
    drawn for it; the heads select the one that agrees best with the required composition, cell and
    property.

    With a target, the DECODED best candidates are decoded and the property model selects one,
    because a search for the best value of a head finds the errors of that head. For a given
    composition or space group, GUESSES candidates are decoded and encoded again; the valid crystal
    that fits its latent best is kept.
    """

    def __init__(self, model: TrainedModel, constraints: Constraints) -> None:
        """Raise InfeasibleError if no crystal of the model can meet the constraints."""
        target = constraints.target
        if target is not None and target.prop not in model.properties:
            known = ", ".join(model.properties)
            raise InfeasibleError(
                f"target: unknown property {target.prop!r}; the model predicts {known}"
            )
        self._model, self._constraints = model, constraints
        lattice, number = constraints.lattice, constraints.spacegroup
        cell = None if lattice is None else lattice.double().cpu().numpy()
        group = None if number is None else Group.of(number, cell)
        self._composition = ConditionalComposition(
            model.prior.composition,
            constraints,
            None if lattice is None else _size_log_weights(model, lattice),
            None if group is None else group.has_sites,
        )
        # The heads predict the reduced cell, so the required one is reduced, too.
        self._cell = None if lattice is None else niggli_cell(lattice).to(model.device)
        self._choosy = lattice is not None or target is not None
        guesses = GUESSES if constraints.composition or constraints.spacegroup else 1
        self._places = range(guesses if target is None else DECODED)

    @torch.no_grad()
    def draw(self, seeds: Sequence[int]) -> Drawn:
        """Return the :attr:`candidates` for each seed."""
        candidate_seeds = [
            crystal_seed(seed, i) if i else seed for seed in seeds for i in self._places
        ]
        if self._choosy:
            parts = parallel_map(self._choice, seeds)
        else:
            crystals = [seed for seed in seeds for _ in self._places]
            pairs = list(zip(crystals, candidate_seeds, strict=True))
            rows = ranges(len(pairs), PRIOR_ROWS)
            parts = parallel_map(lambda part: self._agreeing([pairs[i] for i in part]), rows)
        latents, counts = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        cell, number = self._constraints.lattice, self._constraints.spacegroup
        return Drawn(
            Latents.of(latents),
            candidate_seeds,
            [FixedAttributes(one, cell, number) for one in counts],
        )

    def best(self, drawn: Drawn, decoded: Decoded) -> Decoded:
        """Return the candidate of each crystal that is nearest the target or fits its latent best.

        ``decoded`` are the crystals of ``drawn``, in that order. The NFE of a crystal is the sum
        over its candidates.
        """
        target, number = self._constraints.target, self.candidates
        if number == 1:
            return decoded
        if target is None:
            away = consistency(self._model, drawn.latents, decoded.crystals).latent_mse
            fine = [structure_valid(one) for one in to_structures(decoded.crystals)]
            away = away.masked_fill(~torch.tensor(fine), torch.inf)
        else:
            away = (decoded.properties[target.prop] - target.value).abs()
        away = away.view(-1, number)
        rows = (away.argmin(1) + number * torch.arange(len(away))).tolist()
        evaluations = decoded.nfe.view(-1, number).sum(1)
        return replace(decoded.select(rows), nfe=evaluations)

    @property
    def candidates(self) -> int:
        """The number of candidates for each crystal."""
        return len(self._places)

    def _agreeing(self, seeds: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Return latents (B, D) and their compositions (B, Z), which the heads read from them.

        If the heads read another composition from all of PRIOR_DRAWS latents, the nearest one is
        used. ``seeds`` are pairs: the seed of the crystal and that of the candidate.
        """
        model, composition = self._model, self._composition
        every = pad_to_multiple(range(len(seeds)))
        numbers = uniform([seeds[i][0] for i in every], composition.draws, "composition")
        counts = composition.sample(numbers.to(model.device))
        latents = counts.new_empty(len(every), model.config.model.latent_dim)
        latent_mse = counts.new_full((len(every),), torch.inf)
        pending = every
        for attempt in range(PRIOR_DRAWS):
            noise = self._noise([seeds[i][1] for i in pending], attempt)
            drawn = model.prior.sample_from_noise(noise, counts[pending])
            misfit = self._latent_mse(drawn, counts[pending])
            for place, row in enumerate(pending):
                if attempt == 0 or misfit[place] < latent_mse[row]:
                    latents[row], latent_mse[row] = drawn[place], misfit[place]
            left = [row for row in range(len(seeds)) if latent_mse[row] > 0]
            if not left:
                break
            pending = pad_to_multiple(left)
        return latents[: len(seeds)], counts[: len(seeds)]

    def _choice(self, seed: int) -> tuple[Tensor, Tensor]:
        """Return the best latents (K, D) of CHOICES draws, and their compositions (K, Z)."""
        model, composition = self._model, self._composition
        names = [f"composition {i}" for i in range(CHOICES)]
        numbers = torch.cat([uniform([seed], composition.draws, name) for name in names])
        counts = composition.sample(numbers.to(model.device))
        noise = torch.cat([self._noise([seed], i) for i in range(CHOICES)])
        latents = model.prior.sample_from_noise(noise, counts)
        order = self._latent_mse(latents, counts).argsort(stable=True)
        best = order[: self.candidates].tolist()
        return latents[best], counts[best]

    def _noise(self, seeds: Sequence[int], attempt: int) -> Tensor:
        width = GUESS_WIDTH if self._constraints.composition else 1.0
        noise = normal(seeds, self._model.prior.components, f"latent {attempt}")
        return width * noise.to(self._model.device)

    def _latent_mse(self, latents: Tensor, counts: Tensor) -> Tensor:
        """Return the distance (C,) of the predictions of the heads from the requirements."""
        heads, target = self._model.network.heads, self._constraints.target
        attributes = heads(latents)
        agrees = (read_counts(heads, latents) == counts).all(-1)
        unlike = -counts_log_prob(attributes.count_logits, counts)
        latent_mse = torch.where(agrees, 0.0, 1e3 + unlike)
        if self._cell is not None:
            num_atoms = counts.sum(1).long()
            required = heads.lattice_target(self._cell.expand(len(counts), 3, 3), num_atoms)
            latent_mse = latent_mse + (attributes.log_metric - required).square().sum(-1)
        if target is not None:
            place = self._model.properties.index(target.prop)
            value = (target.value - heads.property_mean[place]) / heads.property_std[place]
            latent_mse = latent_mse + (attributes.properties[:, place] - value).square()
        return latent_mse


def _size_log_weights(model: TrainedModel, lattice: Tensor) -> Tensor:
    """Return the log density (N + 1) of the volume per atom for each N in the cell ``lattice``.

    The density is normal in the logarithm; the diagonal of the log metrics of the training cells
    determines its width. The trace of the log metric is log(V/N).
    """
    heads = model.network.heads
    sizes = torch.arange(1, model.config.model.max_atoms + 1, device=model.device)
    mean, width = heads.lattice_mean[:3].sum(), heads.lattice_std[:3].sum()
    volume = torch.linalg.det(lattice.double()).abs().to(mean)
    log = -0.5 * (((volume / sizes).log() - mean) / width).square()
    return torch.cat([log.new_zeros(1), log])
