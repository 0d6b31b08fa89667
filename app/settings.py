"""Settings of the front end, read from environment variables with the prefix `CDVAE_`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MEGABYTE = 1024 * 1024


class Settings(BaseSettings):
    """Where things are and how much a client may ask for; `CDVAE_REDIS_URL` sets `redis_url`, …"""

    model_config = SettingsConfigDict(env_prefix="CDVAE_", extra="ignore", frozen=True)

    home: Path = Field(default=Path(".cdvae"), description="State: results of jobs.")
    model_store: str = Field(default="model_store", description="Trained models: folder or URL.")
    model_refresh: float = Field(default=15.0, gt=0, description="Seconds between two looks at it.")
    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_timeout: float = Field(default=5.0, gt=0, description="Seconds for one Redis call.")
    max_body_bytes: int = Field(default=20 * MEGABYTE, ge=1)
    body_seconds: float = Field(default=60.0, gt=0, description="Time for sending a body.")
    parser_threads: int = Field(default=2, ge=1, description="Bodies that are read at once.")
    job_timeout: int = Field(default=24 * 3600, ge=1, description="Seconds a job may run.")
    result_ttl: int = Field(default=7 * 24 * 3600, ge=60, description="Seconds a job is kept.")
