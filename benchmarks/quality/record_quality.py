"""Put measured numbers into a model card, each with its command.

python -m benchmarks.quality.record_quality MODEL_FOLDER NAME=FILE.json [NAME=FILE.json ...]

The files are those that `cdvae evaluate` writes; NAME is the entry of the card's "quality".
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    """Read the files and rewrite card.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("entries", nargs="+", metavar="NAME=FILE.json")
    arguments = parser.parse_args()
    path = arguments.model / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    for entry in arguments.entries:
        name, _, file = entry.partition("=")
        figures = json.loads(Path(file).read_text(encoding="utf-8"))
        if figures["weights_sha256"] != card["weights_sha256"]:
            raise SystemExit(f"{file}: the weights are not those of {arguments.model}")
        card["quality"][name] = figures
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
