"""The commands and programs of the documents work when you follow them to the letter."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts import settings_reference
from tests.e2e.service import Service

ROOT = Path(__file__).parents[2]
HISTORY = ("docs/decisions/", "docs/lab-notebook/")
PAGES = [
    page
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
    if not (page := str(path.relative_to(ROOT))).startswith(HISTORY)
]
MARK = r"(?P<mark><!-- not run here: [^\n]+ -->\n)?"
BLOCK = re.compile(rf"^{MARK}```(?P<language>bash|python|groovy)\n(?P<text>.*?)^```", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """A block of code in a page, and whether the page marks it as not run here."""

    page: str
    language: str
    text: str
    marked: bool


BLOCKS = [
    Block(page, match["language"], match["text"], match["mark"] is not None)
    for page in PAGES
    for match in BLOCK.finditer((ROOT / page).read_text())
]
PROGRAMS = [block for block in BLOCKS if block.language == "python" and not block.marked]
SCRIPTS = {
    page: "\n".join(
        block.text
        for block in BLOCKS
        if block.page == page and block.language == "bash" and not block.marked
    )
    for page in PAGES
}


def run(words: list[str], service: Service, folder: Path) -> str:
    """Return the output of a program that finds the service and our command; it must succeed."""
    variables = {
        **os.environ,
        "CDVAE_SERVER": f"http://127.0.0.1:{service.port}",
        "CDVAE_HOME": str(folder / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    answer = subprocess.run(
        words, env=variables, cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", PROGRAMS, ids=[f"{block.page}-{number}" for number, block in enumerate(PROGRAMS)]
)
def test_programs(block: Block, service: Service, tmp_path: Path) -> None:
    run([sys.executable, "-c", block.text], service, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, script in SCRIPTS.items() if script])
def test_commands(page: str, service: Service, tmp_path: Path) -> None:
    script = SCRIPTS[page].replace("localhost:8000", f"127.0.0.1:{service.port}")
    output = run(["bash", "-euo", "pipefail", "-c", script], service, tmp_path)
    if page == "docs/tutorial.md":
        assert len(list((tmp_path / "first").glob("*.cif"))) == 4
        assert (tmp_path / "first.png").stat().st_size > 10_000
        assert "RMSE" in output
        assert "percentile" in output
        assert '"chemical_formula_reduced"' in output
    if page == "README.md":
        assert '"SrTiO3"' in output


def test_blocks_are_found_and_most_programs_run() -> None:
    """A typing error in a mark or a fence must not disable these tests."""
    fences = sum(
        len(re.findall(r"^```(?:bash|python|groovy)$", (ROOT / page).read_text(), re.M))
        for page in PAGES
    )
    assert len(BLOCKS) == fences
    assert {block.page for block in PROGRAMS} == {
        "README.md",
        "docs/recipes.md",
        "docs/tutorial.md",
    }


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
        if not (ROOT / page).parent.joinpath(target).exists()
    ]
    assert not broken


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert not {page for page in pages if f"({page})" not in index}


def test_the_settings_reference_is_current() -> None:
    assert settings_reference.PAGE.read_text() == settings_reference.page(), (
        "update it: python -m scripts.settings_reference"
    )


def test_every_setting_is_described() -> None:
    for line in settings_reference.page().splitlines():
        if line.startswith("| `CDVAE_"):
            assert not line.endswith("|  |"), line


def test_the_reference_is_made(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pdoc", "cdvae_client", "--output-directory", str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
    page = (tmp_path / "cdvae_client.html").read_text()
    for name in ("Client.generate", "AsyncJob.wait", "JobFailedError", "Result.metrics"):
        assert f'id="{name}"' in page
