"""Between tensors and pymatgen structures."""

import torch
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from torch import Tensor

from cdvae.data.cell_reduction import reduce, wrap
from cdvae.geometry.crystal import CrystalBatch


def to_structures(batch: CrystalBatch) -> list[Structure]:
    """One pymatgen structure per crystal, in the cell and atom order of the batch.

    NaN passes through, so that a failed sample can still be reported on. ValueError for a species
    that is no element.
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
    """(3, 3) float32 the Niggli-reduced cell of ``lattice`` (3, 3), in canonical orientation."""
    reduced = Lattice(lattice.double().cpu().numpy()).get_niggli_reduced_lattice()
    canonical = Lattice.from_parameters(*reduced.parameters)
    return torch.tensor(canonical.matrix.copy(), dtype=torch.float32)


def from_structure(structure: Structure) -> CrystalBatch:
    """The structure as a batch of one, Niggli-reduced and in canonical orientation (float32).

    Oxidation states are dropped. ValueError for no sites, partial occupancy, dummy species,
    non-finite numbers or a cell without volume.
    """
    arrays = reduce(structure)
    return CrystalBatch(
        frac_coords=torch.from_numpy(wrap(arrays.frac_coords)),
        atomic_numbers=torch.from_numpy(arrays.atomic_numbers),
        lattice=torch.from_numpy(arrays.lattice).float()[None],
        num_atoms=torch.tensor([len(arrays.atomic_numbers)]),
    )
