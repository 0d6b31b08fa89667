"""What a person's browser gets: the page at `/`, the API description at `/docs`, their files."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).parents[1] / "static"
# Scripts and styles from files of this service alone: nothing inline, nothing from elsewhere.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


class Assets(StaticFiles):
    """The files of the pages; browsers ask each time whether theirs are still the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or 304. Modules of two versions of the page must never meet."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


@router.get("/")
async def page() -> FileResponse:
    """The web page; all that it loads comes from this service."""
    headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"}
    return FileResponse(STATIC / "index.html", media_type="text/html", headers=headers)


@router.get("/docs")
async def docs() -> FileResponse:
    """The OpenAPI page; all of its scripts and styles come from this service."""
    return FileResponse(STATIC / "docs.html", media_type="text/html")
