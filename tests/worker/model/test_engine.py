"""The operations of a model that the worker uses."""

from pathlib import Path

import torch

from cdvae.model_folder import load_model
from cdvae.testing import write_tiny_model
from worker.model.engine import Engine


def test_starts_of_a_search_end_in_smaller_parts_than_decoded_crystals(tmp_path: Path) -> None:
    engine = Engine(load_model(write_tiny_model(tmp_path), torch.device("cpu")))
    decoded, searched = engine.chunks(600), engine.chunks(600, searched=True)
    for parts in (decoded, searched):
        assert [index for part in parts for index in part] == list(range(600))
    assert max(map(len, searched)) < max(map(len, decoded))
