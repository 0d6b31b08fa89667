"""The physical reading of the score: near equilibrium it is a harmonic restoring force.

For a normal cloud of width σ about the clean sites the score is −d/σ², a spring that pulls every
atom back (Xie et al. 2022, section 4.2). How well a trained network obeys is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.diffusion.noise import remove_mean
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import inverse
from cdvae.geometry.torus import wrap
from cdvae.inference import encode
from cdvae.model_folder import TrainedModel
from cdvae.nn.decoder import Condition


@dataclass(frozen=True)
class RestoringForce:
    """Score against displacement at one noise level."""

    sigma: float  # Å
    displacement: Tensor  # (A, 3) Å, from the equilibrium sites
    pull: Tensor  # (A, 3) Å, σ² times the score: −displacement for a perfect spring

    @property
    def cosine(self) -> float:
        """Mean cosine between the pull and the way back; 1 for a perfect spring."""
        return float(torch.cosine_similarity(self.pull, -self.displacement).mean())

    @property
    def slope(self) -> float:
        """Least-squares slope of the pull against the way back; 1 for a perfect spring."""
        return float(-(self.pull * self.displacement).sum() / self.displacement.square().sum())


@torch.no_grad()
def restoring_force(
    model: TrainedModel, crystals: CrystalBatch, sigmas: Sequence[float], rng: torch.Generator
) -> list[RestoringForce]:
    """The pull on atoms displaced by normal noise of each width, z from the crystals themselves.

    Args:
        model: the trained model.
        crystals: crystals at equilibrium.
        sigmas: widths of the displacements and noise levels of the score, Å.
        rng: CPU generator of the displacements.
    """
    crystals = crystals.to(model.device)
    latents = encode(model, crystals).means()
    has_atom_latents = torch.ones(len(crystals), dtype=torch.bool, device=model.device)
    condition = Condition(latents.z, latents.atom_latents, has_atom_latents, crystals.num_atoms)
    score = model.network.decoder.bind(condition)
    to_frac = inverse(crystals.lattice)[crystals.batch]
    results = []
    for sigma in sigmas:
        noise = torch.randn(crystals.frac_coords.shape, generator=rng).to(crystals.frac_coords)
        displacement = remove_mean(sigma * noise, crystals)
        step = torch.einsum("ai,aij->aj", displacement, to_frac)
        moved = crystals.replace(frac_coords=wrap(crystals.frac_coords + step))
        level = crystals.lattice.new_full((len(crystals),), sigma)
        pull = sigma**2 * score(moved, level).shift
        results.append(RestoringForce(sigma, displacement.cpu(), pull.cpu()))
    return results
