"""The tasks of the model, end to end: seeds or crystals or latents in, crystals out.

Every random number of crystal i comes from generators seeded by its own seed, so the crystal does
not depend on its batch, on chunk sizes or on what was sampled before.
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
