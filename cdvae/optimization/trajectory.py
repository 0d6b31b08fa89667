"""The trajectories, the results and the progress of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from cdvae.diffusion.samplers.sampler import OnLevel
from cdvae.errors import NonFiniteSampleError
from cdvae.geometry.crystal import CrystalBatch


@dataclass
class Trajectory:
    """The crystals decoded from one start; the heads of the model rate them."""

    decodings: list[CrystalBatch | None] = field(
        default_factory=list
    )  # None: not finite or not allowed
    best: int | None = None
    valid: bool = False  # True if the best crystal is valid
    cost: float = math.inf  # of the best crystal, encoded again
    values: list[tuple[float, ...]] = field(default_factory=list)
    """Properties of the best crystal after each decoding, from the first finite one on."""

    @property
    def valid_cost(self) -> float:
        """The cost of the best crystal; infinite if it is not valid."""
        return self.cost if self.valid else math.inf

    @property
    def first(self) -> CrystalBatch | None:
        """The first finite decoding, usually that of the start."""
        return next((crystal for crystal in self.decodings if crystal is not None), None)

    def add(
        self, crystal: CrystalBatch, valid: bool, cost: float, values: tuple[float, ...]
    ) -> bool:
        """Append a decoding; return True if it is valid and better than all earlier valid ones.

        Args:
            crystal: the decoded crystal, a batch of one.
            valid: whether its structure and composition are valid.
            cost: its cost in the search.
            values: its properties, in the card's units.
        """
        self.decodings.append(crystal)
        is_best = (self.valid, -self.cost) < (valid, -cost)
        if is_best:
            self.best, self.valid, self.cost = len(self.decodings) - 1, valid, cost
            self.values.append(values)
        else:
            self.values += self.values[-1:]
        return is_best and valid

    def add_rejected(self) -> None:
        """Append a decoding that is not finite or has a composition that is not allowed."""
        self.decodings.append(None)
        self.values += self.values[-1:]


@dataclass(frozen=True)
class SearchResult:
    """The results of the searches from B starts."""

    trajectories: list[Trajectory]
    nfe: Tensor  # (B,) network evaluations of each start

    def first(self) -> CrystalBatch:
        """Return the first finite crystal of each start.

        Raises:
            NonFiniteSampleError: no decoding of some start was finite.
        """
        firsts = [trajectory.first for trajectory in self.trajectories]
        return self._concatenate(firsts)

    def best(self) -> CrystalBatch:
        """Return the best crystal of each start; the best invalid one if none is valid.

        Raises:
            NonFiniteSampleError: no decoding of some start was finite.
        """
        return self._concatenate(
            [
                None if trajectory.best is None else trajectory.decodings[trajectory.best]
                for trajectory in self.trajectories
            ]
        )

    @staticmethod
    def _concatenate(crystals: Sequence[CrystalBatch | None]) -> CrystalBatch:
        missing = [row for row, crystal in enumerate(crystals) if crystal is None]
        if missing:
            raise NonFiniteSampleError(missing)
        return CrystalBatch.cat([crystal for crystal in crystals if crystal is not None])


class SearchProgress:
    """Counts work: one unit for a gradient step, ``nfe`` units for a decoding."""

    def __init__(self, gradient_steps: Sequence[int], nfe: int, on_step: OnLevel | None) -> None:
        self._total = sum(gradient_steps) + len(gradient_steps) * nfe
        self._nfe = nfe
        self._done = 0
        self._on_step = on_step

    def step_done(self) -> None:
        """Count one gradient step."""
        self._done += 1
        self._report(self._done)

    def level_done(self, level: int, levels: int) -> None:
        """Report ``level`` of the ``levels`` of the decoding in progress."""
        self._report(self._done + self._nfe * level // levels)

    def decoding_done(self) -> None:
        """Count the decoding in progress."""
        self._done += self._nfe

    def finish(self) -> None:
        """Report that the search ended, perhaps before its last step."""
        if self._done < self._total:
            self._report(self._total)

    def _report(self, done: int) -> None:
        if self._on_step:
            self._on_step(done, self._total)
