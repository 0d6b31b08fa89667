"""Draw the learned score against the displacement of the atoms; print cosine and slope.

python -m benchmarks.quality.restoring_force MODEL_FOLDER DATA.csv.gz --out docs/restoring_force.png
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import matplotlib as mpl
import torch

from cdvae.compute import configure
from cdvae.data.dataset import load_cache
from cdvae.data.tensor_cache import prepare
from cdvae.model_folder import load_model
from cdvae.restoring_force import RestoringForce, restoring_force

mpl.use("Agg")
import matplotlib.pyplot as plt

SIGMAS = (0.02, 0.05, 0.1, 0.2)


def measure(folder: Path, data: Path, limit: int, seed: int) -> list[RestoringForce]:
    """Return the pull at each noise level for the first ``limit`` crystals of ``data``."""
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(temporary) / "data.safetensors"
        prepare(data, cache, {}, limit=limit)
        crystals = load_cache(cache).crystals
    rng = torch.Generator().manual_seed(seed)
    return restoring_force(load_model(folder), crystals, SIGMAS, rng)


def draw(results: list[RestoringForce], out: Path) -> None:
    """Draw a panel for each noise level: the components of the pull against the way back."""
    figure, panels = plt.subplots(1, len(results), figsize=(3.1 * len(results), 3.2))
    for panel, result in zip(panels, results, strict=True):
        way_back = -result.displacement.flatten()
        limit = 3 * result.sigma
        panel.plot([-limit, limit], [-limit, limit], color="0.6", lw=1, label="perfect spring")
        panel.plot(way_back, result.pull.flatten(), ".", ms=1.5, alpha=0.35, color="#3366aa")
        panel.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="way back (Å)")
        panel.set_title(
            f"σ = {result.sigma} Å\ncosine {result.cosine:.3f}, slope {result.slope:.3f}",
            fontsize=9,
        )
        panel.set_aspect("equal")
    panels[0].set_ylabel("σ² · learned score (Å)")
    panels[0].legend(fontsize=7, loc="upper left")
    figure.tight_layout()
    figure.savefig(out, dpi=130)


def main() -> None:
    """Read the arguments, measure, draw and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    configure()
    results = measure(arguments.model, arguments.data, arguments.limit, arguments.seed)
    draw(results, arguments.out)
    rows = [{"sigma": r.sigma, "cosine": r.cosine, "slope": r.slope} for r in results]
    print(json.dumps({"data": arguments.data.name, "crystals": arguments.limit, "levels": rows}))


if __name__ == "__main__":
    main()
