"""Which atom is which element, when the composition is fixed."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cdvae.geometry.crystal import CrystalBatch


def assign_species(crystals: CrystalBatch, logits: Tensor) -> CrystalBatch:
    """``crystals`` with their species permuted to the likeliest assignment under ``logits`` (A, Z).

    The composition of each crystal stays exactly as it is (optimal assignment; Kuhn 1955), unlike
    the argmax of the original, which may invent or lose elements.
    """
    # (A, Z) whether an element occurs in the crystal that the atom belongs to
    present = torch.zeros(len(crystals), logits.shape[1], dtype=torch.bool, device=logits.device)
    present[crystals.owner, crystals.species - 1] = True
    allowed = logits.masked_fill(~present[crystals.owner], -torch.inf)
    unhappy = allowed.argmax(-1) != crystals.species - 1
    if not unhappy.any():  # every atom has its favourite: nothing can be better
        return crystals
    species = crystals.species.clone()
    sizes = crystals.n_atoms.tolist()
    starts = (crystals.n_atoms.cumsum(0) - crystals.n_atoms).tolist()
    for crystal in crystals.owner[unhappy].unique().tolist():
        atoms = slice(starts[crystal], starts[crystal] + sizes[crystal])
        slots = crystals.species[atoms]
        gain = logits[atoms][:, slots - 1].double().cpu().numpy()
        _, chosen = linear_sum_assignment(gain, maximize=True)
        species[atoms] = slots[torch.as_tensor(chosen, device=slots.device)]
    return crystals.replace(species=species)
