"""Generate the synchronous client from the one for asyncio.

Usage: python -m scripts.sync_client

unasync removes `async` and `await` and replaces the names below; ruff formats the result.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import unasync

PACKAGE = Path(__file__).parents[1] / "cdvae_client"
NAMES = {
    "AsyncBaseTransport": "BaseTransport",
    "AsyncClient": "Client",
    "AsyncJob": "Job",
    "AsyncSession": "Session",
    "aclose": "close",
    "aread": "read",
    "async_client": "client",
    "async_job": "job",
    "async_session": "session",
    "async_sleep": "sleep",
    "async_write_file": "write_file",
}
SOURCES = {f"async_{name}.py": f"{name}.py" for name in ("client", "job", "session")}
NOTE = "# Generated from {source} by `make client`; change that file instead.\n"


def generated() -> dict[str, str]:
    """Return the text of each generated module by its file name."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "sync"
        rule = unasync.Rule(f"{PACKAGE}/", f"{made}/", NAMES)
        unasync.unasync_files([str(PACKAGE / source) for source in SOURCES], [rule])
        texts = {}
        for source, target in SOURCES.items():
            text = NOTE.format(source=source) + (made / source).read_text()
            texts[target] = _ruff(
                _ruff(text, target, "check", "--fix", "--exit-zero", "--quiet"), target, "format"
            )
        return texts


def _ruff(text: str, name: str, *command: str) -> str:
    """Return the text after a command of ruff with the settings of the project."""
    words = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(PACKAGE / name), "-"]
    return subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Write the generated modules."""
    for name, text in generated().items():
        (PACKAGE / name).write_text(text)


if __name__ == "__main__":
    main()
