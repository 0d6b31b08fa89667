"""A worker whose executor has models that misbehave."""

import sys
from pathlib import Path

from worker.supervisor.worker_process import main

EXECUTOR = Path(__file__).with_name("misbehaving_executor.py")

if __name__ == "__main__":
    raise SystemExit(main(executor_command=(sys.executable, str(EXECUTOR))))
