"""Write `docs/settings.md` from the settings classes: `python -m scripts.settings_reference`."""

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from app.api_settings import Settings
from worker.worker_settings import WorkerSettings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """\
# Settings

The front end and the worker read environment variables. `cdvae serve` passes its environment to both. This page is
generated from the settings classes (`python -m scripts.settings_reference`); a test fails when it is stale.
"""
TAIL = """
## Command line and client

| variable | meaning |
| --- | --- |
| `CDVAE_SERVER` | URL of the service, `http://127.0.0.1:8000` by default. |
| `CDVAE_API_KEY` | API key that the client sends. |
| `CDVAE_HOST`, `CDVAE_PORT` | Address of `cdvae serve` and `cdvae api`. |
| `CDVAE_API_PROCESSES` | Front-end processes behind one port. |
"""


def default_of(field: FieldInfo) -> str:
    """Return the default as a user would write it in the environment."""
    if field.default_factory is not None:
        return "computed"
    value: Any = field.default
    if isinstance(value, list):
        value = ",".join(str(item) for item in value)
    if isinstance(value, bool):
        value = str(value).lower()
    return "none" if value is None or value == "" else f"`{value}`"


def rows(settings: type[BaseSettings]) -> list[str]:
    """Return one table row for each field of a settings class."""
    return [
        f"| `CDVAE_{name.upper()}` | {default_of(field)} | {field.description or ''} |"
        for name, field in settings.model_fields.items()
    ]


def page() -> str:
    """Return the text of the page."""
    text = HEAD
    for title, settings in (("Front end", Settings), ("Worker", WorkerSettings)):
        table = "\n".join(rows(settings))
        text += f"\n## {title}\n\n| variable | default | meaning |\n| --- | --- | --- |\n{table}\n"
    return text + TAIL


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
