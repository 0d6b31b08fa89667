"""Turn stored results into the tables of docs/benchmarks.md: published rows, our rows, origins.

Conventions are the paper's: percent for matches, validity and coverage, fractions for success
rates, mean ± standard deviation over the sampling seeds for our rows.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reporting import ROOT, UNKNOWN, Record, markdown, mean_sd

OURS, FTCP = "this project", "FTCP, trained here"
TASKS = {"recon": "Reconstruction", "gen": "Generation", "opt": "Property optimization"}
# Tables of a task, and of the same with other numbers of crystals, as in the paper's coverage.
MEASURED = {"recon": ["recon"], "gen": ["gen", "coverage"], "opt": ["opt"]}
PUBLISHED = ROOT / "benchmarks" / "quality" / "published.json"

Groups = Mapping[tuple[str, str, str], Sequence[Record]]


@dataclass(frozen=True)
class DataSet:
    """A data set of the paper and its files below CDVAE_DATA."""

    title: str
    evaluated: str
    train: str
    official_train: int  # crystals in the official training split

    @property
    def split(self) -> str:
        """Return the name of the evaluated split."""
        return Path(self.evaluated).name.partition(".")[0]


@dataclass(frozen=True)
class Column:
    """A column of a table: a number of the results and its format."""

    title: str
    name: str  # dotted path into the figures
    digits: int
    factor: float = 1.0

    def of(self, records: Sequence[Record]) -> str:
        """Return mean and deviation over the seeds; a dash without a number."""
        return mean_sd([_value(r["figures"], self.name) for r in records], self.digits, self.factor)


def _percent(title: str, name: str) -> Column:
    return Column(title, name, 2, 100.0)


PAPER = {
    "recon": (_percent("match %", "match_rate"), Column("RMSE", "rmse", 4)),
    "gen": (
        _percent("struct. %", "structure_validity"),
        _percent("comp. %", "composition_validity"),
        _percent("COV-R %", "cov_recall"),
        _percent("COV-P %", "cov_precision"),
        Column("W density", "w_density", 4),
        Column("W energy", "w_energy", 4),
        Column("W elements", "w_num_elements", 4),
    ),
    "opt": tuple(Column(f"SR{p}", f"success_rate.{p}", 2) for p in (5, 10, 15)),
}
MORE = {
    "recon": (
        _percent("match % of valid", "match_rate_gated"),
        Column("RMSE of valid", "rmse_gated", 4),
        _percent("distinct crystals: match %", "distinct.match_rate"),
        Column("NFE", "nfe", 0),
        Column("seconds of decoding", "seconds", 0),
    ),
    "gen": (
        _percent("both valid %", "validity"),
        _percent("joint COV-R %", "cov_recall_joint"),
        _percent("joint COV-P %", "cov_precision_joint"),
        _percent("distinct crystals: COV-R %", "distinct.cov_recall"),
        _percent("unique %", "uniqueness"),
        _percent("novel %", "novelty"),
        Column("seconds of sampling", "seconds", 0),
    ),
    "opt": (
        *(Column(f"SR{p} of the starts", f"success_rate_of_starts.{p}", 2) for p in (5, 10, 15)),
        _percent("valid decodings %", "validity"),
        Column("seconds", "seconds", 0),
    ),
}


def _value(figures: Record, name: str) -> float | None:
    found: Any = figures
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return None if found is None else float(found)


def collect(folder: Path, weights: Mapping[tuple[str, str], str]) -> Groups:
    """Return the results in ``folder`` by data set, method and task, one for each seed.

    A group holds the newest results that differ only in the seed. Results of other ``weights`` than
    the present ones of the method and data set are left out.
    """
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        key = record.get("key")
        if key is None:  # another benchmark wrote it
            continue
        if (
            weights.get((key["dataset"], key["method"]), key["weights_sha256"])
            == (key["weights_sha256"])
        ):
            groups[key["dataset"], key["method"], key["task"]].append(record)
    for place, records in groups.items():
        newest = _kind(max(records, key=lambda record: record["date"]))
        same = [record for record in records if _kind(record) == newest]
        groups[place] = sorted(same, key=lambda record: record["key"]["seed"])
    return groups


def _kind(record: Record) -> Record:
    return {name: value for name, value in record["key"].items() if name != "seed"}


def render(groups: Groups, data: Mapping[str, DataSet]) -> str:
    """Return all tables: the paper's three, further numbers, and the origin of each row."""
    published: Record = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    parts = []
    for task, title in TASKS.items():
        rows = []
        for name, files in data.items():
            rows += [[files.title, *row] for row in _published(published[name][task])]
            for measured in MEASURED[task]:
                rows += _measured(groups, name, files, measured, PAPER[task])
        parts += [f"### {title}", markdown(_header(PAPER[task]), rows)]
    sources = "; ".join(f"{method}: {source}" for method, source in published["sources"].items())
    parts += [f"Published rows. {sources}.", "### Beyond the paper's table"]
    for task, title in TASKS.items():
        rows = [
            row
            for name, files in data.items()
            for measured in MEASURED[task]
            for row in _measured(groups, name, files, measured, MORE[task])
        ]
        if rows:
            parts += [title + ":", markdown(_header(MORE[task]), rows)]
    return "\n\n".join([*parts, "### How these rows arose", _origin(groups, data)])


def _header(columns: Sequence[Column]) -> list[str]:
    return ["data set", "method", *(column.title for column in columns)]


def _published(rows: Mapping[str, Sequence[str]]) -> list[list[str]]:
    return [[f"{method} (published)", *values] for method, values in rows.items()]


def _measured(
    groups: Groups, name: str, files: DataSet, task: str, columns: Sequence[Column]
) -> list[list[str]]:
    rows = []
    for method in (FTCP, OURS):
        records = groups.get((name, method, task))
        if not records:
            continue
        values = [column.of(records) for column in columns]
        number = f", {records[0]['figures']['number']:,} crystals" if task not in TASKS else ""
        name_of_row = f"**{method}**{number}{_partial(records, files)}"
        rows.append([files.title, name_of_row, *values])
    return rows


def _partial(records: Sequence[Record], files: DataSet) -> str:
    """Return a note for a method that was trained on a part of the training split."""
    seen = records[0]["key"]["trained_on"]
    return "" if seen == files.official_train else f" ({seen:,} of {files.official_train:,} train)"


def _origin(groups: Groups, data: Mapping[str, DataSet]) -> str:
    """Return crystals, seeds, dates, commits, weights, machines and commands of our rows."""
    columns: dict[str, Callable[[Record], str]] = {
        "crystals": lambda r: str(r["figures"]["number"]),
        "seeds": lambda r: str(r["key"]["seed"]),
        "date": lambda r: r["date"][:10],
        "commit": lambda r: r["commit"],
        "weights": lambda r: r["key"]["weights_sha256"][:8],
        "hardware": lambda r: r["hardware"],
        "command, with `--seed` as given": lambda r: f"`{r['key']['command']}`",
    }
    rows = []
    for name, files in data.items():
        for method in (FTCP, OURS):
            for task in itertools.chain.from_iterable(MEASURED.values()):
                if records := groups.get((name, method, task)):
                    cells = [", ".join(dict.fromkeys(map(of, records))) for of in columns.values()]
                    seen = f"{records[0]['key']['trained_on']:,} of {files.official_train:,}"
                    rows.append([f"{files.title} {files.split}", method, task, seen, *cells])
    header = ["data set", "method", "task", "trained on", *columns]
    return markdown(header, rows) if rows else f"Nothing has been measured yet: {UNKNOWN}"
