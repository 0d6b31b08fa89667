"""`Prefer: wait` (RFC 7240): an answer that is held until a job is over."""

import asyncio
import re
from typing import Annotated

from fastapi import Header, Request

from app.dependencies import Services
from cdvae_schema.job_specs import FINAL_STATES, JobStatus

LOOK_AGAIN = 1.0  # s, should no change be announced

PreferHeader = Annotated[
    str | None,
    Header(alias="Prefer", description="`wait=N`: hold the answer for up to N seconds (RFC 7240)."),
]

_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.IGNORECASE)


def wanted_wait(request: Request, most: int) -> int:
    """The seconds of the first `wait` preference, at most `most`; 0 without one that is valid."""
    preferences = ",".join(request.headers.getlist("prefer"))
    for preference in preferences.split(","):
        match = _WAIT.fullmatch(preference.partition(";")[0].strip())
        if match:
            return min(int(match.group(1)), most)
    return 0


async def wait_for_end(
    services: Services, status: JobStatus, owner: str, seconds: int
) -> JobStatus:
    """The job's status once it is final or the time is up.

    Where too many wait already the status comes at once: the preference is a wish.
    """
    if status.state in FINAL_STATES:
        return status
    end = asyncio.get_running_loop().time() + seconds
    with services.limiter.waiting() as may_wait:
        if not may_wait:
            return status
        async with services.notifier.subscribe(status.id) as subscription:
            while True:
                status = await services.queue.status(status.id, owner)
                left = end - asyncio.get_running_loop().time()
                if status.state in FINAL_STATES or left <= 0:
                    return status
                await subscription.wait(min(left, LOOK_AGAIN))
