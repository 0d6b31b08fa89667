"""Draw how the decoder pulls displaced atoms back to their sites: the figure of "How it works".

python -m benchmarks.figures.draw_denoising model_store/perov-5/2 docs/figures/denoising.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import torch

from cdvae.compute import configure
from cdvae.geometry.crystal import CrystalBatch
from cdvae.model_folder import load_model
from cdvae.restoring_force import restoring_force

mpl.use("Agg")
import matplotlib.pyplot as plt

SIGMAS = (0.4, 0.2, 0.1, 0.05)  # Å
EDGE = 3.95  # Å, of cubic SrTiO3
ATOMS = {  # symbol: atomic number, fractional coordinates, color
    "Sr": (38, [(0.0, 0.0, 0.0)], "#4c9f70"),
    "Ti": (22, [(0.5, 0.5, 0.5)], "#5b7fbd"),
    "O": (8, [(0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5)], "#d1495b"),
}


def strontium_titanate() -> CrystalBatch:
    """Return cubic SrTiO3 as a batch of one crystal."""
    numbers = [number for number, sites, _ in ATOMS.values() for _ in sites]
    sites = [site for _, sites, _ in ATOMS.values() for site in sites]
    return CrystalBatch(
        lattice=EDGE * torch.eye(3)[None],
        frac_coords=torch.tensor(sites),
        atomic_numbers=torch.tensor(numbers),
        num_atoms=torch.tensor([len(numbers)]),
    )


def main() -> None:
    """Read the arguments and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    configure()
    crystals = strontium_titanate()
    rng = torch.Generator().manual_seed(3)
    results = restoring_force(load_model(arguments.model), crystals, SIGMAS, rng)
    colors = [color for _, sites, color in ATOMS.values() for _ in sites]
    symbols = [symbol for symbol, (_, sites, _) in ATOMS.items() for _ in sites]
    # A projection that keeps the five atoms apart.
    view = torch.tensor([[1.0, 0.0], [-0.35, 0.3], [0.0, 1.0]])
    ideal = EDGE * crystals.frac_coords @ view
    corners = EDGE * torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    figure, panels = plt.subplots(1, len(SIGMAS), figsize=(11, 3.3))
    for panel, result in zip(panels, results, strict=True):
        for a in corners:
            for b in corners:
                if abs(float((b - a).sum()) - EDGE) < 0.01 and bool((b >= a).all()):
                    panel.plot(*torch.stack((a @ view, b @ view)).T, color="0.8", lw=1, zorder=0)
        moved = ideal + result.displacement @ view
        pull = result.pull @ view
        panel.scatter(*ideal.T, s=190, facecolors="none", edgecolors=colors, linestyles=":")
        panel.scatter(*moved.T, s=150, color=colors, alpha=0.85)
        panel.quiver(*moved.T, *pull.T, angles="xy", scale_units="xy", scale=1, width=0.008)
        for place, symbol in zip(moved, symbols, strict=True):
            panel.annotate(
                symbol, place.tolist(), ha="center", va="center", fontsize=7, color="white"
            )
        panel.set_title(f"noise level σ = {result.sigma} Å", fontsize=10)
        panel.set(xlim=(-2.2, 4.8), ylim=(-0.9, 5.8), aspect="equal")
        panel.axis("off")
    figure.tight_layout()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
