"""Logging of every process of the service, as text or JSON, with the ids of request and job."""

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
    """Adds the ids of the current request and job to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id, record.job_id = _request.get(), _job.get()
        return True


class _Json(JsonFormatter):
    """One object per line, with times that sort as text."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def configure_logging(level: str, as_json: bool) -> None:
    """Log to standard error; of RQ and uvicorn only warnings and errors."""
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
    """Mark the log lines of the block with this request."""
    token = _request.set(request_id)
    try:
        yield
    finally:
        _request.reset(token)


@contextmanager
def job_in_logs(job_id: str, request_id: str = NONE) -> Iterator[None]:
    """Mark the log lines of the block with this job and with the request that submitted it."""
    tokens = _job.set(job_id), _request.set(request_id)
    try:
        yield
    finally:
        _job.reset(tokens[0])
        _request.reset(tokens[1])


def note_job(job_id: str) -> None:
    """Mark the further log lines of the current request with this job."""
    _job.set(job_id)
