"""Convert tensors to pymatgen structures and back."""

import torch
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from torch import Tensor

from cdvae.data.cell_reduction import reduce, wrap
from cdvae.geometry.crystal import CrystalBatch


def to_structures(batch: CrystalBatch) -> list[Structure]:
    """Return one pymatgen structure per crystal, in the cell and atom order of the batch.

    NaN passes through, so that a report can describe a failed sample.

    Raises:
        ValueError: an atomic number does not exist.
    """
    structures = []
    for crystal in batch.to("cpu").split():
        structures.append(
            Structure(
                Lattice(crystal.lattice[0].double().numpy()),
                crystal.atomic_numbers.tolist(),
                crystal.frac_coords.double().numpy(),
            )
        )
    return structures


def niggli_cell(lattice: Tensor) -> Tensor:
    """Return the Niggli-reduced cell (3, 3) of ``lattice`` (3, 3) Å, in canonical orientation."""
    reduced = Lattice(lattice.double().cpu().numpy()).get_niggli_reduced_lattice()
    canonical = Lattice.from_parameters(*reduced.parameters)
    return torch.tensor(canonical.matrix.copy(), dtype=torch.float32)


def from_structure(structure: Structure) -> CrystalBatch:
    """Return the structure as a batch of one, in its Niggli cell and canonical orientation.

    Oxidation states are dropped.

    Raises:
        ValueError: as :func:`cdvae.data.cell_reduction.reduce`.
    """
    arrays = reduce(structure)
    return CrystalBatch(
        frac_coords=torch.from_numpy(wrap(arrays.frac_coords)),
        atomic_numbers=torch.from_numpy(arrays.atomic_numbers),
        lattice=torch.from_numpy(arrays.lattice).float()[None],
        num_atoms=torch.tensor([len(arrays.atomic_numbers)]),
    )
