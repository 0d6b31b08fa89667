"""Settings of the front end, read from environment variables with the prefix `CDVAE_`."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from cdvae_service.service_settings import ServiceSettings

MEGABYTE = 1024 * 1024


class Settings(ServiceSettings):
    """Where things are and how much a client may ask for; `CDVAE_REDIS_URL` sets `redis_url`, …"""

    model_refresh: float = Field(
        default=15.0, gt=0, description="Seconds between two checks of the model store."
    )
    redis_timeout: float = Field(default=5.0, gt=0, description="Seconds for one Redis call.")
    max_body_bytes: int = Field(default=20 * MEGABYTE, ge=1, description="Largest body, bytes.")
    body_seconds: float = Field(default=60.0, gt=0, description="Seconds for receiving a body.")
    parsers: int = Field(default=2, ge=1, description="Processes that read bodies.")
    parse_seconds: float = Field(default=20.0, gt=0, description="Seconds for parsing a body.")
    job_timeout: int = Field(default=24 * 3600, ge=1, description="Seconds a job may run.")
    max_wait: int = Field(default=60, ge=0, description="Longest `Prefer: wait`, seconds.")
    max_queued: int = Field(
        default=10_000, ge=1, description="Largest number of jobs on one queue; beyond it 503."
    )
    max_in_flight: int = Field(
        default=128, ge=1, description="Concurrent requests of a process; beyond it 503."
    )
    max_waiting: int = Field(
        default=500, ge=0, description="Concurrent event streams and waiting requests."
    )
    require_keys: bool = Field(default=False, description="Require a key even if none exists.")
    allow_anonymous: bool = Field(
        default=False, description="Serve everyone who connects, under any host name, without keys."
    )
    callback_hosts: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Hosts that callbacks may reach at private addresses or without TLS.",
    )

    @field_validator("callback_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Environment variables separate the names by commas."""
        if isinstance(value, str):
            return [name.strip().lower() for name in value.split(",") if name.strip()]
        return value
