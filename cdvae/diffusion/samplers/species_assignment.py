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
    present[crystals.batch, crystals.atomic_numbers - 1] = True
    allowed = logits.masked_fill(~present[crystals.batch], -torch.inf)
    unhappy = allowed.argmax(-1) != crystals.atomic_numbers - 1
    if not unhappy.any():  # every atom has its favorite: nothing can be better
        return crystals
    atomic_numbers = crystals.atomic_numbers.clone()
    sizes = crystals.num_atoms.tolist()
    starts = (crystals.num_atoms.cumsum(0) - crystals.num_atoms).tolist()
    for crystal in crystals.batch[unhappy].unique().tolist():
        atoms = slice(starts[crystal], starts[crystal] + sizes[crystal])
        slots = crystals.atomic_numbers[atoms]
        gain = logits[atoms][:, slots - 1].double().cpu().numpy()
        _, chosen = linear_sum_assignment(gain, maximize=True)
        atomic_numbers[atoms] = slots[torch.as_tensor(chosen, device=slots.device)]
    return crystals.replace(atomic_numbers=atomic_numbers)
