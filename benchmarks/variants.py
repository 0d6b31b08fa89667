"""The model without one of its parts, for benchmarks/ablations.py; nothing of it is in the product.

A variant replaces a class or function of the library while it is trained and measured, so every
other line is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor

import cdvae.diffusion.noise
import cdvae.nn.autoencoder
from cdvae.diffusion.score import Score, ScoreOutput
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.torus import shortest
from cdvae.nn.decoder import Condition, Decoder

FIXED_SIGMA = 0.3
"""Å; where the decoder's factor that grows towards small σ is about one."""


class UnconditionedDecoder(Decoder):
    """The decoder that does not know σ, as in Xie et al. (2022): σ·score is a function of the rest.

    The noise level is a constant for features and scaling; only the last division is by the true σ.
    """

    def bind(self, condition: Condition) -> Score:
        told = super().bind(condition)

        def score(crystals: CrystalBatch, sigma: Tensor) -> ScoreOutput:
            fixed = torch.full_like(sigma, FIXED_SIGMA)
            output = told(crystals, fixed)
            ratio = (fixed / sigma)[crystals.batch, None]
            return ScoreOutput(output.shift * ratio, output.species_logits)

        return score


def nearest_image_score(difference: Tensor, lattice: Tensor, sigma: Tensor) -> Tensor:
    """(A, 3) the way to the nearest image over σ, the target of Xie et al. (2022).

    The score of a normal that is not wrapped, times σ; the arguments are those of
    :func:`cdvae.geometry.torus.wrapped_normal_score`, which it stands in for.
    """
    return -shortest(difference, lattice) / sigma[:, None]


@dataclass(frozen=True)
class Variant:
    """What is trained (``training``), and what of it is measured."""

    title: str
    training: str  # variants with the same one share a run
    replaced: tuple[tuple[object, str, Callable], ...] = ()
    weights: str = "average"  # or "model", those of the last step
    prior: str = "learned"  # or "normal"

    @contextmanager
    def active(self) -> Iterator[None]:
        """The library with the variant's parts in place of its own."""
        with ExitStack() as stack:
            for owner, name, part in self.replaced:
                stack.enter_context(patch.object(owner, name, part))
            yield


VARIANTS = {
    "baseline": Variant("as shipped", "baseline"),
    "unconditioned": Variant(
        "score not told σ",
        "unconditioned",
        ((cdvae.nn.autoencoder, "Decoder", UnconditionedDecoder),),
    ),
    "nearest-image": Variant(
        "nearest image instead of wrapped normal",
        "nearest-image",
        ((cdvae.diffusion.noise, "wrapped_normal_score", nearest_image_score),),
    ),
    "normal-prior": Variant("N(0, I) instead of learned prior", "baseline", prior="normal"),
    "last-weights": Variant("last instead of averaged weights", "baseline", weights="model"),
}
