"""Jobs that share batches: the same crystals, and what goes wrong with one stays with it."""

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from cdvae.errors import Cancelled, NonFiniteSampleError
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference import Decoded, SamplerSpec
from cdvae.nn.encoder import Latents
from tests.worker.laboratory import Lab, wait_until
from worker.batching.dynamic_batcher import CRYSTALS, LOOK_SECONDS, DynamicBatcher
from worker.supervisor.running_jobs import COUNTED, FULL, RunningJob, queues_with_room

SAMPLER = SamplerSpec("ancestral", 4)


class Recorder:
    """An engine that notes its batches; the first one waits until the others have been asked for.

    A crystal is a cube whose edge is its seed; seed 13 is never finite.
    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.pause = 0.0  # s after each level
        self.held: dict[int, threading.Event] = {}  # by the first seed of a batch

    def sample_latents(self, seeds: Sequence[int]) -> Latents:
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
        self.go.wait(10)
        if seeds[0] in self.held:
            self.held[seeds[0]].wait(10)
        for level in range(1, 5):
            on_level(level, 4)
            time.sleep(self.pause)
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
    """Jobs in threads, asked for one after another behind a first one that keeps them waiting."""

    def __init__(self) -> None:
        self.together, self.engine = DynamicBatcher(), Recorder()
        self.results: dict[str, Any] = {}
        self.threads: list[threading.Thread] = []
        self.ask("first", [1000])
        wait_until(lambda: self.engine.batches, "the first batch")

    def ask(
        self, name: str, seeds: list[int], on_level: Any = lambda *_: None, urgent: bool = False
    ) -> None:
        def run() -> None:
            try:
                self.results[name] = self.together.decode(
                    self.engine,
                    urgent,
                    None,
                    seeds,
                    SAMPLER,
                    on_level,  # type: ignore[arg-type]
                )
            except Exception as error:
                self.results[name] = error

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        time.sleep(0.05)

    def end(self) -> None:
        self.engine.go.set()
        for thread in self.threads:
            thread.join(10)


class Idle(Jobs):
    """Jobs in threads; nothing is computed when the first one comes, and nothing is held up."""

    def __init__(self) -> None:
        self.together, self.engine = DynamicBatcher(), Recorder()
        self.results, self.threads = {}, []
        self.engine.go.set()


def edges(decoded: Decoded) -> list[float]:
    return list(decoded.crystals.lattice[:, 0, 0].tolist())


def test_what_waits_is_computed_together_and_given_to_whom_it_belongs() -> None:
    jobs = Jobs()
    jobs.ask("a", [2, 3])
    jobs.ask("b", [4])
    jobs.ask("c", list(range(100, 100 + CRYSTALS - 2)))  # does not fit beside the others
    jobs.end()
    assert jobs.engine.batches[1] == [2, 3, 4]
    assert len(jobs.engine.batches[2]) == CRYSTALS - 2
    assert edges(jobs.results["a"]) == jobs.results["a"].properties["x"].tolist() == [2, 3]
    assert edges(jobs.results["b"]) == [4]


def test_a_cancelled_job_leaves_the_batch_to_the_others() -> None:
    seen = []

    def forbid(level: int, levels: int) -> None:
        raise Cancelled

    def cancel(level: int, levels: int) -> None:
        seen.append(level / levels)
        if level > 0:
            raise Cancelled

    jobs = Jobs()
    jobs.engine.pause = 2 * LOOK_SECONDS
    jobs.ask("stays", [2])
    jobs.ask("goes", [3], cancel)
    jobs.ask("never", [4], forbid)  # and this one before anybody computes it
    wait_until(lambda: "never" in jobs.results, "a cancellation of what waits")
    jobs.end()
    assert isinstance(jobs.results["goes"], Cancelled)
    assert isinstance(jobs.results["never"], Cancelled)
    assert jobs.engine.batches == [[1000], [2, 3]]
    assert 0 < seen[-1] < 1
    assert edges(jobs.results["stays"]) == [2]


@pytest.mark.parametrize(("seed", "kind"), [(13, NonFiniteSampleError), (66, ZeroDivisionError)])
def test_an_error_is_told_to_the_job_whose_it_is(seed: int, kind: type[Exception]) -> None:
    jobs = Jobs()
    jobs.ask("a", [2, 3])
    jobs.ask("b", [4, seed])
    jobs.ask("c", [5])
    jobs.end()
    assert edges(jobs.results["a"]) == [2, 3]
    assert edges(jobs.results["c"]) == [5]
    assert isinstance(jobs.results["b"], kind)
    if isinstance(jobs.results["b"], NonFiniteSampleError):
        assert jobs.results["b"].indices == (1,)


def test_an_urgent_decoding_does_not_wait() -> None:
    jobs = Jobs()
    jobs.ask("bulk", [2])
    jobs.ask("urgent", [3], urgent=True)
    assert jobs.engine.batches == [[1000], [3]]
    jobs.end()
    assert edges(jobs.results["urgent"]) == [3]


@pytest.mark.parametrize(("pause", "waits"), [(60.0, True), (0.01, False)])
def test_others_give_way_to_an_urgent_decoding_for_a_while(
    monkeypatch: pytest.MonkeyPatch, pause: float, waits: bool
) -> None:
    monkeypatch.setattr("worker.batching.dynamic_batcher.YIELD_SECONDS", pause)
    jobs, hold = Jobs(), threading.Event()
    jobs.engine.held[3] = hold  # the urgent one stays at its first level
    jobs.ask("urgent", [3], urgent=True)
    assert jobs.engine.batches == [[1000], [3]]
    jobs.engine.go.set()
    jobs.threads[0].join(2 * LOOK_SECONDS)
    assert jobs.threads[0].is_alive() == waits
    assert jobs.threads[1].is_alive()
    hold.set()
    jobs.end()
    assert edges(jobs.results["first"]) == [1000]
    assert edges(jobs.results["urgent"]) == [3]


class _Job:
    def __init__(self, number: int) -> None:
        self.args = [{"num_samples": number}]


def running(*numbers: int) -> list[RunningJob]:
    return [RunningJob(_Job(n), None, 0) for n in numbers]  # type: ignore[arg-type]


def test_a_worker_takes_what_fills_a_batch_and_then_the_most_urgent_alone() -> None:
    queues = ("interactive", "normal", "bulk")
    assert queues_with_room([], queues, 1) == queues
    assert queues_with_room(running(4), queues, 1) == ()
    assert queues_with_room(running(*[4] * 20), queues, 64) == queues
    assert queues_with_room(running(10_000), queues, 64) == queues
    full = running(*[10_000] * (FULL // COUNTED))
    assert queues_with_room(full, queues, 64) == ("interactive",)
    assert queues_with_room(full, queues, len(full)) == ()
    assert queues_with_room(running(*[1] * 55), queues, 64) == queues
    assert queues_with_room(running(*[1] * 56), queues, 64) == ("interactive",)
    assert queues_with_room(running(*[1] * 64), queues, 64) == ()


@pytest.fixture(scope="module")
def worker(lab: Lab) -> Iterator[subprocess.Popen[bytes]]:
    worker = lab.start_worker(CDVAE_MAX_CONCURRENT_JOBS="16")
    yield worker
    worker.terminate()
    worker.wait(20)


def test_jobs_side_by_side_give_what_each_gives_alone(
    lab: Lab, worker: subprocess.Popen[bytes]
) -> None:
    alone = [lab.submit("generate", "tiny", seed=seed) for seed in (1, 2)]
    expected = [lab.end(job) and lab.crystals(job) for job in alone]
    blocking = lab.submit("generate", "slow", num_samples=4)
    wait_until(lambda: lab.progress(blocking).get("samples_done") == "2", "the first chunk")
    # Another model's decoding waits behind the slow one, so these two are asked for together.
    jobs = [lab.submit("generate", "tiny", seed=seed) for seed in (1, 2)]
    wait_until(lambda: all(lab.state(job) == "started" for job in jobs), "both started")
    urgent = lab.submit("generate", "tiny", priority="interactive")
    assert lab.end(urgent, timeout=30) == "succeeded"
    assert lab.state(blocking) == "started"
    lab.cancel(blocking)
    assert lab.end(blocking) == "cancelled"
    for job, crystals in zip(jobs, expected, strict=True):
        assert lab.end(job) == "succeeded"
        assert lab.crystals(job) == crystals


def test_a_job_that_kills_its_process_takes_no_other_with_it(
    lab: Lab, worker: subprocess.Popen[bytes]
) -> None:
    others = [lab.submit("generate", "paced", num_samples=6) for _ in range(3)]
    wait_until(lambda: all(lab.state(job) == "started" for job in others), "the others started")
    deadly = lab.submit("generate", "killed")
    assert lab.end(deadly, timeout=150) == "failed"  # two new processes come up on the way
    assert lab.error(deadly).code == "worker_lost"
    for job in others:
        assert lab.end(job, timeout=60) == "succeeded"
        assert len(lab.crystals(job)) == 6


def test_a_batch_waits_for_those_who_are_about_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.batching.dynamic_batcher.IDLE_DELAY", 60.0)
    monkeypatch.setattr("worker.batching.dynamic_batcher.MAX_QUEUE_DELAY", 60.0)
    jobs = Idle()
    jobs.ask("a", [2])
    assert not jobs.engine.batches
    jobs.ask("now", [3], urgent=True)
    wait_until(lambda: "now" in jobs.results, "the urgent one, which waits for nobody")
    jobs.ask("b", list(range(100, 99 + CRYSTALS)))  # it is full
    jobs.end()
    assert [len(batch) for batch in jobs.engine.batches] == [1, CRYSTALS]
    assert edges(jobs.results["a"]) == [2]


def test_who_leaves_before_his_batch_begins_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.batching.dynamic_batcher.IDLE_DELAY", 3 * LOOK_SECONDS)
    monkeypatch.setattr("worker.batching.dynamic_batcher.MAX_QUEUE_DELAY", 3 * LOOK_SECONDS)

    def forbid(level: int, levels: int) -> None:
        raise Cancelled

    jobs = Idle()
    jobs.ask("goes", [2], forbid)
    wait_until(lambda: "goes" in jobs.results, "its end")
    jobs.ask("later", [3])
    jobs.end()
    assert jobs.engine.batches == [[3]]
    assert edges(jobs.results["later"]) == [3]
