"""The geometry of a whole data set in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from cdvae.geometry.crystal import CrystalBatch
from cdvae.nn.backbone import Geometry
from cdvae.nn.property_model import PropertyModel

SEARCH_CRYSTALS = 128


class Graphs:
    """The geometry of every crystal of a data set; a new search would cost as much as a step.

    It takes 4 R numbers for each pair of atoms of a crystal: 0.8 GB for 20,000 crystals of MP-20.
    """

    def __init__(self, property_model: PropertyModel, crystals: CrystalBatch) -> None:
        self.num_atoms = crystals.num_atoms
        pairs = []
        for rows in torch.arange(len(crystals)).split(SEARCH_CRYSTALS):
            chunk = crystals.select(rows)
            graph = property_model.geometry(chunk)
            terms = torch.cat([graph.radial[..., None, :], graph.vector], -2)
            pairs.append(terms.flatten(0, 2)[_pair_places(chunk.num_atoms)])
        self.pairs = torch.cat(pairs)  # (Σ N², 4, R)
        self.first = self.num_atoms.square().cumsum(0) - self.num_atoms.square()

    def select(self, rows: Tensor) -> Geometry:
        """Return the geometry of the crystals ``rows`` (B,), as from `PropertyModel.geometry`."""
        num_atoms = self.num_atoms[rows]
        count = num_atoms.square()
        within = torch.arange(int(count.sum()), device=count.device)
        within = within - (count.cumsum(0) - count).repeat_interleave(count)
        terms = self.pairs.index_select(0, self.first[rows].repeat_interleave(count) + within)
        b, n = len(rows), int(num_atoms.max())
        padded = terms.new_zeros(b * n * n, *terms.shape[1:])
        padded = padded.index_copy(0, _pair_places(num_atoms), terms).view(
            b, n, n, *terms.shape[1:]
        )
        place = (torch.arange(n, device=num_atoms.device) < num_atoms[:, None]).flatten().nonzero()
        return Geometry(padded[..., 0, :], padded[..., 1:, :], place.squeeze(-1))


def _pair_places(num_atoms: Tensor) -> Tensor:
    """Return the rows (Σ N²,) of the pairs of atoms among the B · n · n rows of a padded batch."""
    live = torch.arange(int(num_atoms.max()), device=num_atoms.device) < num_atoms[:, None]
    return (live[:, :, None] & live[:, None, :]).flatten().nonzero().squeeze(-1)
