"""Responses from pydantic models."""

from fastapi.responses import Response
from pydantic import BaseModel


def json_reply(
    content: BaseModel, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return the model as a JSON response."""
    return Response(content.model_dump_json(), status, headers, "application/json")
