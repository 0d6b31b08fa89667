"""Files that others read while they are written."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes `text` so that a reader sees all of it or what was there before; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write the same file.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
