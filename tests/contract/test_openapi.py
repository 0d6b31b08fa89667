"""The committed API description is the one that the code gives."""

import json
from pathlib import Path
from typing import Any

from app.api_settings import Settings
from app.application import create_app
from app.http.openapi import text

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"

CALLS = {
    ("post", "/generate"),
    ("post", "/reconstruct"),
    ("post", "/optimize"),
    ("post", "/interpolate"),
    ("post", "/variations"),
    ("get", "/jobs"),
    ("get", "/jobs/{job_id}"),
    ("get", "/jobs/{job_id}/events"),
    ("delete", "/jobs/{job_id}"),
    ("get", "/jobs/{job_id}/result"),
    ("get", "/jobs/{job_id}/crystals/{index}"),
    ("get", "/jobs/{job_id}/structures"),
    ("get", "/models"),
    ("get", "/models/{name}"),
    ("get", "/models/{name}/statistics"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
}


def test_the_committed_description_is_up_to_date() -> None:
    generated = text(create_app(Settings()))
    assert COMMITTED.read_text(encoding="utf-8") == generated, (
        "renew it: python -m app > docs/openapi.json"
    )


def test_it_holds_the_contract() -> None:
    description = json.loads(COMMITTED.read_text(encoding="utf-8"))
    found = {(method, path) for path, item in description["paths"].items() for method in item}
    assert found == CALLS
    schemas = description["components"]["schemas"]
    for name in ("Generate", "Reconstruct", "Optimize", "Interpolate", "Vary"):
        assert f"{name}Request" in schemas
    assert "JobStatus" in schemas
    assert set(_references(description)) <= {f"#/components/schemas/{name}" for name in schemas}
    reconstruct = description["paths"]["/reconstruct"]["post"]["requestBody"]["content"]
    assert set(reconstruct) == {"application/json", "chemical/x-cif"}


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for one in value.values() for found in _references(one)]
    if isinstance(value, list):
        return [found for one in value for found in _references(one)]
    return []
