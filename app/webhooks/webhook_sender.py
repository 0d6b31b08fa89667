"""Deliver signed webhooks when jobs end, with retries.

The script that ends a job puts its callback into `WEBHOOKS_KEY` in Redis. Any front end may
deliver it; if one dies during a delivery, another repeats it after CLAIM_SECONDS, so that the
receiver may get the same `webhook-id` twice. Signatures follow Standard Webhooks
"""

import asyncio
import logging
from datetime import UTC, datetime

import httpcore2
from standardwebhooks import Webhook

from app.auth.key_file import KeyFile
from app.background import end
from app.queue.job_queue import JobNotFoundError, JobQueue
from app.webhooks.outbound import MAX_CONNECTIONS, TOTAL_SECONDS, BlockedError, Sender
from cdvae_schema.base import StrictModel, Timestamp
from cdvae_schema.job_specs import JobStatus

log = logging.getLogger(__name__)

DELAYS = (5, 30, 300, 1800, 7200, 18000, 36000)
"""Seconds from each failed attempt to the next; then the callback is dropped."""
CLAIM_SECONDS = 2 * TOTAL_SECONDS
CONCURRENT_DELIVERIES = MAX_CONNECTIONS
GONE = 410  # the receiver wants no further callbacks


class JobEvent(StrictModel):
    """The body of a callback."""

    type: str  # job.succeeded, job.failed or job.cancelled
    timestamp: Timestamp
    data: JobStatus


class Webhooks:
    """Delivers the callbacks that are due."""

    def __init__(self, queue: JobQueue, keys: KeyFile, sender: Sender) -> None:
        self._queue, self._keys, self._sender = queue, keys, sender
        self._deliveries: set[asyncio.Task[None]] = set()

    async def deliver(self) -> None:
        """Start the deliveries that are due, as far as there is room; raises RedisError."""
        room = CONCURRENT_DELIVERIES - len(self._deliveries)
        if room == 0:
            return
        for job_id in await self._queue.callbacks.claim(CLAIM_SECONDS, room):
            delivery = asyncio.create_task(self._deliver(job_id))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    async def close(self) -> None:
        """Cancel the deliveries in progress; they are due again after CLAIM_SECONDS."""
        await end(self._deliveries)

    async def _deliver(self, job_id: str) -> None:
        try:
            retry_after = await self._try(job_id)
            if retry_after is None:
                await self._queue.callbacks.remove(job_id)
            else:
                await self._queue.callbacks.postpone(job_id, retry_after)
        except Exception:
            log.exception("the delivery of job %s failed; it is due again later", job_id)

    async def _try(self, job_id: str) -> float | None:
        """Return the seconds until the next attempt; None if there is none."""
        url, owner = await self._queue.callbacks.target(job_id)
        kept = self._keys.keys().get(owner)
        if not url or kept is None or kept.revoked_at is not None:
            return None
        try:
            status = await self._queue.status(job_id, owner)
        except JobNotFoundError:
            return None
        outcome = await self._send(url, status, kept.webhook_secret)
        if outcome is None:
            log.info("delivered the callback of job %s", job_id)
            return None
        tries = await self._queue.callbacks.count_failure(job_id)
        final = tries > len(DELAYS) or outcome == str(GONE)
        # The URL may hold secrets of the receiver; it is not logged.
        log.warning("callback of job %s failed, try %d: %s", job_id, tries, outcome)
        return None if final else DELAYS[tries - 1]

    async def _send(self, url: str, status: JobStatus, secret: str) -> str | None:
        """Return None if the receiver accepted the event, else the reason."""
        moment = datetime.now(UTC)
        event = JobEvent(type=f"job.{status.state}", timestamp=moment, data=status)
        body = event.model_dump_json()
        identity = f"job_{status.id}"
        headers = {
            "content-type": "application/json",
            "user-agent": "cdvae-service",
            "webhook-id": identity,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Webhook(secret).sign(identity, moment, body),
        }
        try:
            answer = await self._sender.post(url, headers, body.encode())
        except (BlockedError, OSError, httpcore2.ProtocolError, httpcore2.NetworkError) as error:
            return type(error).__name__
        except httpcore2.TimeoutException:
            return "no answer in time"
        return None if 200 <= answer < 300 else str(answer)
