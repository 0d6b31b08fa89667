"""Requests that share a batch give the same crystals; a failure stays with its request."""

import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
import torch

from cdvae.errors import Cancelled, NonFiniteSampleError
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference import Decoded, SamplerSpec
from cdvae.nn.encoder import Latents
from tests.waiting import HANG_SECONDS
from tests.worker.laboratory import wait_until
from worker.batching.decode_request import DecodeRequest, compute
from worker.batching.dynamic_batcher import (
    IDLE_DELAY,
    MAX_BATCH_CRYSTALS,
    MAX_QUEUE_DELAY,
    DynamicBatcher,
)

SAMPLER = SamplerSpec("ancestral", 4)
POLL = 0.01


class ManualClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.waits = 0  # waits with a limit that have begun
        self.idle = 0  # waits without a limit that have begun
        self._now = 0.0
        self._condition: threading.Condition | None = None

    def now(self) -> float:
        return self._now

    def wait(self, condition: threading.Condition, seconds: float | None) -> bool:
        if seconds is None:
            self.idle += 1
            return condition.wait()
        self._condition, end = condition, self._now + seconds
        self.waits += 1
        condition.wait()
        return self._now < end

    def advance(self, seconds: float) -> None:
        assert self._condition is not None
        with self._condition:
            self._now += seconds
            self._condition.notify()


class FakeEngine:
    """An engine that records its batches. The edge of each cubic crystal is its seed.

    Seed 13 is never finite, seed 66 raises. `before_level` is called before each of four levels.
    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.before_level: Callable[[list[int], int], object] = lambda seeds, level: None
        self.prior_fails = False

    def sample_latents(self, seeds: Sequence[int]) -> Latents:
        if self.prior_fails:
            raise MemoryError
        return Latents.of(torch.tensor(seeds, dtype=torch.float)[:, None])

    def decode(
        self,
        latents: Latents,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        on_level: Any,
        fixed: Sequence[Any],
    ) -> Decoded:
        assert latents.z[:, 0].tolist() == list(seeds)
        self.batches.append(list(seeds))
        for level in range(1, 5):
            self.before_level(list(seeds), level)
            on_level(level, 4)
        if 13 in seeds:
            raise NonFiniteSampleError([list(seeds).index(13)])
        if 66 in seeds:
            raise ZeroDivisionError
        n = len(seeds)
        edge = torch.tensor(seeds, dtype=torch.float)[:, None, None]
        ones = torch.ones(n, dtype=torch.int64)
        crystals = CrystalBatch(torch.zeros(n, 3), ones, edge * torch.eye(3), ones)
        return Decoded(crystals, {"x": edge.flatten()}, torch.full((n,), 4))


class Jobs:
    """Jobs in threads that share a batcher."""

    def __init__(self, **options: Any) -> None:
        self.batches: list[int] = []
        self.batcher = DynamicBatcher(self.batches.append, poll_interval=POLL, **options)
        self.engine = FakeEngine()
        self.results: dict[str, Any] = {}
        self.threads: list[threading.Thread] = []

    def ask(
        self, name: str, seeds: list[int], on_level: Any = lambda *_: None, urgent: bool = False
    ) -> None:
        def run() -> None:
            try:
                self.results[name] = self.batcher.decode(
                    self.engine,  # type: ignore[arg-type]
                    urgent,
                    None,
                    seeds,
                    SAMPLER,
                    on_level,
                )
            except Exception as error:
                self.results[name] = error

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def result(self, name: str) -> Any:
        return wait_until(lambda: self.results.get(name), f"the end of {name}")

    def end(self) -> None:
        for thread in self.threads:
            thread.join(HANG_SECONDS)


class BusyJobs(Jobs):
    """Jobs behind a first one whose batch continues when `go` is set."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.go = threading.Event()
        self.engine.before_level = self.hold
        self.ask("first", [1000])
        wait_until(lambda: self.engine.batches, "the first batch")

    def hold(self, seeds: list[int], level: int) -> None:
        if seeds == [1000]:
            self.go.wait(HANG_SECONDS)

    def ask(self, name: str, seeds: list[int], *args: Any, **options: Any) -> None:
        before = self.batcher.waiting
        super().ask(name, seeds, *args, **options)
        if self.engine.batches and not options.get("urgent"):
            wait_until(lambda: self.batcher.waiting > before, f"the request of {name}")

    def end(self) -> None:
        self.go.set()
        super().end()


def edges(decoded: Decoded) -> list[float]:
    return list(decoded.crystals.lattice[:, 0, 0].tolist())


def requests(engine: FakeEngine, *seeds: list[int]) -> list[DecodeRequest]:
    return [
        DecodeRequest(engine, None, own, SAMPLER, [None] * len(own))  # type: ignore[arg-type]
        for own in seeds
    ]


def test_waiting_requests_become_one_batch() -> None:
    jobs = BusyJobs()
    jobs.ask("a", [2, 3])
    jobs.ask("b", [4])
    jobs.ask("c", list(range(100, 100 + MAX_BATCH_CRYSTALS - 2)))  # too many for that batch
    jobs.end()
    assert jobs.engine.batches[1] == [2, 3, 4]
    assert jobs.batches == [1, 3, MAX_BATCH_CRYSTALS - 2]
    assert edges(jobs.results["a"]) == jobs.results["a"].properties["x"].tolist() == [2, 3]
    assert edges(jobs.results["b"]) == [4]


def test_a_cancelled_request_leaves_the_batch_to_the_others() -> None:
    engine = FakeEngine()
    stays, goes = requests(engine, [2], [3])

    def cancel(seeds: list[int], level: int) -> None:
        goes.cancelled = level >= 2

    engine.before_level = cancel
    compute([stays, goes])
    assert engine.batches == [[2, 3]]
    assert goes.error is not None
    assert goes.progress[0] >= 2
    assert stays.decoded is not None
    assert edges(stays.decoded) == [2]


def test_a_batch_ends_when_all_its_requests_are_cancelled() -> None:
    engine = FakeEngine()
    batch = requests(engine, [2], [3])
    levels: list[int] = []

    def cancel(seeds: list[int], level: int) -> None:
        levels.append(level)
        for request in batch:
            request.cancelled = True

    engine.before_level = cancel
    compute(batch)
    assert levels == [1]
    assert all(request.error is not None for request in batch)


def test_a_job_can_stop_while_it_is_computed() -> None:
    jobs = Jobs()
    jobs.engine.before_level = lambda *_: wait_until(lambda: called, "a call of on_level")
    called = []

    def cancel(level: int, levels: int) -> None:
        called.append(level / levels)
        raise Cancelled

    jobs.ask("goes", [3], cancel)
    assert isinstance(jobs.result("goes"), Cancelled)
    jobs.end()


def test_a_job_can_stop_while_it_waits() -> None:
    def cancel(level: int, levels: int) -> None:
        raise Cancelled

    jobs = BusyJobs()
    Jobs.ask(jobs, "never", [4], cancel)
    assert isinstance(jobs.result("never"), Cancelled)
    jobs.end()
    assert jobs.engine.batches == [[1000]]


@pytest.mark.parametrize(("seed", "kind"), [(13, NonFiniteSampleError), (66, ZeroDivisionError)])
def test_an_error_reaches_the_job_that_caused_it(seed: int, kind: type[Exception]) -> None:
    engine = FakeEngine()
    a, b, c = requests(engine, [2, 3], [4, seed], [5])
    compute([a, b, c])
    assert a.decoded is not None
    assert edges(a.decoded) == [2, 3]
    assert c.decoded is not None
    assert edges(c.decoded) == [5]
    assert isinstance(b.error, kind)
    if isinstance(b.error, NonFiniteSampleError):
        assert b.error.indices == (1,)


class AlwaysNonFinite(FakeEngine):
    """Make the first crystal of every batch not finite, and record the depth of the stack."""

    depths: ClassVar[set[int]] = set()

    def decode(self, *_: Any) -> Decoded:
        self.depths.add(len(traceback.extract_stack()))
        raise NonFiniteSampleError([0])


def test_many_failures_need_no_deep_stack() -> None:
    engine = AlwaysNonFinite()
    batch = requests(engine, *[[13]] * 20)
    compute(batch)
    assert len(engine.depths) == 1
    assert all(isinstance(request.error, NonFiniteSampleError) for request in batch)


def test_an_error_after_the_decoding_reaches_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def select(self: Decoded, rows: Any) -> Decoded:
        raise MemoryError

    jobs = Jobs()
    monkeypatch.setattr(Decoded, "select", select)
    jobs.ask("a", [2])
    assert isinstance(jobs.result("a"), MemoryError)
    monkeypatch.undo()
    jobs.ask("b", [3])
    assert edges(jobs.result("b")) == [3]


def test_an_error_of_the_queue_ends_no_later_job() -> None:
    def fail(crystals: int) -> None:
        if crystals == 2:
            raise MemoryError

    jobs = Jobs()
    jobs.batcher._on_batch = fail
    jobs.ask("a", [2, 3])
    assert isinstance(jobs.result("a"), MemoryError)
    jobs.ask("b", [3])
    assert edges(jobs.result("b")) == [3]


def test_an_urgent_decoding_does_not_wait() -> None:
    jobs = BusyJobs()
    jobs.ask("normal", [2])
    jobs.ask("urgent", [3], urgent=True)
    assert edges(jobs.result("urgent")) == [3]
    assert jobs.engine.batches == [[1000], [3]]
    jobs.end()


@pytest.mark.parametrize(("max_pause", "waits"), [(HANG_SECONDS, True), (0.0, False)])
def test_a_normal_batch_pauses_while_an_urgent_one_is_computed(
    max_pause: float, waits: bool
) -> None:
    jobs, hold, levels = BusyJobs(max_pause=max_pause), threading.Event(), []

    def before_level(seeds: list[int], level: int) -> None:
        jobs.hold(seeds, level)
        levels.append((seeds[0], level))
        if seeds == [3]:
            hold.wait(HANG_SECONDS)

    jobs.engine.before_level = before_level
    jobs.ask("urgent", [3], urgent=True)
    wait_until(lambda: (3, 1) in levels, "the first level of the urgent batch")
    jobs.go.set()
    if waits:
        assert "first" not in jobs.results
        hold.set()
        assert edges(jobs.result("urgent")) == [3]
    assert edges(jobs.result("first")) == [1000]
    assert ("urgent" in jobs.results) == waits
    hold.set()
    jobs.end()
    assert edges(jobs.results["urgent"]) == [3]


class TimedJobs(Jobs):
    """Jobs whose batcher has a clock that the test sets."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        super().__init__(clock=self.clock)
        wait_until(lambda: self.clock.idle == 2, "two idle queues")

    def ask_and_wait(self, name: str, seeds: list[int]) -> None:
        before = self.clock.waits
        self.ask(name, seeds)
        wait_until(lambda: self.clock.waits > before, f"the queue of {name} waits")


def test_a_batch_closes_after_the_idle_delay() -> None:
    jobs = TimedJobs()
    jobs.ask_and_wait("a", [2])
    jobs.ask_and_wait("b", [3])
    jobs.clock.advance(IDLE_DELAY)
    assert edges(jobs.result("a")) == [2]
    jobs.end()
    assert jobs.engine.batches == [[2, 3]]


def test_a_batch_closes_after_the_delay_in_total() -> None:
    jobs = TimedJobs()
    jobs.ask_and_wait("a", [2])
    number = round(MAX_QUEUE_DELAY / IDLE_DELAY * 2) - 1
    for i in range(number):
        jobs.clock._now += IDLE_DELAY / 2
        jobs.ask_and_wait(f"{i}", [3])
    assert not jobs.engine.batches
    jobs.clock._now += IDLE_DELAY / 2
    jobs.ask("last", [4])
    assert edges(jobs.result("last")) == [4]
    jobs.end()
    assert jobs.batches == [number + 2]


def test_a_full_batch_does_not_wait() -> None:
    jobs = TimedJobs()
    jobs.ask_and_wait("a", [2])
    assert not jobs.engine.batches
    jobs.ask("now", [3], urgent=True)
    assert edges(jobs.result("now")) == [3]
    jobs.ask("b", list(range(100, 99 + MAX_BATCH_CRYSTALS)))
    jobs.end()
    assert jobs.batches == [1, MAX_BATCH_CRYSTALS]
    assert edges(jobs.results["a"]) == [2]


def test_a_request_that_is_withdrawn_before_its_batch_does_no_harm() -> None:
    def cancel(level: int, levels: int) -> None:
        raise Cancelled

    jobs = TimedJobs()
    jobs.ask("goes", [2], cancel)
    assert isinstance(jobs.result("goes"), Cancelled)
    wait_until(lambda: jobs.clock.waits, "the queue waits")
    jobs.clock.advance(IDLE_DELAY)
    wait_until(lambda: jobs.clock.idle == 3, "an idle queue")
    jobs.ask_and_wait("later", [3])
    jobs.clock.advance(IDLE_DELAY)
    jobs.end()
    assert jobs.engine.batches == [[3]]
    assert edges(jobs.results["later"]) == [3]
