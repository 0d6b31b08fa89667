"""The end of a worker, of its processes and of its jobs."""

import os
import signal
import subprocess
import sys

import psutil

from tests.waiting import HANG_SECONDS
from tests.worker.laboratory import WORKER, Lab, executors, wait_until


def test_an_idle_worker_ends_at_once(lab: Lab) -> None:
    worker = lab.start_worker()
    (executor,) = executors(worker)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    assert lab.presences() == []
    psutil.wait_procs([executor], timeout=HANG_SECONDS)
    assert not executor.is_running()


def test_a_worker_with_an_analysis_pool_leaves_no_semaphores(lab: Lab) -> None:
    worker = lab.start_worker(CDVAE_THREADS="3")
    worker.send_signal(signal.SIGINT)
    assert worker.wait(HANG_SECONDS) == 0
    log = lab.log.read_text()
    assert "leaked semaphore" not in log
    assert "Traceback" not in log


def test_a_running_job_goes_back_to_its_queue_and_is_done_by_the_next_worker(lab: Lab) -> None:
    worker = lab.start_worker()
    (executor,) = executors(worker)
    waiting = lab.submit("generate", "slow", num_samples=6)
    wait_until(lambda: lab.progress(waiting).get("samples_done") == "2", "the first chunk")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    psutil.wait_procs([executor], timeout=HANG_SECONDS)
    assert not executor.is_running()
    assert lab.state(waiting) == "queued"
    assert lab.queue().job_ids == [waiting.id]
    assert lab.queue().started_job_registry.count == 0

    next_worker = lab.start_worker()
    wait_until(lambda: lab.progress(waiting).get("samples_done") == "4", "its own first chunk")
    (executor,) = executors(next_worker)
    lab.cancel(waiting)
    assert lab.end(waiting) == "cancelled"
    assert len(lab.crystals(waiting)) == 4

    # An executor that dies while there are no jobs is replaced.
    executor.kill()
    wait_until(lambda: executors(next_worker) not in ([], [executor]), "another executor")
    assert lab.end(lab.submit("generate")) == "succeeded"

    # An executor does not outlive a worker that was killed.
    (executor,) = executors(next_worker)
    next_worker.kill()
    next_worker.wait()
    psutil.wait_procs([executor], timeout=HANG_SECONDS)
    assert not executor.is_running()


def test_a_worker_without_a_model_says_so_and_ends(lab: Lab) -> None:
    variables = {
        "CDVAE_HOME": str(lab.folder / "home"),
        "CDVAE_REDIS_URL": lab.url,
        "CDVAE_MODEL_STORE": str(lab.folder / "nowhere"),
        "CDVAE_WORKER_METRICS_PORT": "0",
    }
    ended = subprocess.run(
        [sys.executable, str(WORKER)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert ended.returncode == os.EX_CONFIG
    assert "nowhere" in ended.stderr
    assert "no default model" in ended.stderr
    assert "Traceback" not in ended.stderr
