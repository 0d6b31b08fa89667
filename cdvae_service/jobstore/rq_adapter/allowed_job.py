"""An RQ job that can run our functions and nothing else.

RQ imports any dotted name that a job carries, so anybody who can write to Redis could run
`os.system`, even with the JSON serializer. Here a name is only a key of a table of functions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import as_text
from typing_extensions import override

from cdvae_schema.wire import FIELD_ATTEMPTS, FIELD_REQUEST, FIELD_STATE, FIELD_TRACE, FUNCTIONS

log = logging.getLogger(__name__)

JobFunction = Callable[[dict[str, Any]], dict[str, Any]]


class ForbiddenJobError(Exception):
    """The job asks for something that jobs may not do."""


class AllowedJob(Job):
    """A job that takes one JSON object and whose function is looked up in `functions` by name.

    The table is empty in the supervisor, which runs no jobs, and filled in the executor.

    attempts: the number of processes that were lost with the job. outcome: the state in which it
    ended, or "". request_id, trace: the ids that connect the job with logs and traces.
    """

    functions: Mapping[str, JobFunction] = {}
    attempts = 0
    outcome = request_id = trace = ""

    @classmethod
    def load(cls, job_id: str, connection: Redis) -> AllowedJob:
        """Return the job as Redis has it; raises NoSuchJobError for one that cannot be read."""
        job = cls.unread(job_id, connection)
        job.refresh()  # type: ignore[no-untyped-call]
        return job

    @classmethod
    def unread(cls, job_id: str, connection: Redis) -> AllowedJob:
        """Return a job whose fields `refresh` reads."""
        return cls(job_id, connection, JSONSerializer)

    @property
    def time_limit(self) -> float:
        """The longest time that the job may run, s; not positive: no limit."""
        return float(self.timeout or Queue.DEFAULT_TIMEOUT)

    @property
    def ended(self) -> bool:
        """True if the job succeeded or failed, as of the last `refresh`."""
        return self.get_status(refresh=False) in ("finished", "failed")

    @property
    def failed(self) -> bool:
        """True if the job failed, as of the last `refresh`."""
        return self.get_status(refresh=False) == "failed"

    @property
    def func(self) -> Callable[..., Any]:
        """The function to call; raises ForbiddenJobError for any other than ours."""
        if self.func_name not in FUNCTIONS.values():
            raise ForbiddenJobError(f"the function {self.func_name!r} is not allowed")
        if self.instance is not None or self.kwargs:
            raise ForbiddenJobError("methods and keyword arguments are not allowed")
        if len(self.args) != 1 or not isinstance(self.args[0], dict):
            raise ForbiddenJobError("a job takes exactly one JSON object")
        return self.functions[str(self.func_name)]

    @override
    def restore(self, raw_data: Any) -> None:
        """Read the job from its Redis hash, without the fields that could run code.

        Raises NoSuchJobError for a hash that cannot be read. RQ skips such jobs, while any other
        error here would end the worker.
        """
        try:
            super().restore(raw_data)
            ours = (FIELD_ATTEMPTS, FIELD_STATE, FIELD_REQUEST, FIELD_TRACE)
            values = [as_text(raw_data.get(field.encode(), b"")) for field in ours]
            self.attempts = int(values[0] or 0)
            self.outcome, self.request_id, self.trace = values[1:]
        except NoSuchJobError:
            raise
        except Exception as error:
            log.exception("job %s cannot be read and is dropped", self.id)
            raise NoSuchJobError(f"job {self.id} cannot be read") from error
        self._success_callback_name = None
        self._failure_callback_name = None
        self._stopped_callback_name = None
        self.webhooks = []
        self.repeats_left = None
        self.retries_left = None
