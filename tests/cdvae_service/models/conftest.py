"""Model folders with a valid card and a few bytes as weights."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import CARD


def write_model(store: Path, name: str, version: str, content: str = "weights") -> Path:
    """Write a model folder whose card has the checksums of its files."""
    folder = store / name / version
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_text(content)
    (folder / "config.toml").write_text("seed = 1\n")
    card: dict[str, Any] = {
        **CARD,
        "name": name,
        "version": version,
        "weights_sha256": hashlib.sha256(content.encode()).hexdigest(),
        "files_sha256": {"config.toml": hashlib.sha256(b"seed = 1\n").hexdigest()},
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two versions of one model and one of another."""
    folder = tmp_path / "store"
    for name, version in (("perov-5", "9"), ("perov-5", "10"), ("other", "1")):
        write_model(folder, name, version)
    return folder
