"""The id of a request; it appears in every log line and in the job."""

import re
import uuid

from starlette.datastructures import Headers
from starlette.types import Scope

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id(scope: Scope) -> str:
    """Return the client's `X-Request-ID` if it is well-formed, else a new id."""
    state: dict[str, object] = scope.setdefault("state", {})
    if "request_id" not in state:
        given = Headers(scope=scope).get("x-request-id", "")
        state["request_id"] = given if _ACCEPTABLE.fullmatch(given) else uuid.uuid4().hex
    return str(state["request_id"])
