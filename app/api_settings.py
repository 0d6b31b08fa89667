"""Settings of the front end, read from environment variables with the prefix `CDVAE_`."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from cdvae_service.service_settings import ServiceSettings

MEGABYTE = 1024 * 1024


class Settings(ServiceSettings):
    """Locations and limits of the front end; `CDVAE_REDIS_URL` sets `redis_url`, …"""

    model_refresh: float = Field(
        default=15.0, gt=0, description="Seconds between two checks of the store."
    )
    redis_timeout: float = Field(default=5.0, gt=0, description="Seconds for one Redis call.")
    max_body_bytes: int = Field(default=20 * MEGABYTE, ge=1, description="Largest request body.")
    body_seconds: float = Field(
        default=60.0, gt=0, description="Seconds a client may take to send a body."
    )
    parser_processes: int = Field(default=2, ge=1, description="Processes that parse bodies.")
    parse_seconds: float = Field(default=20.0, gt=0, description="Seconds to parse a body.")
    job_timeout: int = Field(default=24 * 3600, ge=1, description="Seconds a job may run.")
    max_wait: int = Field(default=60, ge=0, description="Longest `Prefer: wait`, seconds.")
    max_queued: int = Field(
        default=10_000, ge=1, description="Jobs in one queue; further jobs get a 503."
    )
    max_in_flight: int = Field(
        default=128,
        ge=1,
        description="Concurrent requests per process; further requests get a 503.",
    )
    max_waiting: int = Field(default=500, ge=0, description="Concurrent event streams and waits.")
    require_keys: bool = Field(default=False, description="Refuse requests even if no key exists.")
    allow_anonymous: bool = Field(
        default=False, description="Serve every client, under any host name, without keys."
    )
    callback_hosts: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Hosts that callbacks may reach even if they are private or without TLS.",
    )

    @field_validator("callback_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Environment variables separate the names by commas."""
        if isinstance(value, str):
            return [name.strip().lower() for name in value.split(",") if name.strip()]
        return value
