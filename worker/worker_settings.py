"""Settings of the worker, from environment variables that start with CDVAE_."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator
from pydantic_settings import NoDecode

from cdvae_schema.requests import Priority
from cdvae_schema.wire import QUEUES
from cdvae_service.service_settings import ServiceSettings


def usable_cpus() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """Return OMP_NUM_THREADS where it is set, else the number of usable cores."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdigit() and int(value) > 0 else usable_cpus()


class WorkerSettings(ServiceSettings):
    """Everything that can be set about a worker."""

    queues: Annotated[list[Priority], NoDecode] = Field(
        default=list(QUEUES), min_length=1, description="Queues to serve, most urgent first."
    )
    device: str = Field(default="auto", description="`cpu`, `cuda`, `cuda:1` … or `auto`.")
    threads: PositiveInt = Field(default_factory=default_threads, description="Of torch.")
    preload: Annotated[list[str], NoDecode] = Field(
        default=[], description="Models to load at start; none: the store's default model."
    )
    max_models: PositiveInt = Field(default=2, description="Models kept in memory at a time.")
    max_concurrent_jobs: PositiveInt = Field(
        default=128, description="Jobs that run side by side and share batches."
    )
    load_timeout: PositiveFloat = Field(default=300.0, description="For loading at start, s.")
    timeout_grace: PositiveFloat = Field(
        default=10.0, description="Until a job over its time that does not stop is killed, s."
    )
    shutdown_grace: NonNegativeInt = Field(
        default=10, description="Given to a running job at shutdown before it is requeued, s."
    )
    worker_metrics_host: str = Field(
        default="127.0.0.1", description="Address of the metrics server."
    )
    worker_metrics_port: NonNegativeInt = Field(default=9464, le=65535, description="0: off.")

    @field_validator("preload", "queues", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Environment variables separate the names by commas."""
        if isinstance(value, str):
            return [name.strip() for name in value.split(",") if name.strip()]
        return value
