"""The paper's table with our rows: three tasks on three data sets, by the paper's protocol.

The tables compare reconstruction, generation and property optimization with published numbers and
with a baseline that was trained and measured here.

    CDVAE_DATA=<folder of the data sets> python -m benchmarks.quality.reproduce_table \
        [--ftcp perov-5=<FTCP folder>] [--models perov-5] [--tasks recon gen] [--seeds 0 1 2]

Every number is one of `cdvae evaluate`: the newest version of each model in the store, official
split, 500 crystals to reconstruct, 1,000 to generate, 100 starts to optimize, for each sampling
seed; and, for the first seed, coverage by 10,000 generated crystals, as in the paper. Results are
kept in benchmarks/results and measured again only if weights, judge, data or command differ, so an
interrupted call resumes. The script prints the tables of all results and writes them into
docs/benchmarks.md. The exit status is 1 if a measurement failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality.table_rows import FTCP, OURS, DataSet, collect, render
from benchmarks.reporting import RESULTS, ROOT, Record, cached, publish, sha256
from cdvae_service.cli.console import find
from cdvae_service.models.store_errors import StoreError

DATA = {
    "perov-5": DataSet("Perov-5", "perov_5/test.csv.gz", "perov_5/train.csv.gz", 11356),
    "carbon-24": DataSet("Carbon-24", "carbon_24/test.csv.gz", "carbon_24/train.csv.gz", 6091),
    "mp-20": DataSet("MP-20", "mp_20/val.csv.gz", "mp_20/train_partial.csv.gz", 27136),
}
NUMBERS = {"recon": 500, "gen": 1000, "coverage": 10000, "opt": 100}
ONCE = {"coverage"}  # measured for the first seed only


@dataclass(frozen=True)
class Subject:
    """A trained method on its data set."""

    dataset: str  # key of DATA
    method: str
    reference: str  # as `cdvae evaluate` takes it
    weights: str  # SHA-256
    trained_on: int  # crystals
    judge: str | None  # reference of the model that judges, None for itself
    judge_weights: str


def subjects(store: Path, ftcp: Mapping[str, str]) -> list[Subject]:
    """Return the models of ``store`` and the FTCP models in the given folders, by data set.

    Raises:
        StoreError: an FTCP folder is missing, or the store has no model to judge it.
    """
    found: list[Subject] = []
    for name in DATA:
        try:
            card = _card(find(name, str(store)))
        except StoreError:
            if name in ftcp:
                raise
            continue
        ours, weights = f"{name}@{card['version']}", card["weights_sha256"]
        found.append(Subject(name, OURS, ours, weights, card["data"]["train"], None, weights))
        if name in ftcp:
            card = _card(find(ftcp[name], str(store)))
            own, count = card["weights_sha256"], card["data"]["train"]
            found.append(Subject(name, FTCP, ftcp[name], own, count, ours, weights))
    return found


def _card(folder: Path) -> Record:
    card: Record = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    return card


def command(subject: Subject, task: str) -> list[str]:
    """Return the call of `cdvae evaluate` without its seed, with files relative to CDVAE_DATA."""
    files = DATA[subject.dataset]
    mode = "gen" if task == "coverage" else task
    words = ["cdvae", "evaluate", subject.reference, "--task", mode, "--data", files.evaluated]
    words += ["--train", files.train] if task == "gen" else []
    words += ["--limit", str(NUMBERS[task])]
    words += ["--judge", subject.judge] if subject.judge else ["--sampler", "ancestral"]
    return words


def key_of(subject: Subject, task: str, seed: int, data: Path) -> Record:
    """Return everything that a result depends on."""
    files = DATA[subject.dataset]
    used = [files.evaluated, files.train] if task == "gen" else [files.evaluated]
    return {
        "dataset": subject.dataset,
        "method": subject.method,
        "task": task,
        "command": " ".join(command(subject, task)),
        "seed": seed,
        "weights_sha256": subject.weights,
        "trained_on": subject.trained_on,
        "judge_sha256": subject.judge_weights,
        "data_sha256": {name: sha256(data / name) for name in used},
    }


def evaluate(words: Sequence[str], seed: int, data: Path, store: Path, weights: str) -> Record:
    """Run the call in a new process and return the figures that it writes.

    Raises:
        CalledProcessError: the call failed.
        ValueError: the weights changed while the script ran.
    """
    known = {name for files in DATA.values() for name in (files.evaluated, files.train)}
    call = [str(data / word) if word in known else word for word in words[1:]]
    program = str(Path(sys.executable).with_name(words[0]))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        call += ["--seed", str(seed), "--store", str(store), "--out", str(out)]
        subprocess.run([program, *call], stdout=subprocess.DEVNULL, check=True)
        figures: Record = json.loads(out.read_text(encoding="utf-8"))
    if figures["weights_sha256"] != weights:
        raise ValueError(f"{words[2]} has other weights than at the start")
    return figures


def measure_all(
    chosen: Sequence[Subject], tasks: Sequence[str], seeds: Sequence[int], data: Path, store: Path
) -> list[str]:
    """Measure the missing results; return one line for each failure."""
    failures = []
    for subject in chosen:
        for task in tasks:
            for seed in seeds[:1] if task in ONCE else seeds:
                label = f"{subject.dataset} {subject.method} {task} seed {seed}"
                words = command(subject, task)

                def run(words: list[str] = words, seed: int = seed, s: Subject = subject) -> Record:
                    return evaluate(words, seed, data, store, s.weights)

                file = f"{subject.dataset}-{slug(subject.method)}-{task}-{seed}.json"
                try:
                    key = key_of(subject, task, seed, data)
                    record, kept = cached(RESULTS / file, key, run)
                except (subprocess.CalledProcessError, OSError, ValueError) as error:
                    failures.append(f"{label}: {error}")
                    continue
                state = "kept" if kept else f"{record['wall_seconds']:.0f} s"
                print(f"{label}: {state}", file=sys.stderr, flush=True)
    return failures


def slug(method: str) -> str:
    """Return the name of a method in file names."""
    return "ftcp" if method == FTCP else "cdvae"


def pair(text: str) -> tuple[str, str]:
    """Parse NAME=FOLDER; raises ArgumentTypeError if the text or the data set is not valid."""
    name, _, folder = text.partition("=")
    if name not in DATA or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER, NAME of {', '.join(DATA)}")
    return name, folder


def main() -> int:
    """Read the arguments, measure, print and write the tables; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--tasks", nargs="+", choices=NUMBERS, default=list(NUMBERS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2], help="none: only print")
    parser.add_argument("--ftcp", nargs="+", type=pair, default=[], metavar="NAME=FOLDER")
    parser.add_argument("--store", type=Path, default=ROOT / "model_store")
    parser.add_argument("--data", type=Path, default=os.environ.get("CDVAE_DATA"))
    arguments = parser.parse_args()
    if arguments.data is None and arguments.seeds:
        parser.error("give --data or set CDVAE_DATA")
    there = subjects(arguments.store, dict(arguments.ftcp))
    chosen = [subject for subject in there if subject.dataset in arguments.models]
    failures = measure_all(
        chosen, arguments.tasks, arguments.seeds, arguments.data, arguments.store
    )
    weights = {(subject.dataset, subject.method): subject.weights for subject in there}
    text = render(collect(RESULTS, weights), DATA)
    publish("table", text)
    print(text)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
