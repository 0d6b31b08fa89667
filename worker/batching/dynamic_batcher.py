"""Decodings that several jobs ask for at the same time, computed as one batch.

Who shares a batch changes no bit of a crystal (`cdvae.inference.bucketing`), so jobs need not know
of each other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from cdvae.inference import Decoded, SamplerSpec
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.nn.encoder import Latents
from worker.batching.decode_request import DecodeRequest, compute
from worker.model.engine import Engine, OnStep

CRYSTALS = 256
"""Crystals of a batch of several jobs; those of one job may be more."""
IDLE_DELAY, MAX_QUEUE_DELAY = 0.02, 0.15
"""A batch waits for others until so long nobody has come, and at most so long in all.

Of 32 crystals of Perov-5 a batch takes half as long as of 256.
"""
YIELD_SECONDS = 0.2
"""A batch of others pauses so long at each level, at most, while an urgent one is computed: that
one has the machine to itself, and however many follow it the others go on.
"""
LOOK_SECONDS = 0.5  # s between two looks of a waiting job at its levels, its limit, its client


class DynamicBatcher:
    """Two lanes, each with a thread: an urgent decoding never waits for a batch of others."""

    def __init__(self) -> None:
        self._calm = threading.Event()  # while nothing urgent is computed
        self._calm.set()
        self._urgent = BatchQueue("urgent", 0.0, self._hurry)
        self._others = BatchQueue("others", MAX_QUEUE_DELAY, self._give_way)

    def _hurry(self, group: Sequence[DecodeRequest]) -> None:
        self._calm.clear()
        try:
            compute(group)
        finally:
            self._calm.set()

    def _give_way(self, group: Sequence[DecodeRequest]) -> None:
        compute(group, lambda: self._calm.wait(YIELD_SECONDS))

    def decode(
        self,
        engine: Engine,
        urgent: bool,
        latents: Latents | None,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        on_level: OnStep,
        fixed: Sequence[FixedAttributes] | None = None,
    ) -> Decoded:
        """`Engine.decode`, perhaps with what others ask for; None: latents from the prior.

        `on_level` is called a few times a second, and by the thread that waits: what it has to
        ask of others holds up nobody else's computation. Raises what it raises, or
        NonFiniteSampleError with indices of these crystals.
        """
        lane = self._urgent if urgent else self._others
        kept = [None] * len(seeds) if fixed is None else fixed
        return lane.decode(DecodeRequest(engine, latents, seeds, sampler, kept), on_level)


class BatchQueue:
    def __init__(
        self, name: str, patience: float, compute: Callable[[Sequence[DecodeRequest]], None]
    ) -> None:
        self._patience, self._compute = patience, compute
        self._wishes: deque[DecodeRequest] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, name=f"decode-{name}", daemon=True).start()

    def decode(self, wish: DecodeRequest, on_level: OnStep) -> Decoded:
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

    def _leave(self, wish: DecodeRequest) -> None:
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
            self._compute(group)

    def _gather(self) -> None:
        """Wait for those who are about to come; the first may have left by then."""
        end = time.monotonic() + self._patience
        while sum(len(wish.seeds) for wish in self._wishes) < CRYSTALS:
            left = end - time.monotonic()
            if left <= 0 or not self._changed.wait(min(left, IDLE_DELAY)):
                return

    def _next(self) -> list[DecodeRequest]:
        """The wish that waits longest, and others that go with it."""
        first = self._wishes.popleft()
        group, number = [first], len(first.seeds)
        for wish in list(self._wishes):
            if wish.can_batch_with(first) and number + len(wish.seeds) <= CRYSTALS:
                self._wishes.remove(wish)
                group.append(wish)
                number += len(wish.seeds)
        return group
