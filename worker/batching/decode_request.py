"""The decoding that one job requests, and the computation of several requests as one batch.

A failure stays with the request that caused it: a cancellation, a time limit, a crystal that is not
finite.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cdvae.errors import NonFiniteSampleError
from cdvae.inference import Decoded, SamplerSpec
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.nn.encoder import Latents
from worker.model.engine import Engine

log = logging.getLogger(__name__)


class _AllCancelledError(Exception):
    """Every request of the batch is cancelled."""


@dataclass(eq=False)
class DecodeRequest:
    """The decoding that one job requests, and its result.

    latents: drawn from the prior where None. progress: completed and total noise levels.
    """

    engine: Engine
    latents: Latents | None
    seeds: Sequence[int]
    sampler: SamplerSpec
    fixed: Sequence[FixedAttributes | None]
    progress: tuple[int, int] = (0, 1)
    done: threading.Event = field(default_factory=threading.Event)
    cancelled: bool = False
    decoded: Decoded | None = None
    error: BaseException | None = None

    def can_batch_with(self, other: DecodeRequest) -> bool:
        """Return whether one batch can serve both requests."""
        return self.engine is other.engine and self.sampler == other.sampler

    def finish(self, decoded: Decoded | None = None, error: BaseException | None = None) -> None:
        """Set the result or the error, unless the request has one already."""
        if not self.done.is_set():
            self.decoded, self.error = decoded, error
            self.done.set()


def compute(
    requests: Sequence[DecodeRequest], on_level: Callable[[], object] = lambda: None
) -> None:
    """Finish every request; call `on_level` after each noise level.

    A batch that fails is computed again without the requests that are to blame: those whose
    crystals were not finite, or, after any other error, one request at a time.
    """
    pending = deque([list(requests)])
    while pending:
        batch = [request for request in pending.popleft() if not request.done.is_set()]
        if not batch:
            continue
        try:
            rows = _rows(batch)
            decoded = _decode(batch, on_level)
            for request, own in zip(batch, rows, strict=True):
                request.finish(decoded.select(own))
        except _AllCancelledError:
            continue
        except NonFiniteSampleError as error:
            if _fail_non_finite(batch, rows, error):
                pending.appendleft(batch)
        except BaseException as error:
            if len(batch) == 1:
                batch[0].finish(error=error)
            else:
                pending.extendleft([request] for request in reversed(batch))


def _rows(batch: Sequence[DecodeRequest]) -> list[range]:
    """Return the rows of each request in the batch."""
    rows, start = [], 0
    for request in batch:
        rows.append(range(start, start + len(request.seeds)))
        start += len(request.seeds)
    return rows


def _fail_non_finite(
    batch: Sequence[DecodeRequest], rows: Sequence[range], error: NonFiniteSampleError
) -> bool:
    """Fail the requests of these crystals; return whether the batch is smaller afterwards."""
    for request, own in zip(batch, rows, strict=True):
        indices = [index - own.start for index in error.indices if index in own]
        if indices:
            request.finish(error=NonFiniteSampleError(indices))
    if any(request.done.is_set() for request in batch):
        return True
    for request in batch:  # the error names no crystal of the batch
        request.finish(error=error)
    return False


def _decode(batch: Sequence[DecodeRequest], on_level: Callable[[], object]) -> Decoded:
    def note_level(level: int, levels: int) -> None:
        for request in batch:
            request.progress = (level, levels)
            if request.cancelled:
                request.finish(error=_AllCancelledError())
        if all(request.done.is_set() for request in batch):
            raise _AllCancelledError
        on_level()

    engine = batch[0].engine
    log.debug("%d crystals for %d jobs", sum(len(one.seeds) for one in batch), len(batch))
    seeds = [seed for request in batch for seed in request.seeds]
    fixed = [own for request in batch for own in request.fixed]
    return engine.decode(_latents(engine, batch), seeds, batch[0].sampler, note_level, fixed)


def _latents(engine: Engine, batch: Sequence[DecodeRequest]) -> Latents:
    """Return the latents of all requests; one call draws those that come from the prior."""
    drawn = [seed for request in batch if request.latents is None for seed in request.seeds]
    prior = engine.sample_latents(drawn) if drawn else None
    latents, row = [], 0
    for request in batch:
        if request.latents is not None:
            latents.append(request.latents)
            continue
        assert prior is not None
        latents.append(prior.select(range(row, row + len(request.seeds))))
        row += len(request.seeds)
    return Latents.cat(latents)
