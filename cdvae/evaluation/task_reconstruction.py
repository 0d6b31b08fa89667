"""Reconstruction: does decoding restore an encoded crystal?"""

from __future__ import annotations

import time
from typing import Any

from cdvae.data.dataset import CrystalDataset
from cdvae.data.process_map import Progress
from cdvae.data.structures import to_structures
from cdvae.evaluation.method import CDVAEMethod, Method
from cdvae.inference import predict
from cdvae.metrics.matching import duplicates
from cdvae.metrics.reconstruction_score import per_distinct, score_reconstruction


def evaluate_reconstruction(
    method: Method,
    data: CrystalDataset,
    seed: int,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return match rates and errors over ``data``; cell and composition are decoded, too.

    A data set of one element holds many copies of a crystal. Then ``distinct`` has the number of
    distinct crystals and their match rate, which counts each of them once; otherwise it is None.
    """
    started = time.perf_counter()
    predictions = method.reconstruct(data, seed, progress)
    seconds = time.perf_counter() - started
    references = to_structures(data.crystals)
    score = score_reconstruction(references, predictions, workers)
    distinct = None
    if len(data.crystals.atomic_numbers.unique()) == 1:
        copies = duplicates(references)
        matched = [float(detail.rms is not None) for detail in score.details]
        distinct = {
            "reference": sum(first is None for first in copies),
            "match_rate": per_distinct(copies, matched),
        }
    return {
        "match_rate": score.match_rate,
        "rmse": score.rmse,
        "match_rate_gated": score.match_rate_gated,
        "rmse_gated": score.rmse_gated,
        "distinct": distinct,
        "seconds": seconds,
    }


def reconstruct(
    method: CDVAEMethod,
    data: CrystalDataset,
    seed: int,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return `evaluate_reconstruction` of a CDVAE model, with its NFE and property errors.

    ``property_mae`` has the errors of the heads at the posterior means, for each property that
    ``data`` has.
    """
    figures = evaluate_reconstruction(method, data, seed, workers, progress)
    heads = predict(method.model, method.posterior_means(data).z)
    errors = {
        name: float((heads[name].cpu() - data.properties[:, i]).abs().nanmean())
        for i, name in enumerate(data.property_names)
    }
    return {**figures, "property_mae": errors, "nfe": method.nfe}
