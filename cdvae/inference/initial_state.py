"""The initial state of sampling, from the predictions of the heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.diffusion.samplers.orbits import Symmetry, place_on_wyckoff
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import from_metric
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.nn.autoencoder import CDVAE
from cdvae.nn.decoder import Condition
from cdvae.nn.encoder import Latents
from cdvae.nn.heads import Heads
from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.placement import WyckoffPlan


def likeliest_counts(logits: Tensor, num_atoms: Tensor) -> Tensor:
    """Return the likeliest counts (B, Z) of the elements that add up to ``num_atoms``.

    The result is exact. If the likeliest counts of the single elements do not add up, dynamic
    programming over the elements keeps the best score of every number of atoms so far.

    Args:
        logits: (B, Z, N+1) of each count of each element; the elements are independent.
        num_atoms: (B,) at most N.
    """
    log = logits.log_softmax(-1)
    counts = log.argmax(-1)
    # If the likeliest counts add up, no others are likelier.
    rows = (counts.sum(-1) != num_atoms).nonzero().squeeze(-1)
    if len(rows):
        counts[rows] = _summing_to(log[rows], num_atoms[rows])
    return counts


def _summing_to(log: Tensor, num_atoms: Tensor) -> Tensor:
    """Return :func:`likeliest_counts` for log probabilities (B, Z, N+1) by dynamic programming."""
    size = log.shape[2]
    # (total, count): atoms of the elements before this one, if there is such a number
    before = torch.arange(size)[:, None] - torch.arange(size)
    possible = (before >= 0).to(log.device)
    before = before.clamp(min=0).to(log.device)
    best = log.new_full((len(log), size), -torch.inf)
    best[:, 0] = 0
    choices = []
    for element in log.unbind(1):
        score = (best[:, before] + element[:, None]).masked_fill(~possible, -torch.inf)
        best, choice = score.max(-1)
        choices.append(choice)
    left, counts = num_atoms.clone(), []
    for choice in reversed(choices):
        count = choice.gather(1, left[:, None]).squeeze(1)
        counts.append(count)
        left = left - count
    return torch.stack(counts[::-1], 1)


def species_of(counts: Tensor) -> Tensor:
    """Return the atomic numbers (A,) of ``counts`` (B, Z), ascending in each crystal."""
    classes = torch.arange(1, counts.shape[1] + 1, device=counts.device)
    return classes.repeat(len(counts)).repeat_interleave(counts.flatten())


def read_counts(heads: Heads, latents: Tensor) -> Tensor:
    """Return the composition (B, Z) that the heads read from ``latents`` (B, D)."""
    attributes = heads(latents)
    num_atoms = attributes.num_atoms_logits.argmax(-1)
    return likeliest_counts(attributes.count_logits, num_atoms)


def counts_log_prob(logits: Tensor, counts: Tensor) -> Tensor:
    """Return the log probability (B,) of ``counts`` (B, Z) under ``logits`` (B, Z, N+1)."""
    log = logits.log_softmax(-1).gather(2, counts.long()[..., None])
    return log.squeeze(-1).sum(-1)


def condition_of(latents: Latents, num_atoms: Tensor, atom_latent_dim: int) -> Condition:
    """Return the condition of the decoder for crystals of ``num_atoms`` (B,).

    The decoder sees the atom latents of a crystal only if every atom has one.
    """
    has_atom_latents = latents.num_atom_latents == num_atoms
    atom_latents = latents.z.new_zeros(int(num_atoms.sum()), atom_latent_dim)
    if atom_latent_dim and has_atom_latents.any():
        atom_latents[has_atom_latents.repeat_interleave(num_atoms)] = latents.atom_latents[
            has_atom_latents.repeat_interleave(latents.num_atom_latents)
        ]
    return Condition(latents.z, atom_latents, has_atom_latents, num_atoms)


@dataclass(frozen=True)
class InitialState:
    """The crystals at which sampling starts, and the condition of the decoder."""

    crystals: CrystalBatch
    condition: Condition
    symmetry: Symmetry | None = None


def initial_state(
    network: CDVAE,
    latents: Latents,
    rngs: Sequence[torch.Generator],
    fixed: Sequence[FixedAttributes] | None = None,
) -> InitialState:
    """Return the initial state of sampling.

    The heads read N, cell and composition from z unless they are fixed. The coordinates are
    uniform, or on random sites of a space group. An atom latent determines the element of its atom;
    atom latents are dropped if their number is not N.

    Args:
        network: the trained network.
        latents: of B crystals; crystals with fixed attributes have no atom latents.
        rngs: one CPU generator for each crystal.
        fixed: attributes for all crystals; either all of them have a space group or none has.
    """
    heads, z, atom_latent_dim = network.heads, latents.z, network.config.atom_latent_dim
    if fixed is None:
        counts = read_counts(heads, z)
    else:
        counts = torch.stack([one.counts for one in fixed]).to(z.device).long()
    num_atoms = counts.sum(-1)
    lattice = heads.lattice_of(heads(z).log_metric, num_atoms)
    for row, one in enumerate(fixed or ()):
        if one.lattice is not None:
            lattice[row] = one.lattice.to(lattice)
    sizes = num_atoms.tolist()
    if fixed is not None and fixed[0].spacegroup is not None:
        plans = [_plan(one, cell) for one, cell in zip(fixed, lattice, strict=True)]
        cells = torch.stack([torch.from_numpy(plan.lattice) for plan in plans]).to(lattice)
        nowhere = z.new_zeros(int(num_atoms.sum()), 3)
        crystals = CrystalBatch(nowhere, species_of(counts), cells, num_atoms)
        crystals, symmetry = place_on_wyckoff(crystals, plans, rngs)
        condition = condition_of(Latents.of(z), num_atoms, atom_latent_dim)
        return InitialState(crystals, condition, symmetry)
    frac_coords = torch.cat(
        [torch.rand(n, 3, generator=rng) for n, rng in zip(sizes, rngs, strict=True)]
    )
    crystals = CrystalBatch(frac_coords.to(lattice), species_of(counts), lattice, num_atoms)
    condition = condition_of(latents, num_atoms, atom_latent_dim)
    atomic_numbers = crystals.atomic_numbers.clone()
    if atom_latent_dim and condition.has_atom_latents.any():
        atoms = condition.has_atom_latents[crystals.batch]
        atomic_numbers[atoms] = heads.species_logits(condition.atom_latents[atoms]).argmax(-1) + 1
    return InitialState(crystals.replace(atomic_numbers=atomic_numbers), condition)


def _plan(fixed: FixedAttributes, cell: Tensor) -> WyckoffPlan:
    """Return the plan in the fixed lattice, or in the lattice nearest to ``cell`` (3, 3) Å."""
    assert fixed.spacegroup is not None
    lattice = None if fixed.lattice is None else fixed.lattice.double().cpu().numpy()
    group = Group.of(fixed.spacegroup, lattice)
    metric, basis = group.fit(cell.double().cpu().numpy())
    shares = tuple(int(n) for n in fixed.counts if n)
    fitted = from_metric(torch.from_numpy(metric)[None])[0].numpy() if lattice is None else lattice
    return WyckoffPlan(group, basis, shares, fitted)
