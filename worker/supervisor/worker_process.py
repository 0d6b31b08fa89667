"""The entry point of the worker process."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Sequence
from functools import partial

from redis import Redis

from cdvae_service.jobstore.ledger import REDIS_GONE
from cdvae_service.models.store_errors import StoreError
from cdvae_service.telemetry.logs import configure_logging
from worker.model.model_cache import model_store
from worker.supervisor.device_worker import DeviceWorker
from worker.supervisor.executor_link import ExecutorStartError
from worker.supervisor.executor_process import EXECUTOR_COMMAND, start_executor
from worker.supervisor.leases import connect
from worker.supervisor.stop_signal import StopSignal
from worker.supervisor.worker_metrics import start as start_metrics
from worker.worker_settings import WorkerSettings

log = logging.getLogger("worker.supervisor.worker_process")

REDIS_WAIT = 60.0  # s; then the process manager should learn of the problem


def main(executor_command: Sequence[str] = EXECUTOR_COMMAND) -> int:
    """Work until a request to stop; return the exit status: 0, or another one after a failure.

    os.EX_CONFIG means that a restart cannot help, because there is no usable model.
    """
    settings = WorkerSettings()
    configure_logging(settings.log_level, settings.log_json)
    connection = connect(settings.redis_url)
    if not _wait_for(connection):
        log.error("Redis does not answer; is CDVAE_REDIS_URL right?")
        return 1
    try:
        store = model_store(settings)
    except StoreError as error:
        log.error("%s", error)
        return os.EX_CONFIG
    metrics = start_metrics(
        store, settings.home, settings.worker_metrics_host, settings.worker_metrics_port
    )
    name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    stop = StopSignal(settings.shutdown_grace)
    stop.install()
    worker = DeviceWorker(
        connection,
        settings,
        name=name,
        metrics=metrics,
        start_executor=partial(start_executor, name, settings, executor_command),
        stop=stop,
    )
    try:
        worker.run()
    except ExecutorStartError as error:
        log.error("%s", error)
        return os.EX_CONFIG if error.status == os.EX_CONFIG else 1
    return 0


def _wait_for(connection: Redis) -> bool:
    end = time.monotonic() + REDIS_WAIT
    while time.monotonic() < end:
        try:
            connection.ping()
            return True
        except REDIS_GONE as error:
            log.warning("waiting for Redis: %s", error)
            time.sleep(1.0)
    return False


if __name__ == "__main__":
    raise SystemExit(main())
