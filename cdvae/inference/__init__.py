"""The tasks of the model, end to end, from seeds, crystals or latents to crystals.

Each crystal has a seed, from which all of its random numbers derive. So it does not depend on its
batch, on the size of chunks or on crystals that were sampled before it.
"""

from cdvae.inference.chunks import chunks, portions
from cdvae.inference.constrained_prior import ConstrainedPrior, Drawn
from cdvae.inference.decoding import Decoded, decode, decode_finite, estimate
from cdvae.inference.latents import encode, predict, sample_latents, sample_posterior
from cdvae.inference.sampler_plans import (
    LANGEVIN_LEVELS,
    SamplerSpec,
    max_nfe,
    restart_policy,
)
from cdvae.inference.seeds import crystal_seed

__all__ = [
    "LANGEVIN_LEVELS",
    "ConstrainedPrior",
    "Decoded",
    "Drawn",
    "SamplerSpec",
    "chunks",
    "crystal_seed",
    "decode",
    "decode_finite",
    "encode",
    "estimate",
    "max_nfe",
    "portions",
    "predict",
    "restart_policy",
    "sample_latents",
    "sample_posterior",
]
