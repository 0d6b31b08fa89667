"""Arguments of the client against the contract, and crystals in every form that it takes."""

import json
from pathlib import Path
from typing import Any

import ase.io
import pytest
from pymatgen.core.structure import Structure

from cdvae_client import Crystal
from cdvae_client.fields import (
    GenerateFields,
    InterpolateFields,
    OptimizeFields,
    ReconstructFields,
    VaryFields,
    generate_body,
    interpolate_body,
    optimize_body,
    reconstruct_body,
    vary_body,
)
from cdvae_schema.path_requests import InterpolateRequest, VaryRequest
from cdvae_schema.requests import GenerateRequest, OptimizeRequest, ReconstructRequest
from tests.cdvae_client.stub import crystal
from tests.e2e.service import SRTIO3

SYMBOLS = ["Sr", "Ti", "O", "O", "O"]


@pytest.mark.parametrize(
    ("fields", "model", "positional"),
    [
        (GenerateFields, GenerateRequest, set()),
        (ReconstructFields, ReconstructRequest, {"structures"}),
        (OptimizeFields, OptimizeRequest, set()),
        (InterpolateFields, InterpolateRequest, {"structures"}),
        (VaryFields, VaryRequest, {"structure"}),
    ],
)
def test_every_field_of_the_contract_can_be_given(
    fields: Any, model: Any, positional: set[str]
) -> None:
    assert set(fields.__annotations__) | positional == set(model.model_fields)


def test_what_is_not_given_is_left_to_the_service() -> None:
    assert json.loads(generate_body({})) == {}
    sent = generate_body({"num_samples": 2, "elements": {"include": ["O"]}})
    assert json.loads(sent) == {"num_samples": 2, "elements": {"include": ["O"]}}


def test_a_wrong_field_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="num_samples"):
        generate_body({"num_samples": 0})
    with pytest.raises(ValueError, match="number"):
        generate_body({"number": 2})  # type: ignore[typeddict-unknown-key]


def given_forms(folder: Path) -> list[Any]:
    path = folder / "one.cif"
    path.write_text(SRTIO3)
    structure = Structure.from_str(SRTIO3, fmt="cif")
    record = Crystal.model_validate(crystal(0, cif=SRTIO3))
    return [SRTIO3, path, str(path), structure, structure.as_dict(), ase.io.read(path), record]


@pytest.mark.filterwarnings("ignore:.*No _symmetry_equiv_pos_as_xyz")  # pymatgen about P 1
def test_crystals_are_taken_in_every_usual_form(tmp_path: Path) -> None:
    forms = given_forms(tmp_path)
    together = json.loads(reconstruct_body(forms, {}))["structures"]
    assert together == [json.loads(reconstruct_body(form, {}))["structures"][0] for form in forms]
    for sent in together:
        if sent.get("cif"):
            assert sent == {"cif": SRTIO3}
            continue
        sites = sent["structure"]["sites"]
        assert [site["species"][0]["element"] for site in sites] == SYMBOLS
        assert sites[1]["abc"] == pytest.approx([0.5, 0.5, 0.5])
        assert sent["structure"]["lattice"]["matrix"][0] == pytest.approx([3.905, 0, 0])


def test_an_optimization_starts_from_names_or_crystals() -> None:
    assert json.loads(optimize_body({"start": "prior"})) == {"start": "prior"}
    sent = json.loads(optimize_body({"start": [SRTIO3, SRTIO3]}))
    assert sent == {"start": {"structures": [{"cif": SRTIO3}, {"cif": SRTIO3}]}}


def test_walks_are_between_two_crystals_and_around_one() -> None:
    sent = json.loads(interpolate_body([SRTIO3, SRTIO3], {"num_points": 3}))
    assert sent == {"structures": [{"cif": SRTIO3}, {"cif": SRTIO3}], "num_points": 3}
    assert json.loads(vary_body(SRTIO3, {})) == {"structure": {"cif": SRTIO3}}


def test_other_things_are_no_crystals() -> None:
    with pytest.raises(TypeError, match="float"):
        reconstruct_body([1.0], {})  # type: ignore[list-item]
