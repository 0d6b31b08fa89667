"""The scripts in benchmarks/: their records, tables and commands."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import evaluations, reproduce_table, table_rows
from benchmarks.quality.plots import principal_components
from benchmarks.quality.reproduce_table import DATA, Subject
from benchmarks.reporting import DOCUMENT, cached, insert, markdown, mean_sd
from cdvae_service.models.store_errors import StoreError

ROOT = Path(__file__).parents[2]
OURS = Subject("carbon-24", table_rows.OURS, "carbon-24@1", "aa", 2859, None, "aa")


def test_mean_and_deviation_are_those_of_a_sample() -> None:
    assert mean_sd([0.97, 0.99, 0.98], 2, 100) == "98.00 ± 1.00"
    assert mean_sd([0.5], 1) == "0.5"
    assert mean_sd([], 1) == mean_sd([1.0, None], 1) == "–"


def test_text_goes_between_its_marks_and_nowhere_else() -> None:
    document = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb"
    once = insert(document, "x", "new\n")
    assert once == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb"
    assert insert(once, "x", "new") == once
    for broken in ("a", document + document, "<!-- x:end --><!-- x:begin -->"):
        with pytest.raises(ValueError, match="x:"):
            insert(broken, "x", "new")
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in ("table", "ablations", "evaluations"):
        insert(text, name, "")
    with pytest.raises(ValueError, match="1 cells in a table of 2"):
        markdown(["a", "b"], [["1"]])


def test_a_result_is_measured_again_only_for_another_key(tmp_path: Path) -> None:
    path, calls = tmp_path / "results" / "one.json", []

    def measure() -> dict[str, Any]:
        calls.append(1)
        return {"n": len(calls)}

    first, kept = cached(path, {"seed": 0}, measure)
    assert (first["figures"], kept) == ({"n": 1}, False)
    assert cached(path, {"seed": 0}, measure) == (first, True)

    def fails() -> dict[str, Any]:
        raise OSError("interrupted")

    with pytest.raises(OSError, match="interrupted"):
        cached(path, {"seed": 1}, fails)
    assert cached(path, {"seed": 0}, measure) == (first, True)
    assert cached(path, {"seed": 1}, measure)[0]["figures"] == {"n": 2}


def test_published_rows_fit_the_columns_and_none_beats_the_best() -> None:
    published = json.loads(table_rows.PUBLISHED.read_text(encoding="utf-8"))
    small_is_better = {"RMSE", "W density", "W energy", "W elements"}
    compared = 0
    for name in DATA:
        for task, columns in table_rows.PAPER.items():
            rows = published[name][task]
            assert all(len(row) == len(columns) for row in rows.values())
            for i, column in enumerate(columns):
                values = [float(row[i]) for row in rows.values() if row[i] != "–"]
                if values:
                    best = min(values) if column.title in small_is_better else max(values)
                    assert float(rows["best of any"][i]) == best, (name, task, column.title)
                    compared += 1
    assert compared == 3 * 2 + (7 + 5 + 7) + 3 * 3
    assert published["mp-20"]["recon"]["CDVAE"] == ["45.43", "0.0356"]


def record(seed: int, weights: str = "aa", command: str = "c", **figures: Any) -> dict[str, Any]:
    return {
        "key": {
            "dataset": "carbon-24",
            "method": table_rows.OURS,
            "task": "recon",
            "command": command,
            "seed": seed,
            "weights_sha256": weights,
            "trained_on": 2859,
        },
        "date": f"2026-11-2{seed}T00:00:00+00:00",
        "commit": "abc",
        "hardware": "a machine",
        "figures": {"number": 500, **figures},
    }


def keep(folder: Path, *records: dict[str, Any]) -> Path:
    for i, one in enumerate(records):
        (folder / f"{i}.json").write_text(json.dumps(one), encoding="utf-8")
    return folder


def test_only_results_of_one_kind_are_put_together(tmp_path: Path) -> None:
    """Not those of other weights than the store's, nor those of an older command."""
    folder = keep(tmp_path, record(2), record(1), record(0, command="old"), record(5, weights="bb"))
    place = ("carbon-24", table_rows.OURS, "recon")
    store = {place[:2]: "aa"}
    assert [r["key"]["seed"] for r in table_rows.collect(folder, store)[place]] == [1, 2]
    assert [r["key"]["seed"] for r in table_rows.collect(folder, {})[place]] == [5]
    assert not table_rows.collect(folder, {place[:2]: "cc"})


def test_rows_have_the_papers_units_and_name_partial_training(tmp_path: Path) -> None:
    distinct = {"reference": 3, "match_rate": 0.25}
    matches = (0.55, 0.57, 0.56)
    records = [
        record(i, match_rate=m, rmse=0.1, match_rate_gated=m, distinct=distinct)
        for i, m in enumerate(matches)
    ]
    text = table_rows.render(table_rows.collect(keep(tmp_path, *records), {}), DATA)
    name = "**this project** (2,859 of 6,091 train)"
    assert f"| Carbon-24 | {name} | 56.00 ± 1.00 | 0.1000 ± 0.0000 |" in text
    assert f"| Carbon-24 | {name} | 56.00 ± 1.00 | – | 25.00 ± 0.00 | – | – |" in text
    assert "| Carbon-24 | CDVAE (published) | 55.22 | 0.1251 |" in text
    assert "| Carbon-24 test | this project | recon | 2,859 of 6,091 | 500 | 0, 1, 2 |" in text
    many = [record(0, number=10000, cov_recall=0.995)]
    rows = table_rows.render({("carbon-24", table_rows.OURS, "coverage"): many}, DATA)
    many_name = "**this project**, 10,000 crystals (2,859 of 6,091 train)"
    assert f"| Carbon-24 | {many_name} | – | – | 99.50 | – | – | – | – |" in rows
    whole = [record(0) | {"key": record(0)["key"] | {"trained_on": 6091}}]
    row = table_rows.render({("carbon-24", table_rows.OURS, "recon"): whole}, DATA)
    assert "| **this project** | – | – |" in row


def write_card(folder: Path, weights: str, train: int) -> None:
    folder.mkdir(parents=True)
    card = {"version": folder.name, "weights_sha256": weights, "data": {"train": train}}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")


def test_the_newest_models_of_the_store_are_measured(tmp_path: Path) -> None:
    store, baseline = tmp_path / "store", tmp_path / "ftcp"
    write_card(store / "perov-5" / "9", "nine", 11356)
    write_card(store / "perov-5" / "10", "ten", 11356)
    write_card(baseline, "own", 11000)
    assert reproduce_table.subjects(store, {"perov-5": str(baseline)}) == [
        Subject("perov-5", table_rows.OURS, "perov-5@10", "ten", 11356, None, "ten"),
        Subject("perov-5", table_rows.FTCP, str(baseline), "own", 11000, "perov-5@10", "ten"),
    ]
    with pytest.raises(StoreError, match="mp-20"):
        reproduce_table.subjects(store, {"mp-20": str(baseline)})


def test_commands_are_those_of_the_protocol() -> None:
    tasks = ("recon", "gen", "coverage", "opt")
    assert [" ".join(reproduce_table.command(OURS, task)) for task in tasks] == [
        "cdvae evaluate carbon-24@1 --task recon --data carbon_24/test.csv.gz --limit 500"
        " --sampler ancestral",
        "cdvae evaluate carbon-24@1 --task gen --data carbon_24/test.csv.gz"
        " --train carbon_24/train.csv.gz --limit 1000 --sampler ancestral",
        "cdvae evaluate carbon-24@1 --task gen --data carbon_24/test.csv.gz --limit 10000"
        " --sampler ancestral",
        "cdvae evaluate carbon-24@1 --task opt --data carbon_24/test.csv.gz --limit 100"
        " --sampler ancestral",
    ]
    ftcp = Subject("perov-5", table_rows.FTCP, "folder", "bb", 11356, "perov-5@2", "aa")
    assert " ".join(reproduce_table.command(ftcp, "opt")) == (
        "cdvae evaluate folder --task opt --data perov_5/test.csv.gz --limit 100 --judge perov-5@2"
    )


def test_a_failure_does_not_stop_the_others_and_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "carbon_24").mkdir()
    for name in (DATA["carbon-24"].evaluated, DATA["carbon-24"].train):
        (tmp_path / name).write_bytes(b"data")
    results, calls = tmp_path / "results", []

    def run(call: list[str], **options: Any) -> None:
        calls.append(call)
        given = dict(zip(call[3::2], call[4::2], strict=True))  # after "cdvae evaluate MODEL"
        assert Path(given["--data"]) == tmp_path / "carbon_24" / "test.csv.gz"
        if given["--task"] == "opt":
            raise subprocess.CalledProcessError(1, call)
        weights = "changed" if given["--seed"] == "1" else "aa"
        Path(given["--out"]).write_text(json.dumps({"weights_sha256": weights}))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("benchmarks.reporting.commit", lambda: "abc")
    monkeypatch.setattr(reproduce_table, "RESULTS", results)
    arguments = ([OURS], ["recon", "opt"], [0, 1], tmp_path, tmp_path)
    failures = reproduce_table.measure_all(*arguments)
    assert [failure.split(":")[0] for failure in failures] == [
        "carbon-24 this project recon seed 1",
        "carbon-24 this project opt seed 0",
        "carbon-24 this project opt seed 1",
    ]
    assert [path.name for path in results.iterdir()] == ["carbon-24-cdvae-recon-0.json"]
    assert len(calls) == 4
    reproduce_table.measure_all([OURS], ["recon"], [0], tmp_path, tmp_path)
    assert len(calls) == 4
    (tmp_path / DATA["carbon-24"].evaluated).write_bytes(b"other data")
    reproduce_table.measure_all([OURS], ["recon"], [0], tmp_path, tmp_path)
    assert len(calls) == 5


@pytest.mark.data
def test_the_data_sets_are_where_the_table_looks_for_them() -> None:
    folder = os.environ.get("CDVAE_DATA")
    if not folder:
        pytest.skip("CDVAE_DATA is not set")
    for files in DATA.values():
        assert (Path(folder) / files.evaluated).is_file()
        assert (Path(folder) / files.train).is_file()


def test_curve_of_quality_has_a_row_for_each_number_of_evaluations(tmp_path: Path) -> None:
    def row(steps: int | None, seed: int, match_rate: float, rmse: float | None) -> dict[str, Any]:
        return {
            "sampler": "langevin" if steps is None else "ancestral",
            "steps": steps,
            "seed": seed,
            "nfe": steps or 5000,
            "match_rate": match_rate,
            "rmse": rmse,
            "structure_validity": 1.0,
        }

    new = {
        "new_nfe": 10,
        "new_structure_validity": 0.5,
        "new_composition_validity": 0.25,
    }
    rows = [row(2, 0, 0.0, None) | new]
    rows += [row(10, seed, 0.9 + seed / 10, 0.02) | new for seed in (0, 1)]
    fast = {
        "key": {
            "model": "m@1",
            "command": "c",
            "weights_sha256": "0123456789",
            "crystals": 3,
            "seeds": [0, 1],
        },
        "date": "2026-11-28T00:00:00+00:00",
        "hardware": "h",
        "commit": "abc",
        "figures": {"rows": rows},
    }
    slow = [fast | {"figures": {"rows": [row(None, s, 0.98 + s / 100, 0.01)]}} for s in (0, 2)]
    text = evaluations.table([fast, *slow])
    assert "| m@1 | `langevin` | 5000 ± 0 | 99.0 ± 1.4 | 0.0100 ± 0.0000 | 100.0 ± 0.0 | –" in text
    assert "| m@1 | `ancestral`, at most 2 | 2 | 0.0 | – | 100.0 | 10 | 50.0 | 25.0 |" in text
    assert "| m@1 | `ancestral`, at most 10 | 10 ± 0 | 95.0 ± 7.1 | 0.0200 ± 0.0000 |" in text
    evaluations.draw(slow, fast, tmp_path / "plots" / "m.png")
    assert (tmp_path / "plots" / "m.png").read_bytes()[1:4] == b"PNG"


def test_principal_components_of_points_on_an_ellipse() -> None:
    """Variances 4 : 1 along two orthogonal directions of three dimensions, off the origin."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    along, across = np.array([0.6, 0.8, 0.0]), np.array([0.0, 0.0, 1.0])
    points = 5 + 2 * np.cos(angle)[:, None] * along + np.sin(angle)[:, None] * across
    places, shares = principal_components(points, 2)
    assert shares == pytest.approx([0.8, 0.2])
    assert np.abs(places[:, 0]) == pytest.approx(np.abs(2 * np.cos(angle)))
    assert np.abs(places[:, 1]) == pytest.approx(np.abs(np.sin(angle)), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words", "figure"),
    [
        ("training_speed", "--steps 1", "crystals_a_second"),
        ("sampling_speed", "--batch 2 --threads 1 --repeats 1 --langevin-steps 50", "threads_1"),
    ],
)
def test_the_scripts_that_measure_speed_run(script: str, words: str, figure: str) -> None:
    program = [sys.executable, "-m", f"benchmarks.speed.{script}", *words.split()]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures[figure]
