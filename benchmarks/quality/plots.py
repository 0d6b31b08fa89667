"""Three plots of a trained model against data that it was not trained on.

Claims: the heads read the properties from z; the distributions of generated crystals and data
agree; energy orders the latents.

    python -m benchmarks.quality.plots perov-5 --data FILE.csv.gz --out docs/plots

Writes NAME-parity.png (heads at the posterior means), NAME-distributions.png (density, and energy
by the independent property model for both sets), NAME-latents.png (first two principal components
of the posterior means) and the numbers in NAME.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.reporting import commit, hardware
from cdvae.data.dataset import CrystalDataset
from cdvae.data.structures import to_structures
from cdvae.evaluation.judge import judged
from cdvae.evaluation.method import CDVAEMethod
from cdvae.inference import SamplerSpec, predict
from cdvae.metrics.distribution import wasserstein
from cdvae.metrics.validity import structure_valid
from cdvae.model_folder import TrainedModel
from cdvae_service.cli.console import load, read

mpl.use("Agg")
import matplotlib.pyplot as plt

DATA_COLOR, OWN_COLOR = "0.55", "#3366aa"


def limits_of(values: np.ndarray) -> tuple[float, float]:
    """Return the limits of an axis: the range of the values and 5 % on each side."""
    low, high = float(np.min(values)), float(np.max(values))
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def principal_components(latents: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first ``number`` principal components (N, number) and their shares of variance."""
    centered = latents - latents.mean(0)
    left, singular, _ = np.linalg.svd(centered, full_matrices=False)
    variance = singular**2
    return (left * singular)[:, :number], variance[:number] / variance.sum()


def parity(model: TrainedModel, data: CrystalDataset, latents: Any, path: Path) -> dict[str, float]:
    """Draw predicted against known properties; return the mean absolute errors."""
    heads = predict(model, latents)
    names = data.property_names
    figure, panels = plt.subplots(1, len(names), figsize=(4 * len(names), 4), squeeze=False)
    errors = {}
    for i, (name, panel) in enumerate(zip(names, panels[0], strict=True)):
        known = data.properties[:, i].isfinite()
        true = data.properties[known, i].numpy()
        predicted = heads[name].cpu()[known].numpy()
        errors[name] = float(np.abs(predicted - true).mean())
        limits = limits_of(np.concatenate([true, predicted]))
        panel.plot(limits, limits, color="0.7", lw=1)
        panel.plot(true, predicted, ".", ms=3, alpha=0.4, color=OWN_COLOR)
        unit = model.card["properties"][name]["unit"]
        label = name.replace("_", " ")
        panel.set(xlim=limits, ylim=limits, aspect="equal")
        panel.set(xlabel=f"{label} in the data ({unit})", ylabel=f"read from z ({unit})")
        panel.set_title(f"{len(true):,} crystals, MAE {errors[name]:.3f} {unit}", fontsize=10)
    _save(figure, path)
    return errors


def distributions(
    model: TrainedModel, method: CDVAEMethod, data: CrystalDataset, n: int, seed: int, path: Path
) -> dict[str, float | None]:
    """Draw density and energy of ``n`` new crystals and the data; return Wasserstein distances."""
    generated = [s for s in method.generate(n, seed) if s is not None and structure_valid(s)]
    references = to_structures(data.crystals)
    energy = model.properties[0]
    unit = model.card["properties"][energy]["unit"]
    energy_label = f"{energy.replace('_', ' ')}, independent model ({unit})"
    panels_of = {
        "density (g/cm³)": [[s.density for s in group] for group in (references, generated)],
        energy_label: [judged(model, group, energy) for group in (references, generated)],
    }
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6))
    distances = {}
    for panel, (title, (theirs, ours)) in zip(panels, panels_of.items(), strict=True):
        bins = np.linspace(*limits_of(np.asarray(theirs)), 51)
        outside = sum(not bins[0] <= value <= bins[-1] for value in ours)
        label = f"generated, {len(ours):,}" + (f" ({outside} outside)" if outside else "")
        panel.hist(
            theirs,
            bins,
            density=True,
            color=DATA_COLOR,
            alpha=0.5,
            label=f"data, {len(theirs):,}",
        )
        outline = {"histtype": "step", "lw": 1.6, "color": OWN_COLOR}
        panel.hist(ours, bins, density=True, label=label, **outline)
        distances[title] = wasserstein(ours, theirs)
        shown = "–" if distances[title] is None else f"{distances[title]:.3f}"
        panel.set(xlabel=title, ylabel="probability density")
        panel.set_title(f"Wasserstein distance {shown}", fontsize=10)
        panel.legend(fontsize=8, frameon=False)
    _save(figure, path)
    return distances


def latent_map(model: TrainedModel, data: CrystalDataset, latents: Any, path: Path) -> list[float]:
    """Draw the posterior means on two principal components; return their shares of variance."""
    energy = data.property_names[0]
    known = data.properties[:, 0].isfinite()
    places, shares = principal_components(latents.cpu().double()[known].numpy(), 2)
    values = data.properties[known, 0].numpy()
    figure, panel = plt.subplots(figsize=(5.6, 4.6))
    # A few extreme energies would give all other crystals the same color.
    low, high = np.percentile(values, [1, 99])
    points = panel.scatter(
        places[:, 0], places[:, 1], s=5, c=values, cmap="viridis", vmin=low, vmax=high
    )
    unit = model.card["properties"][energy]["unit"]
    figure.colorbar(points, label=f"{energy.replace('_', ' ')} in the data ({unit})")
    panel.set(
        xlabel=f"first principal component ({100 * shares[0]:.1f} % of the variance)",
        ylabel=f"second ({100 * shares[1]:.1f} %)",
        title=f"posterior means of {len(values):,} crystals",
    )
    _save(figure, path)
    return [float(share) for share in shares]


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Read the arguments, draw the three plots and write their numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="name, name@version or a folder")
    parser.add_argument("--data", type=Path, required=True, help="CSV of a split")
    parser.add_argument("--out", type=Path, required=True, help="folder of the plots")
    parser.add_argument("--store", default="model_store")
    parser.add_argument("--limit", type=int, help="crystals read (all)")
    parser.add_argument("--generate", type=int, default=1000, help="crystals generated")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = load(arguments.model, arguments.store)
    wanted = model.card["properties"]
    data = read(arguments.data, wanted, lambda done, total: None, arguments.limit)
    if not data.property_names:
        parser.error(f"{arguments.data} has no property of {model.name}")
    out, name = arguments.out, model.name
    out.mkdir(parents=True, exist_ok=True)
    method = CDVAEMethod(model, SamplerSpec("ancestral"))
    latents = method.posterior_means(data).z
    numbers = {
        "model": f"{name}@{model.version}",
        "weights_sha256": model.weights_sha256,
        "data": arguments.data.name,
        "crystals": len(data),
        "seed": arguments.seed,
        "commit": commit(),
        "hardware": hardware(),
        "head_mae": parity(model, data, latents, out / f"{name}-parity.png"),
        "variance_shares": latent_map(model, data, latents, out / f"{name}-latents.png"),
        "wasserstein": distributions(
            model,
            method,
            data,
            arguments.generate,
            arguments.seed,
            out / f"{name}-distributions.png",
        ),
    }
    text = json.dumps(numbers, indent=2, ensure_ascii=False)
    (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
