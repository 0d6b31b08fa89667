"""An RQ job that can run our functions and nothing else.

RQ imports whatever dotted name a job carries, so that anybody who can write to Redis could run
`os.system` even with the JSON serializer. Here a name is only a key of a table of functions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import as_text

from cdvae_schema.wire import FIELD_ATTEMPTS, FIELD_REQUEST, FIELD_STATE, FIELD_TRACE, FUNCTIONS

log = logging.getLogger(__name__)

JobFunction = Callable[[dict[str, Any]], dict[str, Any]]


class ForbiddenJobError(Exception):
    """The job asks for something that jobs may not do."""


class AllowedJob(Job):
    """A job whose function is looked up in `functions` (by name) and takes one JSON object.

    The table is empty in the worker process, which runs no jobs, and filled in the executor.

    attempts: processes that were lost with it; outcome: its state as it ended, or ''; request_id,
    trace: what follows it through logs and traces.
    """

    functions: Mapping[str, JobFunction] = {}
    attempts = 0
    outcome = request_id = trace = ""

    @classmethod
    def load(cls, job_id: str, connection: Redis) -> AllowedJob:
        """The job as Redis has it; NoSuchJobError where it has none that can be read."""
        job = cls(job_id, connection, JSONSerializer)
        job.refresh()  # type: ignore[no-untyped-call]
        return job

    @property
    def func(self) -> Callable[..., Any]:
        """The function to call; ForbiddenJobError for anything but ours with one object."""
        if self.func_name not in FUNCTIONS.values():
            raise ForbiddenJobError(f"the function {self.func_name!r} is not allowed")
        if self.instance is not None or self.kwargs:
            raise ForbiddenJobError("methods and keyword arguments are not allowed")
        if len(self.args) != 1 or not isinstance(self.args[0], dict):
            raise ForbiddenJobError("a job takes exactly one JSON object")
        return self.functions[str(self.func_name)]

    def restore(self, raw_data: Any) -> None:
        """Read the job from its Redis hash, without what could run code or call out elsewhere.

        A hash that cannot be read counts as missing: RQ skips such jobs, while any other error
        here would end the worker.
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
