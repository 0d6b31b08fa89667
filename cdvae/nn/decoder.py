"""The decoder: (latents, noisy crystal, σ) → score of the coordinates, logits of the species."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cdvae.diffusion.noise import remove_mean
from cdvae.diffusion.score import Score, ScoreOutput
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.elements import NUM_SPECIES
from cdvae.geometry.neighbors import NeighborSearch
from cdvae.linear import Linear
from cdvae.nn.backbone import Backbone, BackboneConfig, geometry, last_linear, mlp, neighbor_search
from cdvae.nn.structure_factors import PhaseReader


def log_features(values: Tensor, size: int) -> Tensor:
    """Return sines and cosines (B, size) of log ``values`` (B,) with periods from 0.5 to 16."""
    periods = torch.logspace(-1, 4, size // 2, base=2.0, device=values.device)
    phase = 2 * math.pi * values.log()[:, None] / periods
    return torch.cat([phase.sin(), phase.cos()], 1)


@dataclass(frozen=True)
class Condition:
    """The latents from which the decoder reads B crystals with A atoms."""

    z: Tensor  # (B, D)
    atom_latents: Tensor  # (A, K); K is 0 for a model without atom latents
    has_atom_latents: Tensor  # (B,) bool: the decoder sees the atom latents, too
    num_atoms: Tensor  # (B,) int64


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
            nn.init.zeros_(last_linear(self.atom_latent).weight)  # as in PhaseReader

    def bind(self, condition: Condition) -> Score:
        """Return the score under ``condition``; work that does not depend on σ is done once."""
        return _Bound(self, condition)

    def forward(self, condition: Condition, crystals: CrystalBatch, sigma: Tensor) -> ScoreOutput:
        """Return the score at noise level ``sigma`` (B,) Å under ``condition``."""
        return self.bind(condition)(crystals, sigma)

    def sites(self, z: Tensor, crystals: CrystalBatch) -> Tensor:
        """Return the neighbor density (A, R) that ``z`` (B, D) predicts for each atom."""
        return self.site(self.atoms(self.latent(z), crystals.batch, crystals.atomic_numbers - 1))

    def atoms(self, latent: Tensor, batch: Tensor, classes: Tensor) -> Tensor:
        """Return the initial scalars (A, S) of atoms.

        Args:
            latent: (B, S) features of z.
            batch: (A,) crystal of each atom.
            classes: (A,) atomic numbers minus 1.
        """
        elements = self.element_embedding(classes)
        per_atom = latent.index_select(0, batch)
        # The product relates z to the element of the atom, also for pairs not seen in training.
        return elements + self.atom(torch.cat([elements, per_atom, elements * per_atom], 1))

    def levels(self, latent: Tensor, sigma: Tensor, length_scale: Tensor) -> Tensor:
        """Return the context (B, layers, S) of the layers from ``latent`` (B, S) and the level."""
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
    """A score with fixed latents; it computes all that does not depend on the positions once."""

    def __init__(self, decoder: Decoder, condition: Condition) -> None:
        self._decoder = decoder
        self._latent = decoder.latent(condition.z)
        has_atom_latents = condition.has_atom_latents.repeat_interleave(condition.num_atoms)[
            :, None
        ].to(condition.z)
        self._atom_latents = condition.atom_latents * has_atom_latents
        self._atom_features: Tensor | None = None  # (A, S) features of the atom latents
        if decoder.atom_latent is not None:
            self._atom_features = decoder.atom_latent(
                torch.cat([self._atom_latents, 1 - has_atom_latents], 1)
            )
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
        if decoder.place is not None and self._atom_features is not None:
            atoms = atoms + self._atom_features
            scalars, vectors = decoder.place(self._atom_latents, atoms, crystals)
            atoms = atoms + scalars
        scalars, vectors = decoder.backbone(
            atoms,
            geometry(self._search, crystals.frac_coords, config.radial),
            decoder.levels(self._latent, sigma, crystals.length_scale),
            vectors,
        )
        scalars = decoder.norm(scalars)
        displacement = (vectors * decoder.gate(scalars)[:, None]).sum(-1)
        # σ·score is the displacement to the clean site over σ. The network predicts the
        # displacement; this factor grows towards small σ and is bounded for a stable training.
        scaled = displacement * (0.3 / (sigma**2 + 0.01).sqrt())[batch, None]
        shift = remove_mean(scaled, crystals) / sigma[batch, None]
        return ScoreOutput(shift, decoder.logits(scalars))

    def _atoms(self, crystals: CrystalBatch, batch: Tensor) -> Tensor:
        """Return the initial scalars (A, S), from a table with a row per crystal and element.

        The table stays valid during sampling, because samplers keep the composition of a crystal.
        """
        indices = batch * NUM_SPECIES + crystals.atomic_numbers - 1
        row = torch.searchsorted(self._pairs, indices).clamp(max=len(self._pairs) - 1)
        if not len(self._pairs) or not torch.equal(self._pairs[row], indices):
            self._pairs, row = indices.unique(return_inverse=True)
            crystal, classes = self._pairs // NUM_SPECIES, self._pairs % NUM_SPECIES
            self._table = self._decoder.atoms(self._latent, crystal, classes)
        return self._table.index_select(0, row)
