"""Serve the web page at `/`, the API description at `/docs`, and their files."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).parents[1] / "static"
# Scripts and styles come from files of this service only, never inline.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


class Assets(StaticFiles):
    """The files of the pages; browsers revalidate them on every load."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the file, or 304. Modules of two versions of the page must never meet."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


@router.get("/")
async def page() -> FileResponse:
    """Return the web page; it loads files of this service only."""
    headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"}
    return FileResponse(STATIC / "index.html", media_type="text/html", headers=headers)


@router.get("/docs")
async def docs() -> FileResponse:
    """Return the OpenAPI page; it loads files of this service only."""
    return FileResponse(STATIC / "docs.html", media_type="text/html")
