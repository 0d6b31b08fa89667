"""What the tutorial and the recipes say works when it is followed to the letter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.service import Service

ROOT = Path(__file__).parents[2]
SETUP = "make setup"  # of the tutorial: what the tests themselves run in


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(words: list[str], service: Service, folder: Path) -> str:
    """The output of a program that finds the service and our command; it must succeed."""
    variables = {
        **os.environ,
        "CDVAE_SERVER": f"http://127.0.0.1:{service.port}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    answer = subprocess.run(
        words, env=variables, cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


PROGRAMS = [
    (page, text) for page in ("tutorial.md", "recipes.md") for text in blocks(page, "python")
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "text"), PROGRAMS, ids=[f"{p}-{n}" for n, (p, _) in enumerate(PROGRAMS)]
)
def test_programs(page: str, text: str, service: Service, tmp_path: Path) -> None:
    run([sys.executable, "-c", text], service, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["tutorial.md", "recipes.md"])
def test_commands(page: str, service: Service, tmp_path: Path) -> None:
    commands = [text for text in blocks(page, "bash") if SETUP not in text]
    script = "\n".join(commands).replace("localhost:8000", f"127.0.0.1:{service.port}")
    output = run(["bash", "-euo", "pipefail", "-c", script], service, tmp_path)
    if page == "tutorial.md":
        assert len(list((tmp_path / "first").glob("*.cif"))) == 4
        assert (tmp_path / "first.png").stat().st_size > 10_000
        assert "RMSE" in output
        assert "percentile" in output
        assert '"chemical_formula_reduced"' in output


def test_the_reference_is_made(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pdoc", "cdvae_client", "--output-directory", str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
    page = (tmp_path / "cdvae_client.html").read_text()
    for name in ("Client.generate", "AsyncJob.wait", "JobFailedError", "Result.metrics"):
        assert f'id="{name}"' in page
