"""Several short runs instead of one long one, and the one that fits z best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.sampling.protocol import OnLevel, Sampler
from cdvae.score import Score


@dataclass(frozen=True)
class BestOf:
    """Runs ``inner`` from ``candidates`` starts and keeps, crystal by crystal, the least misfit.

    A run that settles on the wrong sites early cannot leave them at the later, smaller noise
    levels; another start costs the same as doubling the levels and helps more. The first run begins
    at the given start, the others at fresh uniform coordinates and the same species.
    """

    inner: Sampler
    candidates: int
    misfit: Callable[[CrystalBatch], Tensor]  # (B,), knows nothing of the true crystals

    @property
    def evaluations(self) -> int:
        """Those of all runs."""
        return self.candidates * self.inner.evaluations

    @torch.no_grad()
    def __call__(
        self,
        score: Score,
        start: CrystalBatch,
        rngs: Sequence[torch.Generator],
        on_level: OnLevel | None = None,
    ) -> CrystalBatch:
        """See :class:`cdvae.sampling.protocol.Sampler`."""
        best, least = start, start.lattice.new_full((len(start),), torch.inf)
        for run in range(self.candidates):
            begin = start if run == 0 else _scattered(start, rngs)

            def count(level: int, levels: int, run: int = run) -> None:
                if on_level:
                    on_level(run * levels + level, self.candidates * levels)

            crystals = self.inner(score, begin, rngs, count)
            misfit = self.misfit(crystals)
            # "not worse" also takes the first run where the misfit is NaN: a broken crystal shows.
            better = ~(misfit >= least)
            atoms = better[crystals.owner]
            best = best.replace(
                frac=torch.where(atoms[:, None], crystals.frac, best.frac),
                species=torch.where(atoms, crystals.species, best.species),
            )
            least = torch.where(better, misfit, least)
        return best


def _scattered(crystals: CrystalBatch, rngs: Sequence[torch.Generator]) -> CrystalBatch:
    sizes = zip(crystals.n_atoms.tolist(), rngs, strict=True)
    frac = torch.cat([torch.rand(n, 3, generator=rng) for n, rng in sizes])
    return crystals.replace(frac=frac.to(crystals.frac))
