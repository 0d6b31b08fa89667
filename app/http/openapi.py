"""The OpenAPI description; `python -m app > docs/openapi.json` updates the committed one."""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.auth.authentication import SCHEMES
from app.http.problems import PROBLEM_JSON, Problem
from cdvae_schema.path_requests import InterpolateRequest, VaryRequest
from cdvae_schema.requests import GenerateRequest, OptimizeRequest, ReconstructRequest

_TEMPLATE = "#/components/schemas/{model}"
_PROBLEM = {
    "description": "Problem document (RFC 9457).",
    "content": {PROBLEM_JSON: {"schema": {"$ref": _TEMPLATE.format(model="Problem")}}},
}

_KEYLESS = "operation"  # tag of the monitoring endpoints


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the cached description of `app`, with our request bodies and errors."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    description = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
    )
    schemas: dict[str, Any] = description.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    bodies = (
        GenerateRequest,
        ReconstructRequest,
        OptimizeRequest,
        InterpolateRequest,
        VaryRequest,
    )
    _, extra = models_json_schema(
        [*((model, "validation") for model in bodies), (Problem, "serialization")],
        ref_template=_TEMPLATE,
    )
    schemas.update(extra["$defs"])
    description["components"]["schemas"] = dict(sorted(schemas.items()))
    description["components"]["securitySchemes"] = SCHEMES
    for path in description["paths"].values():
        for operation in path.values():
            if _KEYLESS not in operation["tags"]:
                operation["security"] = [{name: []} for name in SCHEMES]
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _PROBLEM
    app.openapi_schema = description
    return description


def text(app: FastAPI) -> str:
    """Return the description as the text of `docs/openapi.json`."""
    return json.dumps(describe(app), indent=2, ensure_ascii=False) + "\n"
