"""What a search has found and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from cdvae.diffusion.samplers.sampler import OnLevel
from cdvae.errors import NonFiniteSampleError
from cdvae.geometry.crystal import CrystalBatch


@dataclass
class Path:
    """The crystals decoded from one start, and which of them is best by the model's own head."""

    decodings: list[CrystalBatch | None] = field(default_factory=list)  # None: not finite
    best: int | None = None
    valid: bool = False  # the best one
    cost: float = math.inf  # of the best one, encoded again
    trajectory: list[tuple[float, ...]] = field(default_factory=list)
    """The properties of the best one after each decoding, from the first finite one on."""

    @property
    def first(self) -> CrystalBatch | None:
        """The first finite decoding: as a rule that of the start."""
        return next((one for one in self.decodings if one is not None), None)

    def add(
        self, crystal: CrystalBatch | None, valid: bool, cost: float, values: tuple[float, ...]
    ) -> bool:
        """Appends a decoding; True if it is valid and better than all valid ones before.

        ``values`` are its properties in the card's units, ``cost`` what the search makes small.
        """
        self.decodings.append(crystal)
        reached = self.trajectory[-1:]
        is_best = crystal is not None and (self.valid, -self.cost) < (valid, -cost)
        if is_best:
            self.best, self.valid, self.cost = len(self.decodings) - 1, valid, cost
            reached = [values]
        self.trajectory += reached
        return is_best and valid


@dataclass(frozen=True)
class Optimized:
    """What a search found."""

    paths: list[Path]  # one of each start
    nfe: Tensor  # (B,) that each start took

    def first(self) -> CrystalBatch:
        """The first finite crystal of each start; raises as `best`."""
        self._require_finite()
        return CrystalBatch.cat([path.first for path in self.paths])

    def best(self) -> CrystalBatch:
        """The best crystal of each start; the least bad where none is valid.

        Raises:
            NonFiniteSampleError: no decoding of some start was finite.
        """
        self._require_finite()
        return CrystalBatch.cat([path.decodings[path.best] for path in self.paths])

    def _require_finite(self) -> None:
        lost = [i for i, path in enumerate(self.paths) if path.best is None]
        if lost:
            raise NonFiniteSampleError(lost)


class Work:
    """Counts gradient steps and noise levels; a decoding counts as many as it evaluates scores."""

    def __init__(self, steps: Sequence[int], evaluations: int, on_step: OnLevel | None) -> None:
        self._total = sum(steps) + len(steps) * evaluations
        self._evaluations = evaluations
        self._done = 0
        self._on_step = on_step

    def step(self) -> None:
        """One gradient step more."""
        self._done += 1
        self._tell(self._done)

    def level(self, level: int, levels: int) -> None:
        """So much of the present decoding is done."""
        self._tell(self._done + self._evaluations * level // levels)

    def decoded(self) -> None:
        """The present decoding is done."""
        self._done += self._evaluations

    def finished(self) -> None:
        """All is done, perhaps before its time."""
        if self._done < self._total:
            self._tell(self._total)

    def _tell(self, done: int) -> None:
        if self._on_step:
            self._on_step(done, self._total)
