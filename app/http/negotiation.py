"""Choose the format of a result: `?format=` takes precedence over the `Accept` header."""

from collections.abc import Mapping

from fastapi import Request

from app.http.problems import ApiError, FieldError, invalid


def choose(request: Request, forms: Mapping[str, str]) -> str:
    """Return the name of one of `forms` (name → media type; the first is the default).

    Raises ApiError: 422 for an unknown `?format=`, 406 where `Accept` allows none of them.
    """
    wanted = request.query_params.get("format")
    if wanted is not None:
        if wanted in forms:
            return wanted
        detail = f"format {wanted[:40]!r} is not offered; choose one of: {', '.join(forms)}"
        raise invalid([FieldError(detail=detail, parameter="format")])
    # Clients may send several Accept headers; together they are one list.
    accept = ",".join(request.headers.getlist("accept")).strip()
    if not accept:
        return next(iter(forms))
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    best = max(forms, key=lambda name: _quality(forms[name], ranges))
    if _quality(forms[best], ranges) <= 0:
        raise ApiError(
            406, f"`Accept` allows none of the available types: {', '.join(forms.values())}."
        )
    return best


def _range(part: str) -> tuple[str, float]:
    """Return the media range and the quality of one element of an `Accept` header."""
    media, *parameters = [piece.strip().lower() for piece in part.split(";")]
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media, 0.0
    return media, 1.0


def _quality(media: str, ranges: list[tuple[str, float]]) -> float:
    """Return the quality of the most specific range that covers a media type; 0 without one."""
    for candidate in (media, media.partition("/")[0] + "/*", "*/*"):
        qualities = [quality for name, quality in ranges if name == candidate]
        if qualities:
            return max(qualities)
    return 0.0
