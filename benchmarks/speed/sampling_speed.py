"""Crystals per second of the default sampler and of `langevin` with 5,000 NFE, by batch size.

    python -m benchmarks.speed.sampling_speed [--model NAME] [--batch 1 16 256] [--threads 1 2]

`langevin` runs for `--langevin-steps` of its 5,000 evaluations, which all take the same time, and
is scaled to 5,000. `ratio` compares processor times. `cpu_ms_a_crystal` divides the processor time
of `ancestral` (one thread, the largest batch) into prior, neighbors and their basis, network, the
rest of the sampler, and the analysis of the finished crystals.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from typing import Any

from benchmarks.speed.timing import Seconds, Watch, arguments, emit, load, sample, timed
from cdvae import inference
from cdvae.compute import configure
from cdvae.data.cif_writer import write_cif
from cdvae.data.structures import to_structures
from cdvae.inference import LANGEVIN_LEVELS, SamplerSpec, decoding, latents
from cdvae.metrics.crystal_report import describe
from cdvae.metrics.matching import duplicates
from cdvae.model_folder import TrainedModel
from cdvae.nn import decoder
from cdvae.nn.backbone import Backbone

ANCESTRAL = SamplerSpec("ancestral")
LANGEVIN_EVALUATIONS = 100 * LANGEVIN_LEVELS


def median(model: TrainedModel, batch: int, sampler: SamplerSpec, repeats: int) -> Seconds:
    """Return the median seconds of the call."""
    runs = [timed(lambda: sample(model, batch, sampler)) for _ in range(repeats)]
    return Seconds(statistics.median(r.wall for r in runs), statistics.median(r.cpu for r in runs))


def compare(model: TrainedModel, batch: int, langevin_steps: int, repeats: int) -> dict[str, Any]:
    """Return one row: the rates of both samplers."""
    fast = median(model, batch, ANCESTRAL, repeats)
    prior = timed(lambda: inference.sample_latents(model, list(range(batch))))
    part = median(model, batch, SamplerSpec("langevin", langevin_steps), 1)
    slow = prior.cpu + (part.cpu - prior.cpu) * LANGEVIN_EVALUATIONS / langevin_steps
    return {
        "batch": batch,
        "fast_wall_ms_a_crystal": round(1000 * fast.wall / batch, 2),
        "fast_cpu_ms_a_crystal": round(1000 * fast.cpu / batch, 2),
        "crystals_a_second": round(batch / fast.wall, 2),
        "langevin_cpu_ms_a_crystal": round(1000 * slow / batch),
        "ratio": round(slow / fast.cpu, 1),
    }


def shares(model: TrainedModel, batch: int) -> dict[str, float]:
    """Return the processor time of each part in ms per crystal."""
    watch = Watch()
    parts = [
        (latents, "_draw", "prior"),
        (decoding, "initial_state", "start"),
        (decoder, "geometry", "graph"),
        (Backbone, "interact", "network"),
        (type(model.property_model), "values", "properties"),
    ]
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(watch.on(*part))
        crystals = []
        whole = timed(lambda: crystals.append(sample(model, batch, ANCESTRAL).crystals)).cpu
    structures = to_structures(crystals[0])
    checks = timed(
        lambda: (
            [describe(one) for one in structures],
            duplicates(structures),
            [write_cif(one, {"index": i}) for i, one in enumerate(structures)],
        )
    ).cpu
    found = {name: 1000 * seconds / batch for name, seconds in watch.seconds.items()}
    found["rest"] = 1000 * whole / batch - sum(found.values())
    found["checks"] = 1000 * checks / batch
    return {name: round(value, 2) for name, value in found.items()}


def main() -> None:
    """Print the rows for each number of threads, and the shares."""
    options = arguments(
        __doc__ or "",
        model="perov-5",
        batch=[1, 16, 256],
        threads=[1, 2],
        langevin_steps=50,
        repeats=3,
    )
    model = load(options.model)
    rows: dict[str, Any] = {}
    for threads in options.threads:
        configure(threads)
        sample(model, 4, ANCESTRAL)
        rows[f"threads_{threads}"] = [
            compare(model, batch, options.langevin_steps, options.repeats)
            for batch in options.batch
        ]
    configure(1)
    figures = {
        "model": options.model,
        "evaluations": {
            "ancestral": float(sample(model, 4, ANCESTRAL).nfe.double().mean()),
            "langevin": LANGEVIN_EVALUATIONS,
        },
        **rows,
        "cpu_ms_a_crystal": shares(model, max(options.batch)),
    }
    emit(figures, options.out)


if __name__ == "__main__":
    main()
