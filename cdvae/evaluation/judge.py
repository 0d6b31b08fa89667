"""The judge: a property model that is independent of the generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pymatgen.core.structure import Structure

from cdvae.data.cell_reduction import wrap
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference import estimate
from cdvae.model_folder import TrainedModel


def judged(judge: TrainedModel, structures: Sequence[Structure], prop: str) -> list[float]:
    """Return ``prop`` of each structure, in the units of the judge's card.

    The structures must have a cell (`validity.has_cell`); the cell is not reduced, as in the paper.
    """
    if not structures:
        return []
    batch = CrystalBatch(
        frac_coords=torch.from_numpy(np.concatenate([wrap(s.frac_coords) for s in structures])),
        atomic_numbers=torch.tensor([site.specie.Z for s in structures for site in s]),
        lattice=torch.from_numpy(np.stack([s.lattice.matrix for s in structures])).float(),
        num_atoms=torch.tensor([len(s) for s in structures]),
    )
    return [float(value) for value in estimate(judge, batch)[prop]]
