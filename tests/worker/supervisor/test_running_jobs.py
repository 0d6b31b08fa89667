"""The number of jobs that a worker takes at a time."""

from worker.supervisor.running_jobs import COUNTED, FULL, RunningJob, queues_with_room


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
