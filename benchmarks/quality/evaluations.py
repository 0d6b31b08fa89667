"""Quality against NFE, compared with `langevin` and its 5,000 evaluations.

The table shows what the default sampler loses against `langevin`, and what fewer evaluations lose.

    python -m benchmarks.quality.evaluations perov-5 --data <CDVAE_DATA>/perov_5/val.csv.gz

The script reconstructs the first crystals of a split from their posterior means and generates as
many new ones, with the `ancestral` sampler, for each NFE and each sampling seed. `langevin` also
reconstructs these crystals; it is slow, so each of its seeds (`--reference`) has a separate record
in benchmarks/results. The script prints the table of all records, writes it into docs/benchmarks.md
and draws the curve as docs/plots/NAME-evaluations.png.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from benchmarks.reporting import RESULTS, ROOT, Record, cached, markdown, mean_sd, publish, sha256
from cdvae.compute import available_threads
from cdvae.data.dataset import CrystalDataset
from cdvae.data.structures import to_structures
from cdvae.evaluation.method import CDVAEMethod
from cdvae.inference import SamplerSpec
from cdvae.metrics.reconstruction_score import score_reconstruction, validities
from cdvae.model_folder import TrainedModel
from cdvae_service.cli.console import load, read

mpl.use("Agg")
import matplotlib.pyplot as plt

LANGEVIN = SamplerSpec("langevin")
FOLDER = RESULTS / "evaluations"
PLOTS = ROOT / "docs" / "plots"


def reconstruct(
    model: TrainedModel, data: CrystalDataset, sampler: SamplerSpec, seed: int
) -> Record:
    """Return match rate, RMSE and validity of the reconstructed ``data``; fractions 0 to 1."""
    references, workers = to_structures(data.crystals), available_threads()
    method = CDVAEMethod(model, sampler)
    decoded = method.reconstruct(data, seed)
    score = score_reconstruction(references, decoded, workers)
    checks = validities(decoded, workers)
    return {
        "sampler": sampler.name,
        "steps": sampler.nfe,
        "seed": seed,
        "nfe": method.nfe,
        "match_rate": score.match_rate,
        "rmse": score.rmse,
        "structure_validity": statistics.fmean(check.structure for check in checks),
    }


def renew(model: TrainedModel, n: int, sampler: SamplerSpec, seed: int) -> Record:
    """Return the validity of ``n`` new crystals; fractions 0 to 1."""
    method = CDVAEMethod(model, sampler)
    checks = validities(method.generate(n, seed), available_threads())
    return {
        "new_score_evaluations": method.nfe,
        "new_structure_validity": statistics.fmean(check.structure for check in checks),
        "new_composition_validity": statistics.fmean(check.composition for check in checks),
    }


def measure(
    model: TrainedModel, data: CrystalDataset, steps: Sequence[int], seeds: Sequence[int]
) -> Record:
    """Return the rows of `ancestral` for each NFE and seed."""
    rows = []
    for number in steps:
        for seed in seeds:
            sampler = SamplerSpec("ancestral", number)
            row = reconstruct(model, data, sampler, seed)
            rows.append(row | renew(model, len(data), sampler, seed))
    return {"rows": rows}


def groups(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Group the rows by model, sampler and NFE, in their order; return them with the model."""
    found: dict[tuple[str, str, int | None], list[Record]] = {}
    for record in records:
        model = record["key"]["model"]
        for row in record["figures"]["rows"]:
            found.setdefault((model, row["sampler"], row["steps"]), []).append(row)
    return [(model, rows) for (model, _, _), rows in found.items()]


def table(records: Sequence[Record]) -> str:
    """Return the table: a row for each sampler and NFE, mean ± deviation over its seeds."""
    columns = {
        "NFE": ("nfe", 0, 1.0),
        "match %": ("match_rate", 1, 100.0),
        "RMSE": ("rmse", 4, 1.0),
        "struct. %": ("structure_validity", 1, 100.0),
        "new: NFE": ("new_score_evaluations", 0, 1.0),
        "new: struct. %": ("new_structure_validity", 1, 100.0),
        "new: comp. %": ("new_composition_validity", 1, 100.0),
    }
    lines = []
    for model, rows in groups(records):
        steps = "" if rows[0]["steps"] is None else f", at most {rows[0]['steps']}"
        cells = [
            mean_sd([row.get(field) for row in rows], digits, factor)
            for field, digits, factor in columns.values()
        ]
        lines.append([model, f"`{rows[0]['sampler']}`{steps}", *cells])
    notes = [
        f"- {record['key']['model']}: `{record['key']['command']}`, weights"
        f" {record['key']['weights_sha256'][:8]}, {record['date'][:10]}, commit"
        f" {record['commit']}, {record['hardware']}."
        for record in records
    ]
    return markdown(["model", "sampler", *columns], lines) + "\n\n" + "\n".join(notes)


def draw(slow: Sequence[Record], fast: Record, path: Path) -> None:
    """Draw match rate and RMSE of `ancestral` against NFE; a line shows `langevin`."""
    across = [row for record in slow for row in record["figures"]["rows"]]
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6))
    for panel, field, factor, label in (
        (panels[0], "match_rate", 100.0, "match (%)"),
        (panels[1], "rmse", 1.0, "RMSE ((V/N)$^{1/3}$)"),
    ):
        points = []
        for _, group in groups([fast]):
            values = [factor * row[field] for row in group if row[field] is not None]
            if values:
                deviation = statistics.stdev(values) if len(values) > 1 else 0.0
                points.append((group[0]["steps"], statistics.fmean(values), deviation))
        x, y, deviations = zip(*points, strict=True)
        panel.errorbar(
            x, y, deviations, fmt="o-", ms=4, capsize=3, color="#3366aa", label="ancestral"
        )
        slowly = [factor * row[field] for row in across if row[field] is not None]
        if slowly:
            mean = statistics.fmean(slowly)
            panel.axhline(mean, color="0.55", ls="--", label="langevin, 5,000")
        panel.set_xscale("log")
        panel.set_xticks(x, map(str, x))
        panel.minorticks_off()
        panel.set(xlabel="NFE of a crystal, at most", ylabel=label)
        panel.grid(color="0.9")
        panel.legend(fontsize=8, frameon=False)
    panels[1].set_yscale("log")
    key = fast["key"]
    title = f"{key['model']}: {key['crystals']} crystals, {len(key['seeds'])} sampling seeds"
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Read the arguments, measure missing records, print and write the table, draw the curve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="name, name@version or a folder")
    parser.add_argument("--data", type=Path, required=True, help="CSV of a split")
    parser.add_argument("--store", default=str(ROOT / "model_store"))
    parser.add_argument(
        "--crystals", type=int, default=200, help="number to reconstruct, and to generate"
    )
    parser.add_argument("--steps", nargs="+", type=int, default=[2, 5, 10, 16, 25, 50, 100])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--reference", nargs="+", type=int, default=[0, 1, 2], help="seeds of `langevin`"
    )
    arguments = parser.parse_args()
    model = load(arguments.model, arguments.store)
    data = read(arguments.data, {}, lambda done, total: None, arguments.crystals)
    same = {
        "model": f"{model.name}@{model.version}",
        "weights_sha256": model.weights_sha256,
        "data_sha256": sha256(arguments.data),
        "crystals": len(data),
    }
    call = (
        f"evaluations.py {arguments.model} --data {arguments.data.parent.name}/"
        f"{arguments.data.name} --crystals {arguments.crystals}"
    )
    seeds = arguments.seeds

    def reference(seed: int) -> Record:
        return cached(
            FOLDER / f"{model.name}-langevin-{seed}.json",
            {**same, "command": f"{call} --reference {seed}", "seeds": [seed]},
            lambda: {"rows": [reconstruct(model, data, LANGEVIN, seed)]},
        )[0]

    slow = [reference(seed) for seed in arguments.reference]
    steps = " ".join(map(str, arguments.steps))
    command = f"{call} --steps {steps} --seeds {' '.join(map(str, seeds))}"
    fast, _ = cached(
        FOLDER / f"{model.name}-fast.json",
        {**same, "command": command, "seeds": seeds},
        lambda: measure(model, data, arguments.steps, seeds),
    )
    draw(slow, fast, PLOTS / f"{model.name}-evaluations.png")
    kept = sorted(FOLDER.glob("*.json"))
    text = table([json.loads(path.read_text(encoding="utf-8")) for path in kept])
    publish("evaluations", text)
    print(text)


if __name__ == "__main__":
    main()
