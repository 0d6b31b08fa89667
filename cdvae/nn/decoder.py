"""(z, noisy crystal, σ) → score of the coordinates and logits of the species."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cdvae.diffusion.noise import remove_mean
from cdvae.diffusion.score import Score, ScoreOutput
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.elements import NUM_SPECIES
from cdvae.geometry.neighbors import NeighborSearch
from cdvae.linear import Linear
from cdvae.nn.backbone import Backbone, BackboneConfig, geometry, mlp, neighbor_search
from cdvae.nn.structure_factors import PhaseReader


def log_features(values: Tensor, size: int) -> Tensor:
    """(B, size) sines and cosines of log ``values`` (B,), periods from 0.5 to 16 in log units."""
    periods = torch.logspace(-1, 4, size // 2, base=2.0, device=values.device)
    phase = 2 * math.pi * values.log()[:, None] / periods
    return torch.cat([phase.sin(), phase.cos()], 1)


@dataclass(frozen=True)
class Condition:
    """What B crystals with A atoms are decoded from."""

    z: Tensor  # (B, D)
    atom_latents: Tensor  # (A, K) of each atom; K is 0 for a model without codes
    has_atom_latents: Tensor  # (B,) bool: whether the codes are looked at, or z alone
    num_atoms: Tensor  # (B,) int64

    def select(self, crystals: Sequence[int]) -> Condition:
        """Those of the crystals with these indices."""
        rows = list(crystals)
        parts = self.atom_latents.split(self.num_atoms.tolist())
        atom_latents = torch.cat([parts[i] for i in rows])
        return Condition(
            self.z[rows], atom_latents, self.has_atom_latents[rows], self.num_atoms[rows]
        )


class Decoder(nn.Module):
    """Noise-conditional score network of Xie et al. (2022), conditioned on σ as well as on z."""

    def __init__(
        self, config: BackboneConfig, latent_dim: int, site_features: int, atom_latent_dim: int
    ) -> None:
        super().__init__()
        self.config = config
        width = config.scalars
        self.noise_features = 32
        self.element_embedding = nn.Embedding(NUM_SPECIES, width)
        self.noise = mlp(2 * self.noise_features + 1, width, width)
        self.latent = mlp(latent_dim, 2 * width, width)
        self.atom = mlp(3 * width, 2 * width, width)
        self.site = mlp(width, width, site_features)
        self.context = Linear(2 * width, config.layers * width)
        self.backbone = Backbone(config)
        self.norm = nn.LayerNorm(width)
        self.gate = mlp(width, width, config.vectors)
        self.logits = mlp(width, width, NUM_SPECIES)
        self.atom_latent = mlp(atom_latent_dim + 1, width, width) if atom_latent_dim else None
        self.place = (
            PhaseReader(atom_latent_dim, width, config.vectors) if atom_latent_dim else None
        )
        if self.atom_latent is not None:
            nn.init.zeros_(self.atom_latent[-1].weight)  # as in PhaseReader

    def bind(self, condition: Condition) -> Score:
        """The score of the crystals of ``condition``: their share of the work is done once."""
        return _Bound(self, condition)

    def forward(self, condition: Condition, crystals: CrystalBatch, sigma: Tensor) -> ScoreOutput:
        """The score at noise level ``sigma`` (B,) Å under ``condition``."""
        return self.bind(condition)(crystals, sigma)

    def sites(self, z: Tensor, crystals: CrystalBatch) -> Tensor:
        """(A, R) the neighbor density that ``z`` (B, D) gives to the species of each atom."""
        return self.site(self.atoms(self.latent(z), crystals.batch, crystals.atomic_numbers - 1))

    def atoms(self, latent: Tensor, batch: Tensor, classes: Tensor) -> Tensor:
        """(A, S) how atoms of ``classes`` (A,), atomic numbers less 1, begin in their crystals.

        Args:
            latent: (B, S) of the crystals.
            batch: (A,) crystal of each atom.
            classes: (A,).
        """
        elements = self.element_embedding(classes)
        own = latent.index_select(0, batch)
        # The product lets an atom ask "which site does z give my element?" for unseen pairs too.
        return elements + self.atom(torch.cat([elements, own, elements * own], 1))

    def levels(self, latent: Tensor, sigma: Tensor, length_scale: Tensor) -> Tensor:
        """(B, layers, S) what the layers are told of ``latent`` (B, S) and the noise level."""
        noise = self.noise(
            torch.cat(
                [
                    log_features(sigma, self.noise_features),
                    log_features(sigma / length_scale, self.noise_features),
                    length_scale.log()[:, None],
                ],
                1,
            )
        )
        context = self.context(torch.cat([latent, noise], 1))
        return context.unflatten(1, (self.config.layers, -1))


class _Bound:
    """The score of given crystals: what does not move with the atoms is worked out once."""

    def __init__(self, decoder: Decoder, condition: Condition) -> None:
        self._decoder = decoder
        self._latent = decoder.latent(condition.z)
        has_atom_latents = condition.has_atom_latents.repeat_interleave(condition.num_atoms)[
            :, None
        ].to(condition.z)
        self._codes = condition.atom_latents * has_atom_latents
        self._said: Tensor | None = None  # (A, S) what the codes say to the atoms that have them
        if decoder.atom_latent is not None:
            self._said = decoder.atom_latent(torch.cat([self._codes, 1 - has_atom_latents], 1))
        self._search: NeighborSearch | None = None
        self._pairs = condition.num_atoms.new_empty(0)
        self._table = self._latent[:0]

    def __call__(self, crystals: CrystalBatch, sigma: Tensor) -> ScoreOutput:
        """See :class:`cdvae.diffusion.score.Score`."""
        decoder, config = self._decoder, self._decoder.config
        if self._search is None or self._search.lattice is not crystals.lattice:
            self._search = neighbor_search(crystals, config)
        batch = self._search.batch
        atoms, vectors = self._atoms(crystals, batch), None
        if decoder.place is not None:
            atoms = atoms + self._said
            scalars, vectors = decoder.place(self._codes, atoms, crystals)
            atoms = atoms + scalars
        scalars, vectors = decoder.backbone(
            atoms,
            geometry(self._search, crystals.frac_coords, config.radial),
            decoder.levels(self._latent, sigma, crystals.length_scale),
            vectors,
        )
        scalars = decoder.norm(scalars)
        displacement = (vectors * decoder.gate(scalars)[:, None]).sum(-1)
        # σ·score is the displacement to the clean site over σ; the network gives the numerator's
        # shape and this factor the growth towards small σ, bounded so that training starts calm.
        scaled = displacement * (0.3 / (sigma**2 + 0.01).sqrt())[batch, None]
        shift = remove_mean(scaled, crystals) / sigma[batch, None]
        return ScoreOutput(shift, decoder.logits(scalars))

    def _atoms(self, crystals: CrystalBatch, batch: Tensor) -> Tensor:
        """(A, S) from a table with a row for each crystal and element in it.

        Samplers exchange the species of atoms, not those of crystals.
        """
        wanted = batch * NUM_SPECIES + crystals.atomic_numbers - 1
        row = torch.searchsorted(self._pairs, wanted).clamp(max=len(self._pairs) - 1)
        if not len(self._pairs) or not torch.equal(self._pairs[row], wanted):
            self._pairs, row = wanted.unique(return_inverse=True)
            crystal, classes = self._pairs // NUM_SPECIES, self._pairs % NUM_SPECIES
            self._table = self._decoder.atoms(self._latent, crystal, classes)
        return self._table.index_select(0, row)
