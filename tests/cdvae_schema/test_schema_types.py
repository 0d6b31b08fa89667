"""The wire types refuse what does not belong, and their examples are valid."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from cdvae_schema.base import StrictModel
from cdvae_schema.cards import ModelCard
from cdvae_schema.crystal_records import CrystalInput
from cdvae_schema.job_results import checked_job_id, chunk_name, chunk_names
from cdvae_schema.job_specs import JobSpec
from cdvae_schema.requests import GenerateRequest, OptimizeRequest, ReconstructRequest
from cdvae_schema.wire import FUNCTIONS, QUEUES

WITH_EXAMPLES = [JobSpec, ModelCard, GenerateRequest, ReconstructRequest, OptimizeRequest]
CRYSTAL: dict[str, Any] = {
    "lattice": [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]],
    "atomic_numbers": [8],
    "frac_coords": [[0.0, 0.0, 0.5]],
    "label": "x",
}


@pytest.mark.parametrize("model", WITH_EXAMPLES)
def test_examples_are_valid_and_survive_json(model: type[StrictModel]) -> None:
    (example,) = model.model_json_schema()["examples"]
    parsed = model.model_validate(example)
    assert model.model_validate_json(parsed.model_dump_json()) == parsed
    assert model.model_validate(json.loads(parsed.model_dump_json())) == parsed
    with pytest.raises(ValidationError, match="extra_forbidden"):
        model.model_validate({**example, "surprise": 1})
    with pytest.raises(ValidationError, match="frozen"):
        setattr(parsed, next(iter(model.model_fields)), "other")


@pytest.mark.parametrize(
    "change",
    [
        {"atomic_numbers": [0]},
        {"atomic_numbers": [119]},
        {"atomic_numbers": []},
        {"atomic_numbers": [8, 8]},
        {"frac_coords": [[0.0, 0.0]]},
        {"frac_coords": [[0.0, 0.0, float("nan")]]},
        {"lattice": [[4.0, 0.0, 0.0]]},
        {"lattice": [[float("inf"), 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]},
    ],
)
def test_crystals_are_checked(change: dict[str, Any]) -> None:
    CrystalInput.model_validate(CRYSTAL)
    with pytest.raises(ValidationError):
        CrystalInput.model_validate({**CRYSTAL, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"limits": {"min_atoms": 6}},
        {"samplers": {}},
        {"samplers": {"ancestral": {"default_nfe": 9, "max_nfe": 8}}},
        {"name": "../evil"},
        {"version": ""},
        {"weights_sha256": "xyz"},
        {"created_at": "2026-01-01T00:00:00"},
        {"properties": {"a b": {"unit": "", "description": "", "source": "", "percentiles": {}}}},
    ],
)
def test_cards_are_checked(change: dict[str, Any]) -> None:
    (example,) = ModelCard.model_json_schema()["examples"]
    merged = {**example, **change}
    if "limits" in change:
        merged["limits"] = {**example["limits"], **change["limits"]}
    with pytest.raises(ValidationError):
        ModelCard.model_validate(merged)


def test_a_spec_says_one_thing() -> None:
    (example,) = JobSpec.model_json_schema()["examples"]
    with pytest.raises(ValidationError, match="a optimize job with a generate request"):
        JobSpec.model_validate({**example, "kind": "optimize"})
    with pytest.raises(ValidationError, match="1 structures where 0 are named"):
        JobSpec.model_validate({**example, "structures": [CRYSTAL]})


def test_functions_and_queues() -> None:
    assert set(FUNCTIONS) == {"generate", "reconstruct", "optimize", "interpolate", "vary"}
    assert all(name.startswith("worker.executor.job_functions.") for name in FUNCTIONS.values())
    assert QUEUES == ("interactive", "normal", "bulk")


def test_result_files() -> None:
    names = [chunk_name(number) for number in (10, 2, 100_000)]
    others = [".chunk-00003.json.1.part", "resume-00002.json", "result.json"]
    assert chunk_names([*names, *others]) == [
        "chunk-00002.json",
        "chunk-00010.json",
        "chunk-100000.json",
    ]
    assert checked_job_id("abc") == "abc"
    for name in ("../up", "a/b", "", "x" * 65):
        with pytest.raises(ValueError, match="no job id"):
            checked_job_id(name)
