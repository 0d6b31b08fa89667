"""Perov-5 without one part of the model at a time: what does each part give?

Claim: σ-conditioning, the wrapped-normal target, the learned prior and the average of the weights
are worth having, at the same small budget, seed and data each.

    python benchmarks/ablations.py model_store/perov-5/2 --data cache/perov_5

Settings are those of the model folder, with a short schedule: no phase of the decoder alone, and an
average that looks back over a tenth of the run. Trained on train, measured on val: the first 200
crystals reconstructed and 200 generated with 100 score evaluations each, for three sampling seeds.
Runs are kept in runs/ablations and go on where they stopped; results are kept in
benchmarks/results/ablations. Prints the table and writes it into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from reporting import RESULTS, ROOT, Record, cached, markdown, mean_sd, publish, sha256
from variants import VARIANTS, Variant

from cdvae.compute import available_threads, configure, default_device
from cdvae.config import TrainConfig, build_prior
from cdvae.data.dataset import CrystalDataset
from cdvae.data.structures import to_structures
from cdvae.evaluation.method import CDVAEMethod
from cdvae.evaluation.sampling_protocol import sample_all
from cdvae.geometry.crystal import element_counts
from cdvae.inference import SamplerSpec, crystal_seed, sample_latents
from cdvae.metrics.reconstruction_score import score_reconstruction, validities
from cdvae.metrics.validity import species_counts
from cdvae.model_folder import TrainedModel, load_model
from cdvae.nn.autoencoder import CDVAE
from cdvae.prior.latent_prior import LatentPrior
from cdvae.training.checkpoint import load_state, save_state
from cdvae.training.encode import encode_all
from cdvae.training.loop import train
from cdvae.training.prior_training import fit_prior
from cdvae.training.train import load_split

SAMPLER = SamplerSpec("ancestral", 100)
COLUMNS = {
    "match %": ("match_rate", 1, 100.0),
    "RMSE": ("rmse", 4, 1.0),
    "composition exact %": ("composition_exact", 1, 100.0),
    "struct. %": ("structure_validity", 1, 100.0),
    "comp. %": ("composition_validity", 1, 100.0),
    "both valid %": ("validity", 1, 100.0),
}


def budget(config: TrainConfig, steps: int, prior_steps: int) -> TrainConfig:
    """``config`` with a short schedule, the same for every variant."""
    optimizer = replace(
        config.optimizer,
        steps=steps,
        freeze_encoder_after=steps,  # one phase: the average of encoder and heads is compared too
        warmup_steps=min(config.optimizer.warmup_steps, steps // 10),
        ema_decay=1 - 10 / max(steps, 20),
        seed=0,
    )
    return replace(config, optimizer=optimizer, prior=replace(config.prior, steps=prior_steps))


def trained_network(
    variant: Variant, config: TrainConfig, data: CrystalDataset, val: CrystalDataset, run: Path
) -> CDVAE:
    """The variant's network, trained to the end of its budget, with the weights that it asks for.

    To be called inside ``variant.active()``.
    """
    torch.compiler.reset()  # a limit on recompilations counts over all networks of a process
    network = train(config, data, val, run)
    if variant.weights == "average":
        return network
    groups, _ = load_state(run / "state.safetensors")
    last = CDVAE(config.model)
    last.load_state_dict(groups[variant.weights])
    return last.to(next(network.parameters()).device).eval()


def trained_prior(
    network: CDVAE, config: TrainConfig, data: CrystalDataset, path: Path
) -> LatentPrior:
    """The prior of a network's latents of ``data``; read from ``path`` if it is there."""
    if path.exists():
        groups, _ = load_state(path)
        prior = build_prior(config)
        prior.load_state_dict(groups["prior"])
        return prior.eval().requires_grad_(False)
    posterior = encode_all(network, data)
    counts, max_atoms = element_counts(data.crystals), config.model.max_atoms
    prior = fit_prior(posterior.z.mean, counts, max_atoms, config.prior, lambda *done: None)
    save_state(path, {"prior": prior.state_dict()}, {})
    return prior


def measure(model: TrainedModel, prior: str, data: CrystalDataset, n: int, seed: int) -> Record:
    """Reconstruction of ``data`` and validity of ``n`` new crystals, fractions 0 to 1."""
    workers = available_threads()
    references = to_structures(data.crystals)
    decoded = CDVAEMethod(model, SAMPLER).reconstruct(data, seed)
    score = score_reconstruction(references, decoded, workers)
    pairs = zip(references, decoded, strict=True)
    exact = [d is not None and species_counts(r) == species_counts(d) for r, d in pairs]

    def latents_of(rows: range) -> torch.Tensor:
        return sample_latents(model, [crystal_seed(seed, i) for i in rows], prior)

    checks = validities(sample_all(model, latents_of, n, seed, SAMPLER).structures, workers)
    return {
        "match_rate": score.match_rate,
        "rmse": score.rmse,
        "composition_exact": sum(exact) / len(exact),
        "structure_validity": sum(check.structure for check in checks) / n,
        "composition_validity": sum(check.composition for check in checks) / n,
        "validity": sum(check.both for check in checks) / n,
    }


def ablate(
    variant: Variant,
    shipped: TrainedModel,
    config: TrainConfig,
    splits: tuple[CrystalDataset, CrystalDataset],
    run: Path,
    number: int,
    seeds: list[int],
) -> Record:
    """The numbers of a variant by seed; trains what is not yet trained."""
    data, val = splits
    with variant.active():
        network = trained_network(variant, config, data, val, run)
        prior = trained_prior(network, config, data, run / f"prior-{variant.weights}.safetensors")
        # Card and property model only serve the pipeline; no number here comes from them.
        model = replace(shipped, config=config, network=network, prior=prior)
        for module in (network, prior):
            module.to(shipped.device).requires_grad_(False)
        chosen = val.select(range(min(number, len(val))))
        return {str(s): measure(model, variant.prior, chosen, number, s) for s in seeds}


def table(records: dict[str, Record]) -> str:
    """A row for each variant, mean ± standard deviation over the sampling seeds, and how it arose.

    The records are those of one call, so that their budget is the same.
    """
    rows = []
    for name, record in records.items():
        figures = record["figures"].values()
        cells = [
            mean_sd([f[field] for f in figures], digits, factor)
            for field, digits, factor in COLUMNS.values()
        ]
        rows.append([VARIANTS[name].title, *cells, record["date"][:10]])
    first = next(iter(records.values()))
    key = first["key"]
    note = (
        f"{key['steps']:,} training steps of {key['batch_size']} crystals each (seed 0), prior"
        f" {key['prior_steps']:,} steps; the first {key['crystals']} crystals of val reconstructed,"
        f" {key['crystals']} generated, {SAMPLER.nfe} score evaluations a crystal; sampling seeds"
        f" {', '.join(map(str, key['seeds']))}. Command: `{key['command']}`. {first['hardware']},"
        f" commit {first['commit']}."
    )
    return markdown(["variant", *COLUMNS, "date"], rows) + "\n\n" + note


def main() -> None:
    """Reads the arguments, trains and measures what is missing, prints and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of the model whose settings are used")
    parser.add_argument("--data", type=Path, required=True, help="folder of the tensor caches")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--prior-steps", type=int, default=3000)
    parser.add_argument("--crystals", type=int, default=200)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "ablations")
    parser.add_argument("--results", type=Path, default=RESULTS / "ablations")
    arguments = parser.parse_args()
    configure()
    shipped = load_model(arguments.model, default_device())
    config = budget(shipped.config, arguments.steps, arguments.prior_steps)
    data, val = (load_split(arguments.data, split, config) for split in ("train", "val"))
    key = {
        "command": f"python benchmarks/ablations.py {arguments.model} --data {arguments.data}"
        f" --steps {arguments.steps} --prior-steps {arguments.prior_steps}"
        f" --crystals {arguments.crystals} --seeds {' '.join(map(str, arguments.seeds))}",
        "steps": arguments.steps,
        "batch_size": config.optimizer.batch_size,
        "prior_steps": arguments.prior_steps,
        "crystals": arguments.crystals,
        "seeds": arguments.seeds,
        "settings_sha256": sha256(arguments.model / "config.toml"),
        "data_sha256": {s: sha256(arguments.data / f"{s}.safetensors") for s in ("train", "val")},
    }
    # A run belongs to its settings: another budget must not go on from its state.
    budget_name = f"{key['settings_sha256'][:8]}-{arguments.steps}-{arguments.prior_steps}"
    records = {}
    for name, variant in VARIANTS.items():

        def run(variant: Variant = variant) -> Record:
            folder = arguments.runs / budget_name / variant.training
            splits = (data, val)
            number, seeds = arguments.crystals, arguments.seeds
            return ablate(variant, shipped, config, splits, folder, number, seeds)

        path = arguments.results / f"{name}.json"
        records[name], kept = cached(path, {**key, "variant": name}, run)
        print(f"{name}: {'kept' if kept else 'measured'}", file=sys.stderr, flush=True)
    text = table(records)
    publish("ablations", text)
    print(text)


if __name__ == "__main__":
    main()
