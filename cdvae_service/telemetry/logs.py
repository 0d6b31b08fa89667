"""Log lines of every process of the service: the ids of request and job in each, text or JSON."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from pythonjsonlogger.json import JsonFormatter

NONE = "-"
TEXT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s %(job_id)s]: %(message)s"

_request: ContextVar[str] = ContextVar("request_id", default=NONE)
_job: ContextVar[str] = ContextVar("job_id", default=NONE)


class _Ids(logging.Filter):
    """Puts the ids of the current request and job into every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id, record.job_id = _request.get(), _job.get()
        return True


class _Json(JsonFormatter):
    """One object a line, with times that sort."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def configure_logging(level: str, as_json: bool) -> None:
    """Log to standard error; RQ's and uvicorn's own messages from warnings on."""
    handler = logging.StreamHandler()
    handler.addFilter(_Ids())
    if as_json:
        fields = {"asctime": "time", "levelname": "level", "name": "logger"}
        handler.setFormatter(_Json(TEXT, rename_fields=fields))
    else:
        handler.setFormatter(logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("rq.worker", "rq.job", "rq.registry", "uvicorn.access", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def request_in_logs(request_id: str) -> Iterator[None]:
    """Lines of the block belong to this request."""
    token = _request.set(request_id)
    try:
        yield
    finally:
        _request.reset(token)


@contextmanager
def job_in_logs(job_id: str, request_id: str = NONE) -> Iterator[None]:
    """Lines of the block belong to this job, and to the request that it came with."""
    tokens = _job.set(job_id), _request.set(request_id)
    try:
        yield
    finally:
        _job.reset(tokens[0])
        _request.reset(tokens[1])


def note_job(job_id: str) -> None:
    """Lines of the current request belong to this job from now on."""
    _job.set(job_id)
