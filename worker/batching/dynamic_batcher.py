"""Dynamic batching: decodings that several jobs request at the same time become one batch.

The composition of a batch changes no bit of a crystal (`cdvae.inference.bucketing`), so jobs do not
depend on each other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from cdvae.inference import Decoded, SamplerSpec
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.nn.encoder import Latents
from worker.batching.decode_request import DecodeRequest, compute
from worker.model.engine import Engine, OnStep

log = logging.getLogger(__name__)

MAX_BATCH_CRYSTALS = 256
"""Crystals in a batch of several jobs; a single job may exceed it."""
IDLE_DELAY, MAX_QUEUE_DELAY = 0.02, 0.15
"""s; a batch closes after IDLE_DELAY without a new request, or MAX_QUEUE_DELAY in total.

A batch of 32 crystals of Perov-5 takes half as long as one of 256.
"""
MAX_PAUSE = 0.2
"""s; a normal batch pauses for at most this time after each noise level while an urgent one is
computed. The urgent batch gets the whole machine, and a stream of them never stops the others.
"""
POLL_INTERVAL = 0.5  # s between two calls of `on_level` by a waiting job


class Clock(Protocol):
    """The time, and a wait on a condition that the time ends."""

    def now(self) -> float:
        """Return the time in s, from any origin."""

    def wait(self, condition: threading.Condition, seconds: float | None) -> bool:
        """Wait for a notification; return False after `seconds` without one."""


class MonotonicClock:
    """The clock of the machine."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, condition: threading.Condition, seconds: float | None) -> bool:
        return condition.wait(seconds)


class DynamicBatcher:
    """Two queues with one thread each: an urgent decoding never waits for a normal batch.

    on_batch: called with the number of crystals of every batch that starts.
    """

    def __init__(
        self,
        on_batch: Callable[[int], object] = lambda crystals: None,
        *,
        clock: Clock | None = None,
        max_pause: float = MAX_PAUSE,
        poll_interval: float = POLL_INTERVAL,
    ) -> None:
        clock = clock or MonotonicClock()
        self._on_batch, self._max_pause = on_batch, max_pause
        self._not_urgent = threading.Event()  # set while no urgent batch is computed
        self._not_urgent.set()
        self._urgent = BatchQueue("urgent", 0.0, self._compute_urgent, clock, poll_interval)
        self._normal = BatchQueue(
            "normal", MAX_QUEUE_DELAY, self._compute_normal, clock, poll_interval
        )

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
        """Return what `Engine.decode` returns; latents of None are drawn from the prior.

        The calling thread calls `on_level` a few times a second while it waits, so that a slow
        callback delays no other job. Raises the errors of `on_level` and of the decoding;
        NonFiniteSampleError has the indices of these crystals.
        """
        queue = self._urgent if urgent else self._normal
        attributes = [None] * len(seeds) if fixed is None else fixed
        return queue.decode(DecodeRequest(engine, latents, seeds, sampler, attributes), on_level)

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a batch."""
        return self._urgent.waiting + self._normal.waiting

    def _compute_urgent(self, batch: Sequence[DecodeRequest]) -> None:
        self._not_urgent.clear()
        try:
            self._note(batch)
            compute(batch)
        finally:
            self._not_urgent.set()

    def _compute_normal(self, batch: Sequence[DecodeRequest]) -> None:
        self._note(batch)
        compute(batch, lambda: self._not_urgent.wait(self._max_pause))

    def _note(self, batch: Sequence[DecodeRequest]) -> None:
        self._on_batch(sum(len(request.seeds) for request in batch))


class BatchQueue:
    """Requests that wait for a batch, and the thread that computes one batch after another."""

    def __init__(
        self,
        name: str,
        max_delay: float,
        compute: Callable[[Sequence[DecodeRequest]], None],
        clock: Clock,
        poll_interval: float = POLL_INTERVAL,
    ) -> None:
        self._max_delay, self._compute, self._clock = max_delay, compute, clock
        self._poll_interval = poll_interval
        self._requests: deque[DecodeRequest] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, name=f"decode-{name}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a batch."""
        with self._changed:
            return len(self._requests)

    def decode(self, request: DecodeRequest, on_level: OnStep) -> Decoded:
        """Wait for the request's batch; see `DynamicBatcher.decode`."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify()
        try:
            while not request.done.wait(self._poll_interval):
                on_level(*request.progress)
        except BaseException:
            request.cancelled = True
            self._withdraw(request)
            raise
        if request.error is not None:
            raise request.error
        assert request.decoded is not None
        return request.decoded

    def _withdraw(self, request: DecodeRequest) -> None:
        """Return when nothing is computed for the request any more.

        If the computation never reaches its next noise level, this never returns: only the end of
        the process stops such a computation, and the worker then kills it.
        """
        with self._changed:
            if request in self._requests:
                self._requests.remove(request)
                return
        request.done.wait()

    def _serve(self) -> None:
        while True:
            batch: list[DecodeRequest] = []
            try:
                with self._changed:
                    while not self._requests:
                        self._clock.wait(self._changed, None)
                        self._gather()
                    self._take_into(batch)
                self._compute(batch)
            except BaseException as error:  # this thread serves all later jobs: it must not end
                log.exception("a batch of %d requests failed", len(batch))
                for request in batch:
                    request.finish(error=error)

    def _gather(self) -> None:
        """Wait for more requests; those that are waiting may be withdrawn meanwhile."""
        end = self._clock.now() + self._max_delay
        while sum(len(request.seeds) for request in self._requests) < MAX_BATCH_CRYSTALS:
            left = end - self._clock.now()
            if left <= 0 or not self._clock.wait(self._changed, min(left, IDLE_DELAY)):
                return

    def _take_into(self, batch: list[DecodeRequest]) -> None:
        """Move the request that has waited longest, and others that fit its batch, to `batch`."""
        batch.append(self._requests.popleft())
        crystals = len(batch[0].seeds)
        for request in list(self._requests):
            fits = crystals + len(request.seeds) <= MAX_BATCH_CRYSTALS
            if fits and request.can_batch_with(batch[0]):
                self._requests.remove(request)
                batch.append(request)
                crystals += len(request.seeds)
