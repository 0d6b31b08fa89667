"""How far a search may go at once, and when it is over."""

from __future__ import annotations

import math

GROW, SHRINK = 1.5, 0.5
KEPT_WELL, KEPT_BADLY = 0.75, 0.25
"""Parts of the predicted gain above which a radius grows and below which it shrinks."""
SMALL_GAIN = 0.01
"""Of cost, which is in standard deviations: less is no progress."""


class Trust:
    """The trust region of one search: what the head predicted against what the crystal holds.

    The promise is the head's at a latent that gradients have led to, where it is easily fooled;
    what holds is its value for the crystal that was decoded from there and encoded again (the ratio
    test of trust-region methods, Nocedal and Wright, Numerical Optimization, chapter 4).

    radius: root mean square, in units of the prior's noise; patience: moves without progress after
    which the search is over, None for never.
    """

    def __init__(self, radius: float, patience: int | None) -> None:
        self.radius = radius
        self._patience = patience
        self._idle = 0

    @property
    def over(self) -> bool:
        """Whether nothing has improved for long enough."""
        return self._patience is not None and self._idle >= self._patience

    def moved(self, before: float, predicted: float, after: float, improved: bool) -> None:
        """Learns from a move; the numbers are badnesses, infinite without a valid crystal."""
        gain = before - after if improved else 0.0
        self._idle = 0 if gain >= SMALL_GAIN else self._idle + 1
        if not improved:
            self.radius *= SHRINK
        elif math.isfinite(before) and before > predicted:
            kept = gain / (before - predicted)
            if kept >= KEPT_WELL:
                self.radius *= GROW
            elif kept < KEPT_BADLY:
                self.radius *= SHRINK
