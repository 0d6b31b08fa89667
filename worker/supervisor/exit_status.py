"""Exit statuses of processes in words."""

import signal


def describe_status(status: int) -> str:
    """Return how a process ended; negative numbers are signals, as in `subprocess`."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
    return f"signal {name}" + (", perhaps out of memory" if -status == signal.SIGKILL else "")
