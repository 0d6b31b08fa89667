"""Deliver signed webhooks when jobs end, with retries.

The script that ends a job puts its callback into `WEBHOOKS_KEY` in Redis. Any front end may
deliver it; if one dies during a delivery, another repeats it after CLAIM_SECONDS, so that the
receiver may get the same `webhook-id` twice. Signatures follow Standard Webhooks
(standardwebhooks.com). A receiver that hangs occupies PER_RECEIVER connections at most.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

import httpcore2
from standardwebhooks import Webhook

from app.auth.key_file import KeyFile
from app.background import end
from app.queue.due_callbacks import DueCallback
from app.queue.job_queue import JobNotFoundError, JobQueue
from app.webhooks.outbound import MAX_CONNECTIONS, TOTAL_SECONDS, BlockedError, Sender
from cdvae_schema.base import StrictModel, Timestamp
from cdvae_schema.job_specs import JobStatus

log = logging.getLogger(__name__)

DELAYS = (5, 30, 300, 1800, 7200, 18000, 36000)
"""Seconds from each failed attempt to the next; then the callback is dropped."""
CLAIM_SECONDS = 3 * TOTAL_SECONDS  # for waiting and sending, TOTAL_SECONDS each, and a margin
PER_RECEIVER = 4  # connections
HELD_PER_RECEIVER = 64  # claimed callbacks
MAX_HELD = 1024  # claimed callbacks of all receivers
BUSY_SECONDS = 5.0  # until a callback is due again whose receiver has no room
BATCH = 128
GONE = 410  # the receiver wants no further callbacks


class JobEvent(StrictModel):
    """The body of a callback."""

    type: str  # job.succeeded, job.failed or job.cancelled
    timestamp: Timestamp
    data: JobStatus


class ReceiverLimits:
    """Limit the connections to each receiver (host and port) and to all of them."""

    def __init__(self) -> None:
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._places = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(PER_RECEIVER))
        self._held = Counter[str]()

    def hold(self, receiver: str) -> bool:
        """Count a callback for the receiver; return False, without counting, if it has no room."""
        if self._held[receiver] >= HELD_PER_RECEIVER:
            return False
        self._held[receiver] += 1
        return True

    def release(self, receiver: str) -> None:
        """Count a callback less."""
        self._held[receiver] -= 1
        if not self._held[receiver]:
            del self._held[receiver]
            self._places.pop(receiver, None)

    @asynccontextmanager
    async def connection(self, receiver: str) -> AsyncIterator[bool]:
        """Wait until the receiver may get a callback; yield False after TOTAL_SECONDS."""
        admitted = True
        async with AsyncExitStack() as places:
            try:
                async with asyncio.timeout(TOTAL_SECONDS):
                    await places.enter_async_context(self._places[receiver])
                    await places.enter_async_context(self._connections)
            except TimeoutError:
                admitted = False
            yield admitted


class Webhooks:
    """Deliver the callbacks that are due; at most `max_held` are in progress or wait for room."""

    def __init__(
        self, queue: JobQueue, keys: KeyFile, sender: Sender, max_held: int = MAX_HELD
    ) -> None:
        self._queue, self._keys, self._sender = queue, keys, sender
        self._max_held = max_held
        self._limits = ReceiverLimits()
        self._deliveries: set[asyncio.Task[None]] = set()

    async def deliver(self) -> None:
        """Start the deliveries that are due, as far as there is room; raises RedisError."""
        while room := min(self._max_held - len(self._deliveries), BATCH):
            due = await self._queue.callbacks.claim(CLAIM_SECONDS, room)
            await self._start(due)
            if len(due) < room:
                return

    async def _start(self, due: list[DueCallback]) -> None:
        """Start these deliveries; those to receivers without room are due again soon."""
        postponed = []
        for callback in due:
            receiver = urlsplit(callback.url).netloc
            if not self._limits.hold(receiver):
                postponed.append(callback.job_id)
                continue
            delivery = asyncio.create_task(self._deliver(callback))
            self._deliveries.add(delivery)
            delivery.add_done_callback(partial(self._ended, receiver))
        if postponed:
            await self._queue.callbacks.postpone(postponed, BUSY_SECONDS)

    def _ended(self, receiver: str, delivery: asyncio.Task[None]) -> None:
        self._deliveries.discard(delivery)
        self._limits.release(receiver)

    async def close(self) -> None:
        """Cancel the deliveries in progress; they are due again after CLAIM_SECONDS."""
        await end(self._deliveries)

    async def _deliver(self, callback: DueCallback) -> None:
        job_id = callback.job_id
        try:
            async with self._limits.connection(urlsplit(callback.url).netloc) as admitted:
                retry_after = await self._try(callback) if admitted else BUSY_SECONDS
            if retry_after is None:
                await self._queue.callbacks.remove(job_id)
            else:
                await self._queue.callbacks.postpone([job_id], retry_after)
        except Exception:
            log.exception("the delivery of job %s failed; it is due again later", job_id)

    async def _try(self, callback: DueCallback) -> float | None:
        """Return the seconds until the next attempt; None if there is none."""
        job_id, url, owner = callback.job_id, callback.url, callback.owner
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
