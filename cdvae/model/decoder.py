"""(z, noisy crystal, σ) → score of the coordinates and logits of the species."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cdvae.crystal import CrystalBatch
from cdvae.elements import NUM_SPECIES
from cdvae.model.backbone import Backbone, BackboneConfig, geometry, mlp
from cdvae.model.waves import PlaceReader
from cdvae.noise import remove_mean
from cdvae.score import Score, ScoreOutput


def log_features(values: Tensor, size: int) -> Tensor:
    """(B, size) sines and cosines of log ``values`` (B,), periods from 0.5 to 16 in log units."""
    periods = torch.logspace(-1, 4, size // 2, base=2.0, device=values.device)
    phase = 2 * math.pi * values.log()[:, None] / periods
    return torch.cat([phase.sin(), phase.cos()], 1)


@dataclass(frozen=True)
class Condition:
    """What B crystals with A atoms are decoded from."""

    z: Tensor  # (B, D)
    codes: Tensor  # (A, K) of each atom; K is 0 for a model without codes
    coded: Tensor  # (B,) bool: whether the codes are looked at, or z alone
    n_atoms: Tensor  # (B,) int64


class Decoder(nn.Module):
    """Noise-conditional score network of Xie et al. (2022), conditioned on σ as well as on z."""

    def __init__(
        self, config: BackboneConfig, latent_dim: int, site_features: int, code_dim: int
    ) -> None:
        super().__init__()
        self.config = config
        width = config.scalars
        self.noise_features = 32
        self.species = nn.Embedding(NUM_SPECIES, width)
        self.noise = mlp(2 * self.noise_features + 1, width, width)
        self.latent = mlp(latent_dim, 2 * width, width)
        self.atom = mlp(3 * width, 2 * width, width)
        self.site = mlp(width, width, site_features)
        self.context = nn.Linear(2 * width, config.layers * width)
        self.backbone = Backbone(config)
        self.norm = nn.LayerNorm(width)
        self.gate = mlp(width, width, config.vectors)
        self.logits = mlp(width, width, NUM_SPECIES)
        self.code = mlp(code_dim + 1, width, width) if code_dim else None
        self.place = PlaceReader(code_dim, width, config.vectors) if code_dim else None
        if self.code is not None:
            nn.init.zeros_(self.code[-1].weight)  # as in PlaceReader

    def bind(self, condition: Condition) -> Score:
        """The score of the crystals of ``condition``: their share of the work is done once."""
        latent = self.latent(condition.z)
        coded = condition.coded.repeat_interleave(condition.n_atoms)[:, None].to(latent)
        codes = condition.codes * coded

        def score(crystals: CrystalBatch, sigma: Tensor) -> ScoreOutput:
            return self._score(latent, codes, coded, crystals, sigma)

        return score

    def forward(self, condition: Condition, crystals: CrystalBatch, sigma: Tensor) -> ScoreOutput:
        """The score at noise level ``sigma`` (B,) Å under ``condition``."""
        return self.bind(condition)(crystals, sigma)

    def sites(self, z: Tensor, crystals: CrystalBatch) -> Tensor:
        """(A, R) the neighbour density that ``z`` (B, D) gives to the species of each atom."""
        return self.site(self._atoms(self.latent(z), crystals))

    def _atoms(self, latent: Tensor, crystals: CrystalBatch) -> Tensor:
        species = self.species(crystals.species - 1)
        own = latent[crystals.owner]
        # The product lets an atom ask "which site does z give my element?" for unseen pairs too.
        return species + self.atom(torch.cat([species, own, species * own], 1))

    def _score(
        self, latent: Tensor, codes: Tensor, coded: Tensor, crystals: CrystalBatch, sigma: Tensor
    ) -> ScoreOutput:
        owner = crystals.owner
        spacing = crystals.spacing
        noise = self.noise(
            torch.cat(
                [
                    log_features(sigma, self.noise_features),
                    log_features(sigma / spacing, self.noise_features),
                    spacing.log()[:, None],
                ],
                1,
            )
        )
        context = self.context(torch.cat([latent, noise], 1))
        atoms, vectors = self._atoms(latent, crystals), None
        if self.code is not None:
            atoms = atoms + self.code(torch.cat([codes, 1 - coded], 1))
            scalars, vectors = self.place(codes, atoms, crystals)
            atoms = atoms + scalars
        scalars, vectors = self.backbone(
            atoms,
            geometry(crystals, self.config),
            context.unflatten(1, (self.config.layers, -1)),
            vectors,
        )
        scalars = self.norm(scalars)
        displacement = (vectors * self.gate(scalars)[:, None]).sum(-1)
        # σ·score is the displacement to the clean site over σ; the network gives the numerator's
        # shape and this factor the growth towards small σ, bounded so that training starts calm.
        scaled = displacement * (0.3 / (sigma**2 + 0.01).sqrt())[owner, None]
        shift = remove_mean(scaled, crystals) / sigma[owner, None]
        return ScoreOutput(shift, self.logits(scalars))
