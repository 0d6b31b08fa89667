"""The messages between the supervisor and its executor: one JSON object a line.

The supervisor writes to the executor's standard input: first the settings, then one line a job.
The executor reports on a pipe:

    {"event": "ready", ...}              the models are loaded
    {"event": "chunk", ...}              see worker.supervisor.worker_metrics
    {"event": "batch", "crystals": ...}  a batch of decodings starts
    {"event": "done", "job": ..., ...}   the job is settled in Redis
    {"event": "models", ...}             a new version was loaded between jobs

`ready`, `done` and `models` also have `models`, `device` and `relax` (a potential is installed).
"""

from typing import Any

Message = dict[str, Any]
