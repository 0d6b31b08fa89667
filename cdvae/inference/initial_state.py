"""From what the heads predict to the crystals that sampling starts from."""

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
    """(B, Z) the likeliest number of atoms of each element that make up ``num_atoms`` together.

    Exact, by dynamic programming over the elements where it takes that: the best score of every
    number of atoms so far.

    Args:
        logits: (B, Z, N+1) of each count of each element, independent of each other.
        num_atoms: (B,) atoms wanted, at most N.
    """
    log = logits.log_softmax(-1)
    counts = log.argmax(-1)
    # Where the likeliest counts make up the sum by themselves, nothing else is likelier.
    rows = (counts.sum(-1) != num_atoms).nonzero().squeeze(-1)
    if len(rows):
        counts[rows] = _summing_to(log[rows], num_atoms[rows])
    return counts


def _summing_to(log: Tensor, num_atoms: Tensor) -> Tensor:
    """`likeliest_counts` by dynamic programming, of log probabilities (B, Z, N+1)."""
    size = log.shape[2]
    # (total, count): atoms before this element, where that is possible
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
    """(A,) the atomic numbers that ``counts`` (B, Z) stand for, ascending in each crystal."""
    classes = torch.arange(1, counts.shape[1] + 1, device=counts.device)
    return classes.repeat(len(counts)).repeat_interleave(counts.flatten())


def read_counts(heads: Heads, latents: Tensor) -> Tensor:
    """(B, Z) the atoms of each element that the heads read from ``latents`` (B, D)."""
    attributes = heads(latents)
    num_atoms = attributes.num_atoms_logits.argmax(-1)
    return likeliest_counts(attributes.count_logits, num_atoms)


def counts_log_prob(logits: Tensor, counts: Tensor) -> Tensor:
    """(B,) log probability of ``counts`` (B, Z) under ``logits`` (B, Z, N+1)."""
    log = logits.log_softmax(-1).gather(2, counts.long()[..., None])
    return log.squeeze(-1).sum(-1)


def condition_of(latents: Latents, num_atoms: Tensor, atom_latent_dim: int) -> Condition:
    """What crystals of ``num_atoms`` (B,) are decoded from: codes where each atom has one."""
    has_atom_latents = latents.num_atom_latents == num_atoms
    atom_latents = latents.z.new_zeros(int(num_atoms.sum()), atom_latent_dim)
    if atom_latent_dim and has_atom_latents.any():
        atom_latents[has_atom_latents.repeat_interleave(num_atoms)] = latents.atom_latents[
            has_atom_latents.repeat_interleave(latents.num_atom_latents)
        ]
    return Condition(latents.z, atom_latents, has_atom_latents, num_atoms)


@dataclass(frozen=True)
class InitialState:
    """The crystals that sampling starts from, and what they are decoded from."""

    crystals: CrystalBatch
    condition: Condition
    symmetry: Symmetry | None = None


def initial_state(
    network: CDVAE,
    latents: Latents,
    rngs: Sequence[torch.Generator],
    fixed: Sequence[FixedAttributes] | None = None,
) -> InitialState:
    """Where sampling starts.

    N, cell and composition are those that the heads read from z, if they are not fixed; the
    coordinates are uniform, or on random sites of a space group. Where an atom has a code, the code
    says its element; codes of another number of atoms than z says are dropped.

    Args:
        network: the trained network.
        latents: of B crystals; without codes where anything is fixed.
        rngs: one CPU generator a crystal.
        fixed: what the crystals have whatever z says; all of them with a space group, or none.
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
        atom_latents, has_atom_latents = (
            z.new_zeros(len(nowhere), atom_latent_dim),
            torch.zeros_like(num_atoms).bool(),
        )
        return InitialState(
            crystals, Condition(z, atom_latents, has_atom_latents, num_atoms), symmetry
        )
    frac_coords = torch.cat(
        [torch.rand(n, 3, generator=rng) for n, rng in zip(sizes, rngs, strict=True)]
    )
    crystals = CrystalBatch(frac_coords.to(lattice), species_of(counts), lattice, num_atoms)
    condition = condition_of(latents, num_atoms, atom_latent_dim)
    atomic_numbers = crystals.atomic_numbers.clone()
    if atom_latent_dim and condition.has_atom_latents.any():
        given = condition.has_atom_latents[crystals.batch]
        atomic_numbers[given] = heads.species_logits(condition.atom_latents[given]).argmax(-1) + 1
    return InitialState(crystals.replace(atomic_numbers=atomic_numbers), condition)


def _plan(fixed: FixedAttributes, cell: Tensor) -> WyckoffPlan:
    """The space group in ``cell`` (3, 3) Å: in a given one as it is, else in one like it."""
    assert fixed.spacegroup is not None
    given = None if fixed.lattice is None else fixed.lattice.double().cpu().numpy()
    group = Group.of(fixed.spacegroup, given)
    metric, basis = group.fit(cell.double().cpu().numpy())
    shares = tuple(int(n) for n in fixed.counts if n)
    fitted = from_metric(torch.from_numpy(metric)[None])[0].numpy() if given is None else given
    return WyckoffPlan(group, basis, shares, fitted)
