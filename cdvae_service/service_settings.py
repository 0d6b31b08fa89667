"""Settings that the front end and the workers share, from environment variables `CDVAE_…`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Where state, results, models and Redis are; all processes of a service need the same."""

    model_config = SettingsConfigDict(env_prefix="CDVAE_", extra="ignore", frozen=True)

    home: Path = Field(default=Path(".cdvae"), description="Folder of all state.")
    results_url: str | None = Field(
        default=None,
        description="Store of the results, e.g. s3://bucket/prefix; default: in the home folder.",
    )
    model_store: str | None = Field(
        default=None,
        description="Folder or URL of the models; default: ./model_store, a checkout that is "
        "installed, or the package cdvae-models.",
    )
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", description="Redis server.")
    result_ttl: int = Field(
        default=7 * 24 * 3600, ge=60, description="Seconds for which jobs and results are kept."
    )
    log_level: str = Field(default="INFO", description="Lowest level that is logged.")
    log_json: bool = Field(default=False, description="Log one JSON object per line.")
