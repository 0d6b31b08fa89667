"""Decodings that several jobs ask for at the same time, computed as one batch.

Who shares a batch changes no bit of a crystal (`cdvae.batches`), so jobs need not know of each
other. What goes wrong with one stays with it: its cancellation, its time limit, a crystal of its
own that is not finite.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from cdvae.errors import NonFiniteSampleError
from cdvae.model.encoder import Latents
from cdvae.pipeline import Decoded, SamplerSpec
from cdvae.sampling.fixed import Fixed
from worker.engine import Engine, OnStep

log = logging.getLogger(__name__)

CRYSTALS = 256
"""Crystals of a batch of several jobs; those of one job may be more."""
QUIET_SECONDS, PATIENCE_SECONDS = 0.02, 0.15
"""A batch waits for others until so long nobody has come, and at most so long in all.

Of 32 crystals of Perov-5 a batch takes half as long as of 256.
"""
LOOK_SECONDS = 0.5  # s between two looks of a waiting job at its levels, its limit, its client


class _NobodyWaitsError(Exception):
    """All who asked for the batch have gone."""


@dataclass(eq=False)
class _Wish:
    """What one job asks for, and what it gets. Without latents they are drawn from the prior."""

    engine: Engine
    latents: Latents | None
    seeds: Sequence[int]
    sampler: SamplerSpec
    fixed: Sequence[Fixed | None]
    level: tuple[int, int] = (0, 1)  # done, in all
    over: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False
    decoded: Decoded | None = None
    error: BaseException | None = None

    def goes_with(self, other: _Wish) -> bool:
        return self.engine is other.engine and self.sampler == other.sampler

    def end(self, decoded: Decoded | None = None, error: BaseException | None = None) -> None:
        if not self.over.is_set():
            self.decoded, self.error = decoded, error
            self.over.set()


class Together:
    """Two lanes, each with a thread: an urgent decoding never waits for a batch of others."""

    def __init__(self) -> None:
        self._urgent, self._others = _Lane("urgent", 0.0), _Lane("others", PATIENCE_SECONDS)

    def decode(
        self,
        engine: Engine,
        urgent: bool,
        latents: Latents | None,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        on_level: OnStep,
        fixed: Sequence[Fixed] | None = None,
    ) -> Decoded:
        """`Engine.decode`, perhaps with what others ask for; None: latents from the prior.

        `on_level` is called a few times a second, and by the thread that waits: what it has to
        ask of others holds up nobody else's computation. Raises what it raises, or
        NonFiniteSampleError with indices of these crystals.
        """
        lane = self._urgent if urgent else self._others
        kept = [None] * len(seeds) if fixed is None else fixed
        return lane.decode(_Wish(engine, latents, seeds, sampler, kept), on_level)


class _Lane:
    def __init__(self, name: str, patience: float) -> None:
        self._patience = patience
        self._wishes: deque[_Wish] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, name=f"decode-{name}", daemon=True).start()

    def decode(self, wish: _Wish, on_level: OnStep) -> Decoded:
        with self._changed:
            self._wishes.append(wish)
            self._changed.notify()
        try:
            while not wish.over.wait(LOOK_SECONDS):
                on_level(*wish.level)
        except BaseException:
            wish.abandoned = True
            self._leave(wish)
            raise
        if wish.error is not None:
            raise wish.error
        assert wish.decoded is not None
        return wish.decoded

    def _leave(self, wish: _Wish) -> None:
        """Return when nothing is computed for the wish any more.

        A computation that does not come to its next level keeps its job: the worker then kills
        the process, as only that can end it.
        """
        with self._changed:
            if wish in self._wishes:
                self._wishes.remove(wish)
                return
        wish.over.wait()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._wishes:
                    self._changed.wait()
                    self._gather()
                group = self._next()
            _compute(group)

    def _gather(self) -> None:
        """Wait for those who are about to come; the first may have left by then."""
        end = time.monotonic() + self._patience
        while sum(len(wish.seeds) for wish in self._wishes) < CRYSTALS:
            left = end - time.monotonic()
            if left <= 0 or not self._changed.wait(min(left, QUIET_SECONDS)):
                return

    def _next(self) -> list[_Wish]:
        """The wish that waits longest, and others that go with it."""
        first = self._wishes.popleft()
        group, number = [first], len(first.seeds)
        for wish in list(self._wishes):
            if wish.goes_with(first) and number + len(wish.seeds) <= CRYSTALS:
                self._wishes.remove(wish)
                group.append(wish)
                number += len(wish.seeds)
        return group


def _compute(group: Sequence[_Wish]) -> None:
    """End every wish of the group."""
    group = [wish for wish in group if not wish.over.is_set()]
    if not group:
        return
    places = _places(group)
    try:
        decoded = _decode(group)
    except _NobodyWaitsError:
        return
    except NonFiniteSampleError as error:
        for wish, place in zip(group, places, strict=True):
            own = [index - place.start for index in error.indices if index in place]
            if own:
                wish.end(error=NonFiniteSampleError(own))
        _compute(group)
    except BaseException as error:
        if len(group) == 1:
            group[0].end(error=error)
        for wish in group:  # whose error it was shows when each is alone
            _compute([wish])
    else:
        for wish, place in zip(group, places, strict=True):
            wish.end(decoded.select(place))


def _places(group: Sequence[_Wish]) -> list[range]:
    """The rows of each wish in the batch."""
    places, start = [], 0
    for wish in group:
        places.append(range(start, start + len(wish.seeds)))
        start += len(wish.seeds)
    return places


def _decode(group: Sequence[_Wish]) -> Decoded:
    def on_level(level: int, levels: int) -> None:
        for wish in group:
            wish.level = (level, levels)
            if wish.abandoned:
                wish.end(error=_NobodyWaitsError())
        if all(wish.over.is_set() for wish in group):
            raise _NobodyWaitsError

    first = group[0]
    log.debug("%d crystals for %d jobs", sum(len(wish.seeds) for wish in group), len(group))
    drawn = [seed for wish in group if wish.latents is None for seed in wish.seeds]
    prior = first.engine.sample_latents(drawn) if drawn else None
    parts, row = [], 0
    for wish in group:
        if wish.latents is None:
            assert prior is not None
            parts.append(prior.select(range(row, row + len(wish.seeds))))
            row += len(wish.seeds)
        else:
            parts.append(wish.latents)
    seeds = [seed for wish in group for seed in wish.seeds]
    fixed = [one for wish in group for one in wish.fixed]
    return first.engine.decode(Latents.cat(parts), seeds, first.sampler, on_level, fixed)
