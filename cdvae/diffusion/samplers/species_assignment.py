"""Assignment of elements to atoms for a fixed composition."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cdvae.geometry.crystal import CrystalBatch


def assign_species(crystals: CrystalBatch, logits: Tensor) -> CrystalBatch:
    """Return ``crystals`` with their species permuted to the likeliest order by ``logits`` (A, Z).

    An optimal assignment (Kuhn 1955) keeps the composition of each crystal. The original takes an
    argmax instead, which may add or lose elements.
    """
    # (B, Z) True if the element occurs in the crystal
    present = torch.zeros(len(crystals), logits.shape[1], dtype=torch.bool, device=logits.device)
    present[crystals.batch, crystals.atomic_numbers - 1] = True
    allowed = logits.masked_fill(~present[crystals.batch], -torch.inf)
    unhappy = allowed.argmax(-1) != crystals.atomic_numbers - 1
    if not unhappy.any():  # every atom already has its likeliest element
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
