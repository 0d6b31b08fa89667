"""Writes the dashboards: `python -m deploy.grafana`."""

from pathlib import Path

from deploy.grafana.dashboards import BOARDS

FOLDER = Path(__file__).parent / "dashboards"

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, board in BOARDS.items():
        (FOLDER / f"{name}.json").write_text(board.json(), encoding="utf-8")
