"""Settings of FTCP and its training, from TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from baselines.ftcp.representation import Layout
from cdvae.errors import DataError

METHOD = "ftcp"


@dataclass(frozen=True)
class FTCPConfig:
    """A whole training run."""

    method: str  # "ftcp"
    name: str
    dataset: str
    description: str
    properties: list[str]
    units: dict[str, str]  # by property
    descriptions: dict[str, str]  # by property, one sentence each
    max_elements: int  # distinct elements in a crystal
    max_sites: int
    epochs: int
    latent_dim: int = 256
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method != METHOD:
            raise DataError(f"method is {self.method!r}, not {METHOD!r}")
        for table in (self.units, self.descriptions):
            if table.keys() != set(self.properties):
                raise DataError(
                    f"[units] and [descriptions] must name {', '.join(self.properties)}"
                )
        if min(self.max_elements, self.max_sites, self.epochs, self.batch_size) < 1:
            raise DataError("max_elements, max_sites, epochs and batch_size must be at least 1")

    @property
    def layout(self) -> Layout:
        """The layout of the matrices."""
        return Layout(self.max_elements, self.max_sites)


def load_ftcp_config(path: Path) -> FTCPConfig:
    """Return the settings in a TOML file.

    Raises:
        DataError: the file is missing or not valid TOML, is for another method, or has an
            unknown, missing or invalid key.
    """
    try:
        return FTCPConfig(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, TypeError, DataError) as error:
        raise DataError(f"{path}: {error}") from error


def is_ftcp(path: Path) -> bool:
    """Return True if the TOML file at ``path`` is for FTCP; DataError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")).get("method") == METHOD
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: {error}") from error
