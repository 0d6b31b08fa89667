"""Several short runs instead of one long one, and the one that fits z best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.sampling.ancestral import Ancestral
from cdvae.sampling.protocol import OnLevel
from cdvae.sampling.symmetry import Symmetry, again
from cdvae.score import Score


@dataclass(frozen=True)
class BestOf:
    """Runs ``inner`` from ``candidates`` starts and keeps, crystal by crystal, the least misfit.

    A run that settles on the wrong sites early cannot leave them at the later, smaller noise
    levels; another start costs the same as doubling the levels and helps more. The first run begins
    at the given start, the others at fresh uniform coordinates and the same species, or on other
    sites of the same space group.

    All runs go side by side, as one batch of ``candidates`` times the crystals: so few crystals
    take a fraction of the time. ``misfit`` and the score are those of that batch, in which the
    crystals of a run follow those of the run before.
    """

    inner: Ancestral
    candidates: int
    misfit: Callable[[CrystalBatch], Tensor]  # (candidates · B,), blind to the true crystals

    @property
    def evaluations(self) -> int:
        """Those of all runs."""
        return self.candidates * self.inner.evaluations

    @property
    def copies(self) -> int:
        """One for each run."""
        return self.candidates

    @torch.no_grad()
    def __call__(
        self,
        score: Score,
        start: CrystalBatch,
        rngs: Sequence[torch.Generator],
        on_level: OnLevel | None = None,
        symmetry: Symmetry | None = None,
    ) -> CrystalBatch:
        """See :class:`cdvae.sampling.protocol.Sampler`."""
        starts, noises = [], []
        for run in range(self.candidates):
            starts.append(again(start, symmetry, rngs) if run else (start, symmetry))
            noises.append(self.inner.noise(start, rngs))
        begin = CrystalBatch.cat([crystals for crystals, _ in starts])
        kept = [own for _, own in starts if own is not None]
        every = Symmetry.cat(kept) if kept else None
        crystals = self.inner.run(score, begin, torch.cat(noises, 1), on_level, every)
        misfit = self.misfit(crystals).view(self.candidates, len(start))
        # What is not a number is the worst: a crystal all of whose runs broke remains broken.
        best = misfit.nan_to_num(nan=torch.inf, posinf=torch.inf).argmin(0)
        first = torch.arange(len(start), device=best.device)
        return crystals.select(best * len(start) + first)
