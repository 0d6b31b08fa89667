"""Check the problem documents of the front end."""

from typing import Any


def problem(response: Any, status: int) -> dict[str, Any]:
    """Return the problem document of a response after checking its common members."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:cdvae:problem:")
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == response.request.url.path
    assert "Traceback" not in response.text
    return body
