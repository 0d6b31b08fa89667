"""The trust region of a search: how far the next step may go, and when to stop."""

from __future__ import annotations

import math

GROW, SHRINK = 1.5, 0.5
"""Factors of the radius after a good and after a bad step."""
GOOD_RATIO, BAD_RATIO = 0.75, 0.25
"""Ratios of validated to predicted gain above which a radius grows and below which it shrinks."""
MIN_GAIN = 0.01
"""The smallest decrease of the cost, in standard deviations, that counts as progress."""


class TrustRegion:
    """The trust region of one search, sized by the ratio of validated to predicted gain.

    The head predicts a cost at the end of a gradient path, where it is easily wrong. The validated
    cost is its value for the crystal that is decoded from that latent and encoded again. See the
    ratio test of trust-region methods (Nocedal and Wright, Numerical Optimization, chapter 4).

    Args:
        radius: root mean square of a step, in units of the prior's noise.
        patience: steps without progress after which the search stops; None: it never stops.
    """

    def __init__(self, radius: float, patience: int | None) -> None:
        self.radius = radius
        self._patience = patience
        self._steps_without_progress = 0

    @property
    def exhausted(self) -> bool:
        """True if the last ``patience`` steps brought no progress."""
        return self._patience is not None and self._steps_without_progress >= self._patience

    def update(self, before: float, predicted: float, after: float, improved: bool) -> None:
        """Adapt the radius after a step; costs are infinite while no valid crystal is known."""
        gain = before - after if improved else 0.0
        if gain >= MIN_GAIN:
            self._steps_without_progress = 0
        else:
            self._steps_without_progress += 1
        if not improved:
            self.radius *= SHRINK
        elif math.isfinite(before) and before > predicted:
            ratio = gain / (before - predicted)
            if ratio >= GOOD_RATIO:
                self.radius *= GROW
            elif ratio < BAD_RATIO:
                self.radius *= SHRINK
