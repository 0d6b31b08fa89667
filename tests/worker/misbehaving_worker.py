"""A worker whose work-horse has models that misbehave."""

import sys
from pathlib import Path

from worker.supervisor.worker_process import main

HORSE = Path(__file__).with_name("misbehaving_horse.py")

if __name__ == "__main__":
    raise SystemExit(main(horse_command=(sys.executable, str(HORSE))))
