"""What jobs ask to be decoded, and the computation of several such wishes as one batch.

What goes wrong with one stays with it: its cancellation, its time limit, a crystal of its own that
is not finite.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cdvae.errors import NonFiniteSampleError
from cdvae.inference import Decoded, SamplerSpec
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.nn.encoder import Latents
from worker.model.engine import Engine

log = logging.getLogger(__name__)


class _NobodyWaitsError(Exception):
    """All who asked for the batch have gone."""


@dataclass(eq=False)
class DecodeRequest:
    """What one job asks for, and what it gets. Without latents they are drawn from the prior."""

    engine: Engine
    latents: Latents | None
    seeds: Sequence[int]
    sampler: SamplerSpec
    fixed: Sequence[FixedAttributes | None]
    level: tuple[int, int] = (0, 1)  # done, in all
    over: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False
    decoded: Decoded | None = None
    error: BaseException | None = None

    def can_batch_with(self, other: DecodeRequest) -> bool:
        """Whether one batch may serve both."""
        return self.engine is other.engine and self.sampler == other.sampler

    def end(self, decoded: Decoded | None = None, error: BaseException | None = None) -> None:
        """Give what was asked for, or say why not; only the first word counts."""
        if not self.over.is_set():
            self.decoded, self.error = decoded, error
            self.over.set()


def compute(group: Sequence[DecodeRequest], pause: Callable[[], object] = lambda: None) -> None:
    """End every wish of the group; `pause` is called after each level."""
    group = [wish for wish in group if not wish.over.is_set()]
    if not group:
        return
    places = _places(group)
    try:
        decoded = _decode(group, pause)
    except _NobodyWaitsError:
        return
    except NonFiniteSampleError as error:
        for wish, place in zip(group, places, strict=True):
            own = [index - place.start for index in error.indices if index in place]
            if own:
                wish.end(error=NonFiniteSampleError(own))
        compute(group, pause)
    except BaseException as error:
        if len(group) == 1:
            group[0].end(error=error)
        for wish in group:  # whose error it was shows when each is alone
            compute([wish], pause)
    else:
        for wish, place in zip(group, places, strict=True):
            wish.end(decoded.select(place))


def _places(group: Sequence[DecodeRequest]) -> list[range]:
    """The rows of each wish in the batch."""
    places, start = [], 0
    for wish in group:
        places.append(range(start, start + len(wish.seeds)))
        start += len(wish.seeds)
    return places


def _decode(group: Sequence[DecodeRequest], pause: Callable[[], object]) -> Decoded:
    def on_level(level: int, levels: int) -> None:
        for wish in group:
            wish.level = (level, levels)
            if wish.abandoned:
                wish.end(error=_NobodyWaitsError())
        if all(wish.over.is_set() for wish in group):
            raise _NobodyWaitsError
        pause()

    first = group[0]
    log.debug("%d crystals for %d jobs", sum(len(wish.seeds) for wish in group), len(group))
    drawn = [seed for wish in group if wish.latents is None for seed in wish.seeds]
    prior = first.engine.sample_latents(drawn) if drawn else None
    parts, row = [], 0
    for wish in group:
        if wish.latents is None:
            assert prior is not None
            parts.append(prior.select(range(row, row + len(wish.seeds))))
            row += len(wish.seeds)
        else:
            parts.append(wish.latents)
    seeds = [seed for wish in group for seed in wish.seeds]
    fixed = [one for wish in group for one in wish.fixed]
    return first.engine.decode(Latents.cat(parts), seeds, first.sampler, on_level, fixed)
