"""The training objective, term by term (Xie et al. 2022, section 4 and appendix)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch_geometric.utils import scatter

from cdvae.config import LossWeights
from cdvae.diffusion.noise import NoiseSchedule, NoisyBatch, corrupt
from cdvae.geometry.crystal import CrystalBatch, element_counts
from cdvae.nn.autoencoder import CDVAE
from cdvae.nn.backbone import neighbor_density
from cdvae.nn.decoder import Condition
from cdvae.nn.heads import Attributes
from cdvae.nn.structure_factors import AXES

FREE_NATS = 12.0
"""Information in an atom latent that costs nothing (Kingma et al. 2016); otherwise the atom latents
collapse before the decoder has learned to use them."""


@dataclass(frozen=True)
class Corruption:
    """The corruption of the input of the decoder in training."""

    schedule: NoiseSchedule  # the range of the noise levels
    copies: int  # noisy copies of each crystal; the encoder runs once for all of them
    atom_latent_dropout: float  # share of the copies that are decoded only from z


@dataclass(frozen=True)
class LossTerms:
    """The terms of the loss: unweighted scalars, means over the batch."""

    num_atoms: Tensor  # cross-entropy, nats
    lattice: Tensor  # squared error of the standardized log metric
    composition: Tensor  # cross-entropy of the atoms of each element, nats per crystal
    properties: Tensor  # squared error, standardized
    coordinates: Tensor  # ½‖σ(s − s*)‖² per atom
    atom_types: Tensor  # cross-entropy, nats
    sites: Tensor  # squared error of the neighbor density that z predicts for each element
    kl: Tensor  # nats
    elements: Tensor  # cross-entropy of the element that an atom latent encodes, nats
    phases: Tensor  # squared error of the phases that the atom latents encode
    kl_atom_latents: Tensor  # nats per atom above FREE_NATS

    def total(self, weights: LossWeights) -> Tensor:
        """Return the weighted sum of the terms, which training minimizes."""
        return torch.stack(
            [
                self.num_atoms * weights.num_atoms,
                self.lattice * weights.lattice,
                self.composition * weights.composition,
                self.properties * weights.properties,
                self.coordinates * weights.coordinates,
                self.atom_types * weights.atom_types,
                self.sites * weights.sites,
                self.kl * weights.kl,
                self.elements * weights.elements,
                self.phases * weights.phases,
                self.kl_atom_latents * weights.kl_atom_latents,
            ]
        ).sum()

    def detached(self) -> dict[str, float]:
        """Return the terms as numbers, for logs."""
        return {name: float(term.detach()) for name, term in vars(self).items()}


def _per_crystal(values: Tensor, crystals: CrystalBatch) -> Tensor:
    """Return the mean over the crystals of the mean over their atoms."""
    return scatter(values, crystals.batch, 0, len(crystals), reduce="mean").mean()


def composition_loss(attributes: Attributes, crystals: CrystalBatch) -> Tensor:
    """Return the cross-entropy of the number of atoms of each element, summed over the elements.

    The counts are classes. A cross-entropy of element fractions would be flat around its minimum:
    most compositions of large cells would be wrong by one atom.
    """
    counts = element_counts(crystals).long().flatten()
    logits = attributes.count_logits.flatten(0, 1)
    return cross_entropy(logits, counts, reduction="sum") / len(crystals)


def property_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error over the known values; zero if there are none."""
    known = target.isfinite()
    error = torch.where(known, predicted - torch.where(known, target, 0), 0)
    return error.square().sum() / known.sum().clamp(min=1)


def score_loss(model: CDVAE, condition: Condition, batch: NoisyBatch) -> tuple[Tensor, Tensor]:
    """Return the denoising losses: ½‖σ(s − s*)‖² of coordinates, cross-entropy of species."""
    output = model.decoder(condition, batch.noisy, batch.sigma)
    error = (output.shift - batch.target) * batch.sigma[batch.clean.batch, None]
    coordinates = 0.5 * error.square().sum(-1)
    atom_types = cross_entropy(
        output.species_logits, batch.clean.atomic_numbers - 1, reduction="none"
    )
    return _per_crystal(coordinates, batch.clean), _per_crystal(atom_types, batch.clean)


def site_loss(model: CDVAE, z: Tensor, crystals: CrystalBatch, density: Tensor) -> Tensor:
    """Return the squared error of the neighbor density that z predicts for each element.

    The denoising losses teach z only slowly which element sits on which kind of site. This term
    teaches it directly, without messages.
    """
    error = (model.decoder.sites(z, crystals) - density).square().sum(-1)
    return _per_crystal(error, crystals)


def element_loss(model: CDVAE, atom_latents: Tensor, crystals: CrystalBatch) -> Tensor:
    """Return the cross-entropy of the element of each atom latent; zero without atom latents."""
    if model.config.atom_latent_dim == 0:
        return atom_latents.sum()
    logits = model.heads.species_logits(atom_latents)
    return _per_crystal(
        cross_entropy(logits, crystals.atomic_numbers - 1, reduction="none"), crystals
    )


def phase_loss(model: CDVAE, atom_latents: Tensor, crystals: CrystalBatch) -> Tensor:
    """Return the squared error of the phases along the cell axes; zero without atom latents.

    It is 1 for atom latents without information. The denoising losses teach the phases only slowly.
    """
    reader = model.decoder.place
    if reader is None:
        return atom_latents.sum()
    difference = reader.differences(atom_latents, crystals)[:, :AXES]
    cosine, sine = difference.unbind(-1)
    error = ((cosine - 1).square() + sine.square()).mean(-1)
    return _per_crystal(error, crystals)


def compute_loss(
    model: CDVAE,
    crystals: CrystalBatch,
    properties: Tensor,
    corruption: Corruption,
    rng: torch.Generator,
    distorted: Tensor | None = None,
) -> LossTerms:
    """Return all terms for a batch.

    Args:
        model: the model in training.
        crystals: B clean crystals.
        properties: (B, P) in the units of the data, NaN where unknown.
        corruption: the corruption of the input of the decoder.
        rng: source of every random number.
        distorted: (B,) mask of distorted crystals. They are always decoded with atom latents, so
            that the decoder does not learn to make such crystals from z.
    """
    graph = model.encoder.geometry(crystals)
    posterior = model.encoder(crystals, graph)
    z, atom_latents = posterior.z.sample(rng), posterior.atom_latents.sample(rng)
    heads = model.heads(z)
    copies = torch.arange(len(crystals), device=z.device).repeat(corruption.copies)
    repeated = crystals.select(copies)
    batch = corrupt(repeated, corruption.schedule.draw(repeated, rng), rng)
    has_atom_latents = (
        torch.rand(len(copies), generator=rng, device=z.device) >= corruption.atom_latent_dropout
    )
    if distorted is not None:
        has_atom_latents |= distorted[copies]
    condition = Condition(
        z[copies], atom_latents.repeat(corruption.copies, 1), has_atom_latents, repeated.num_atoms
    )
    coordinates, atom_types = score_loss(model, condition, batch)
    return LossTerms(
        num_atoms=cross_entropy(heads.num_atoms_logits, crystals.num_atoms),
        lattice=(
            heads.log_metric - model.heads.lattice_target(crystals.lattice, crystals.num_atoms)
        )
        .square()
        .mean(),
        composition=composition_loss(heads, crystals),
        properties=property_loss(heads.properties, model.heads.property_target(properties)),
        coordinates=coordinates,
        atom_types=atom_types,
        sites=site_loss(model, z, crystals, neighbor_density(graph)),
        kl=posterior.z.kl().mean(),
        elements=element_loss(model, atom_latents, crystals),
        phases=phase_loss(model, atom_latents, crystals),
        kl_atom_latents=(_per_crystal(posterior.atom_latents.kl(), crystals) - FREE_NATS).clamp(
            min=0
        ),
    )
