"""The checker of plain English finds the turns of phrase and leaves plain sentences alone."""

from pathlib import Path

import pytest

from scripts.plain_english import CHECKED, main, texts_of_markdown, texts_of_python, turns_in


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The job shall stop.", "shall"),
        ("Files live beside the code.", "beside"),
        ("It reads the cache alone.", "alone (only)"),
        ("A folder of its own holds them.", "of its own"),
        ("The body is no JSON text.", "is no N"),
        ("Tells the URL that the job is over.", "is over"),
        ("What several jobs want decoded is computed in one batch.", "relative clause as subject"),
        ("The connection goes to the ones judged.", "the ones judged"),
        ("Of B crystals with N atoms each.", "noun fragment"),
        ("Closes after so long without a request.", "so many"),
    ],
)
def test_finds(text: str, name: str) -> None:
    assert name in [found for _, found, _ in turns_in(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Return the crystals of a batch, shape (B, 3).",
        "The batch closes after IDLE_DELAY without a new request.",
        "The model is no longer in memory.",
        "What is a crystal?",
        "An invalid request gets a problem document that names the field.",
    ],
)
def test_accepts(text: str) -> None:
    assert turns_in(text) == []


def test_reads_docstrings_comments_and_messages_of_python() -> None:
    source = '"""Module."""\n# One\n# comment.\nx = 1\nraise ValueError(f"{x} is not a cell")\n'
    texts = sorted(texts_of_python(source))
    assert texts == [(1, "Module."), (2, "One comment."), (5, "x is not a cell")]


def test_reads_prose_of_markdown_only() -> None:
    page = "# Title\n\n```bash\nshall\n```\n\nPlain `shall` text.\n"
    assert list(texts_of_markdown(page)) == [(1, "# Title"), (7, "Plain x text.\n")]


def test_fails_above_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.plain_english.ROOT", tmp_path)
    (tmp_path / "bad.md").write_text("It shall stop.")
    (tmp_path / "good.md").write_text("It stops.")
    assert main(["bad.md"]) == 1
    assert main(["good.md"]) == 0
    assert main(["good.md", "bad.md"]) == 1


def test_the_checked_paths_pass() -> None:
    assert CHECKED
    assert main([]) == 0
