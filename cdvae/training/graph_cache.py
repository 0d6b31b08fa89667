"""The geometry of a whole data set, kept between steps."""

from __future__ import annotations

import torch
from torch import Tensor

from cdvae.geometry.crystal import CrystalBatch
from cdvae.nn.backbone import Geometry
from cdvae.nn.property_model import PropertyEstimator

SEARCH_CRYSTALS = 128


class Graphs:
    """The geometry of every crystal of a data set, found once: the search costs what a step does.

    Needs 4 R numbers for each pair of atoms of a crystal, 0.8 GB for 20,000 crystals of MP-20.
    """

    def __init__(self, estimator: PropertyEstimator, crystals: CrystalBatch) -> None:
        self.n_atoms = crystals.n_atoms
        pairs = []
        for rows in torch.arange(len(crystals)).split(SEARCH_CRYSTALS):
            chunk = crystals.select(rows)
            graph = estimator.geometry(chunk)
            terms = torch.cat([graph.radial[..., None, :], graph.vector], -2)
            pairs.append(terms.flatten(0, 2)[_pair_places(chunk.n_atoms)])
        self.pairs = torch.cat(pairs)  # (Σ N², 4, R)
        self.first = self.n_atoms.square().cumsum(0) - self.n_atoms.square()

    def select(self, rows: Tensor) -> Geometry:
        """The geometry of the crystals ``rows`` (B,), as the estimator makes it."""
        n_atoms = self.n_atoms[rows]
        count = n_atoms.square()
        within = torch.arange(int(count.sum()), device=count.device)
        within = within - (count.cumsum(0) - count).repeat_interleave(count)
        terms = self.pairs.index_select(0, self.first[rows].repeat_interleave(count) + within)
        b, n = len(rows), int(n_atoms.max())
        padded = terms.new_zeros(b * n * n, *terms.shape[1:])
        padded = padded.index_copy(0, _pair_places(n_atoms), terms).view(b, n, n, *terms.shape[1:])
        place = (torch.arange(n, device=n_atoms.device) < n_atoms[:, None]).flatten().nonzero()
        return Geometry(padded[..., 0, :], padded[..., 1:, :], place.squeeze(-1))


def _pair_places(n_atoms: Tensor) -> Tensor:
    """(Σ N²,) places of the pairs of atoms among the B · n · n of the padded batch."""
    live = torch.arange(int(n_atoms.max()), device=n_atoms.device) < n_atoms[:, None]
    return (live[:, :, None] & live[:, None, :]).flatten().nonzero().squeeze(-1)
