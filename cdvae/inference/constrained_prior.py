"""Latents of crystals that meet constraints, and what is fixed beside them."""

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
"""Draws of the prior among which the one is chosen that suits a lattice or a target best."""
DECODED = 12
"""Latents that are decoded for each crystal with a target."""
GUESSES = 3
"""Latents that are decoded for each crystal of a given composition or space group."""
GUESS_WIDTH = 0.5
"""Of the noise for a given composition: the prior's more probable latents match known crystals more
often, as often within a few draws, and are read as the composition by the heads more often."""


@dataclass(frozen=True)
class Drawn:
    """What to decode: several candidates for each crystal, one after the other."""

    latents: Latents
    seeds: list[int]
    fixed: list[FixedAttributes]

    @classmethod
    def cat(cls, parts: Sequence[Drawn]) -> Drawn:
        """All of ``parts``, one after the other."""
        return cls(
            Latents.cat([part.latents for part in parts]),
            [seed for part in parts for seed in part.seeds],
            [one for part in parts for one in part.fixed],
        )


class ConstrainedPrior:
    """Draws latents for crystals that meet ``constraints``; made once a job.

    The composition is drawn from the prior under the constraints and then fixed, so that no z can
    make it another one. Of several z for it the one is taken whose heads agree best with what is
    required: the composition, the cell, the property. A head is easily wrong where nothing but its
    value was looked for, so with a target the DECODED best ones are decoded, and what the property
    model says of the crystals decides. Whoever names a composition looks for its likely crystals,
    and atoms begin on random sites of a space group: there GUESSES latents are decoded, for a
    composition the prior's more probable ones, and the crystal stays that fits its latent best when
    it is encoded again, of those that are valid if any is.
    """

    def __init__(self, model: TrainedModel, constraints: Constraints) -> None:
        """Raises InfeasibleError where no crystal of the model can meet the constraints."""
        target = constraints.target
        if target is not None and target.prop not in model.properties:
            known = ", ".join(model.properties)
            raise InfeasibleError(f"target: no property {target.prop!r}; there are {known}")
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
        # The heads read the reduced cell, whichever one is asked for.
        self._cell = None if lattice is None else niggli_cell(lattice).to(model.device)
        self._choosy = lattice is not None or target is not None
        guesses = GUESSES if constraints.composition or constraints.spacegroup else 1
        self._places = range(guesses if target is None else DECODED)

    @torch.no_grad()
    def draw(self, seeds: Sequence[int]) -> Drawn:
        """``candidates`` latents for each seed."""
        own = [crystal_seed(seed, i) if i else seed for seed in seeds for i in self._places]
        if self._choosy:
            parts = parallel_map(self._choice, seeds)
        else:
            crystals = [seed for seed in seeds for _ in self._places]
            pairs = list(zip(crystals, own, strict=True))
            rows = ranges(len(pairs), PRIOR_ROWS)
            parts = parallel_map(lambda part: self._agreeing([pairs[i] for i in part]), rows)
        latents, counts = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        cell, number = self._constraints.lattice, self._constraints.spacegroup
        return Drawn(
            Latents.of(latents), own, [FixedAttributes(one, cell, number) for one in counts]
        )

    def best(self, drawn: Drawn, decoded: Decoded) -> Decoded:
        """Of the candidates of each crystal the one that is nearest the target, or fits z best.

        ``decoded`` are the crystals of ``drawn``, in that order; the evaluations are those of all.
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
        """How many crystals are decoded for one."""
        return len(self._places)

    def _agreeing(self, seeds: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """(B, D) latents and (B, Z) the atoms that go with them, as the heads read them.

        Where the heads read none of PRIOR_DRAWS latents so, the one is taken that comes nearest.
        ``seeds`` are those of the crystals and of their candidates.
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
            found = self._latent_mse(drawn, counts[pending])
            for place, row in enumerate(pending):
                if attempt == 0 or found[place] < latent_mse[row]:
                    latents[row], latent_mse[row] = drawn[place], found[place]
            left = [row for row in range(len(seeds)) if latent_mse[row] > 0]
            if not left:
                break
            pending = pad_to_multiple(left)
        return latents[: len(seeds)], counts[: len(seeds)]

    def _choice(self, seed: int) -> tuple[Tensor, Tensor]:
        """(K, D) the latents of CHOICES that suit best, (K, Z) the atoms that go with them."""
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
        """(C,) how badly the heads' reading of ``latents`` goes with what is required."""
        heads, target = self._model.network.heads, self._constraints.target
        said = heads(latents)
        agrees = (read_counts(heads, latents) == counts).all(-1)
        unlike = -counts_log_prob(said.count_logits, counts)
        latent_mse = torch.where(agrees, 0.0, 1e3 + unlike)
        if self._cell is not None:
            num_atoms = counts.sum(1).long()
            wanted = heads.lattice_target(self._cell.expand(len(counts), 3, 3), num_atoms)
            latent_mse = latent_mse + (said.log_metric - wanted).square().sum(-1)
        if target is not None:
            place = self._model.properties.index(target.prop)
            value = (target.value - heads.property_mean[place]) / heads.property_std[place]
            latent_mse = latent_mse + (said.properties[:, place] - value).square()
        return latent_mse


def _size_log_weights(model: TrainedModel, lattice: Tensor) -> Tensor:
    """(N + 1) log density of the volume of each atom, if so many share the cell ``lattice``.

    A normal in the logarithm, as wide as the diagonal of the training cells' log metrics allows;
    the trace of the log metric is log(V/N).
    """
    heads = model.network.heads
    sizes = torch.arange(1, model.config.model.max_atoms + 1, device=model.device)
    mean, width = heads.lattice_mean[:3].sum(), heads.lattice_std[:3].sum()
    volume = torch.linalg.det(lattice.double()).abs().to(mean)
    log = -0.5 * (((volume / sizes).log() - mean) / width).square()
    return torch.cat([log.new_zeros(1), log])
