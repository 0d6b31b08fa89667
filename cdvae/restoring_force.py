"""Compare the score of a trained network with a harmonic restoring force.

If atoms are displaced by d from their sites with normal noise of width σ, the exact score is −d/σ²:
a spring pulls every atom back (Xie et al. 2022, section 4.2).
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
    """The score as a function of the displacement, at one noise level."""

    sigma: float  # Å
    displacement: Tensor  # (A, 3) Å, from the equilibrium sites
    pull: Tensor  # (A, 3) Å, σ² times the score; −displacement for a perfect spring

    @property
    def cosine(self) -> float:
        """The mean cosine between the pull and −displacement; 1 for a perfect spring."""
        return float(torch.cosine_similarity(self.pull, -self.displacement).mean())

    @property
    def slope(self) -> float:
        """The least-squares slope of the pull over −displacement; 1 for a perfect spring."""
        return float(-(self.pull * self.displacement).sum() / self.displacement.square().sum())


@torch.no_grad()
def restoring_force(
    model: TrainedModel, crystals: CrystalBatch, sigmas: Sequence[float], rng: torch.Generator
) -> list[RestoringForce]:
    """Displace the atoms by normal noise of each width and return the pull of the score.

    The latents are those of the crystals before the displacement.

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
