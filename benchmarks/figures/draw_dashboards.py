"""Draw the dashboards with the series of a real service: docs/dashboards/*.png.

    python -m benchmarks.figures.draw_dashboards [--minutes 5] [--out docs/dashboards]

The script starts a service with the shipped models and a real Prometheus with the rules of deploy/.
It sends jobs of all kinds, invalid requests, cancellations and a burst that has to queue, kills an
executor and stops Redis for some seconds. Then it draws each panel with matplotlib from the panel's
queries to Prometheus; it does not need Grafana.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psutil
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from benchmarks.service.running import service
from cdvae_client import CdvaeClientError, Client
from cdvae_service.cli.stack.stack import Stack, free_port
from deploy.grafana.dashboards import BOARDS
from deploy.grafana.panels import Board, Number, Panel, Query
from tests.deploy.prometheus import Prometheus

mpl.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[2]
STEP = 2.0  # s between two points
WINDOW = "20s"  # of rates, where Grafana takes four scrapes
COLUMNS = 2
OUTAGE = 8.0  # s
UNITS = {
    "s": ("s", 1.0),
    "percentunit": ("%", 100.0),
    "bytes": ("GB", 1e-9),
    "ops": ("/s", 1.0),
    "reqps": ("/s", 1.0),
    "short": ("", 1.0),
}
SRTIO3 = {
    "structure": {
        "lattice": {"matrix": [[3.9, 0, 0], [0, 3.9, 0], [0, 0, 3.9]]},
        "sites": [
            {"species": [{"element": symbol, "occu": 1}], "abc": abc}
            for symbol, abc in (
                ("Sr", [0, 0, 0]),
                ("Ti", [0.5, 0.5, 0.5]),
                ("O", [0.5, 0.5, 0]),
                ("O", [0.5, 0, 0.5]),
                ("O", [0, 0.5, 0.5]),
            )
        ],
    }
}


def work(client: Client, stop: threading.Event, seed: int) -> None:
    """Send requests of all kinds until `stop` is set."""
    draw = random.Random(seed)
    fast = {"name": "ancestral", "nfe": 20}
    while not stop.is_set():
        kind = draw.random()
        with contextlib.suppress(CdvaeClientError):
            if kind < 0.55:
                model = draw.choice(["perov-5", "perov-5", "carbon-24", "mp-20"])
                number = draw.choice([1, 4, 16])
                client.generate(model=model, num_samples=number, sampler=fast).wait()
            elif kind < 0.7:
                client.reconstruct([SRTIO3["structure"]], num_candidates=4, sampler=fast).wait()
            elif kind < 0.8:
                client.optimize("formation_energy", num_samples=2, steps=2, sampler=fast).wait()
            elif kind < 0.9:
                client.generate(num_samples=1_000_000)  # rejected
            else:
                job = client.generate(num_samples=64, priority="bulk")
                stop.wait(1)
                job.cancel()
        stop.wait(draw.uniform(0, 1.5))


def pause(stack: Stack, seconds: float) -> None:
    """Let the service run; restart processes that end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        stack.watch()
        time.sleep(0.2)


def burst(client: Client) -> None:
    """Submit a burst of jobs that have to queue, and kill the executor."""
    for _ in range(25):
        client.generate(num_samples=8, sampler={"name": "ancestral", "nfe": 40})
    family = psutil.Process().children(recursive=True)
    for executor in (p for p in family if "worker.executor.executor" in p.cmdline()):
        executor.kill()


def outage(stack: Stack) -> None:
    """Stop Redis and start it again."""
    assert stack.redis is not None
    stack.redis.stop()
    time.sleep(OUTAGE)
    stack.redis.start()


def series_name(query: Query, labels: dict[str, str]) -> str:
    """Return the legend of a series with the values of its labels."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), query.legend)


def concrete(query: Query) -> str:
    """Return the query as Grafana sends it, for all models."""
    return query.expr.replace("$__rate_interval", WINDOW).replace("$model", ".*")


def draw_panel(axes: Axes, panel: Panel, prometheus: Prometheus, start: float, end: float) -> None:
    """Draw the series of a panel over time."""
    unit, factor = UNITS[panel.unit]
    times: list[float] = [start + STEP * i for i in range(int((end - start) / STEP) + 1)]
    minutes = [(moment - start) / 60 for moment in times]
    curves: dict[str, list[float]] = {}
    for query in panel.queries:
        for found in prometheus.query_range(concrete(query), start, end, STEP):
            known = {round((float(t) - start) / STEP): float(v) for t, v in found["values"]}
            values = [factor * known.get(i, math.nan) for i in range(len(times))]
            curves[series_name(query, found["metric"])] = values
    assert curves, f"{panel.title} is empty"
    if panel.stacked:
        whole = [[0.0 if math.isnan(v) else v for v in values] for values in curves.values()]
        axes.stackplot(minutes, whole, labels=list(curves), alpha=0.7)
    else:
        for name, values in curves.items():
            axes.plot(minutes, values, label=name, linewidth=1)
    axes.set_title(panel.title, fontsize=9, loc="left")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} {unit}".strip()))
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1.03), frameon=False)


def text_of(number: Number, prometheus: Prometheus) -> str:
    """Return the number with its title."""
    unit, factor = UNITS[number.unit]
    value = prometheus.value(concrete(number.query))
    shown = "–" if value is None else f"{factor * value:.4g} {unit}".strip()
    return f"{number.title}: {shown}"


def draw(board: Board, prometheus: Prometheus, start: float, end: float, path: Path) -> None:
    """Draw a dashboard as one picture."""
    rows = math.ceil(len(board.panels) / COLUMNS)
    figure, grid = plt.subplots(
        rows, COLUMNS, figsize=(12, 2.2 * rows + 0.7), sharex=True, squeeze=False
    )
    for axes, panel in zip(grid.flat, board.panels, strict=False):
        draw_panel(axes, panel, prometheus, start, end)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    for axes in grid[-1]:
        axes.set_xlabel("minutes", fontsize=8)
    numbers = "     ".join(text_of(number, prometheus) for number in board.numbers)
    figure.suptitle(f"{board.title}\n{numbers}", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=85)
    plt.close(figure)


def main() -> None:
    """Run the service and draw its dashboards."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "dashboards")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    metrics_port = free_port()
    variables: dict[str, Any] = {
        "CDVAE_MODEL_STORE": str(ROOT / "model_store"),
        "CDVAE_WORKER_METRICS_PORT": str(metrics_port),
        "CDVAE_THREADS": "1",
        "CDVAE_MAX_MODELS": "3",
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "prometheus").mkdir()
        with service(folder / "home", variables) as (stack, client):
            targets = {"cdvae-app": stack.port, "cdvae-worker": metrics_port}
            prometheus = Prometheus(folder / "prometheus", targets)
            prometheus.start()
            stop = threading.Event()
            clients = [threading.Thread(target=work, args=(client, stop, n)) for n in range(3)]
            start = time.time()
            for thread in clients:
                thread.start()
            third = 20 * arguments.minutes
            pause(stack, third)
            burst(client)
            pause(stack, third)
            outage(stack)
            pause(stack, third)
            end = time.time()
            stop.set()
            for name, board in BOARDS.items():
                draw(board, prometheus, start, end, arguments.out / f"{name}.png")
            for thread in clients:
                thread.join()
            prometheus.stop()


if __name__ == "__main__":
    os.nice(10)  # other processes come first
    main()
