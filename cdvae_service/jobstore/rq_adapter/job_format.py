"""RQ's formats: a job's hash and key, its call, its times.

The front end writes and reads jobs in these formats, because RQ's own client is synchronous.
"""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any, cast

from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import utcparse


def job_key(job_id: str) -> str:
    """Return the key of a job's hash."""
    return Job.key_for(job_id)


def queue_key(name: str) -> str:
    """Return the key of a queue's list of job ids."""
    return f"rq:queue:{name}"


def job_fields(
    job_id: str,
    function: str,
    argument: dict[str, Any],
    *,
    queue: str,
    timeout: int,
    result_ttl: int,
    description: str,
    enqueued_at: str,
) -> dict[str, Any]:
    """Return the hash of a queued job that calls `function` with one JSON object.

    timeout, result_ttl: s. enqueued_at: as `ledger.now` writes it.
    """
    job = Job.create(
        function,
        args=(argument,),
        id=job_id,
        connection=cast(Any, object()),  # not used: a script writes the job
        timeout=timeout,
        result_ttl=result_ttl,
        failure_ttl=result_ttl,
        description=description,
        origin=queue,
        serializer=JSONSerializer,
    )
    return {**job.to_dict(), "status": "queued", "enqueued_at": enqueued_at}


def call_argument(data: bytes) -> Any:
    """Return the argument of a job from its field `data`."""
    call = JSONSerializer.loads(zlib.decompress(data))  # type: ignore[no-untyped-call]
    _function, _instance, (argument,), _keywords = call
    return argument


def parse_time(text: str) -> datetime:
    """Return a time that RQ wrote."""
    return utcparse(text)
