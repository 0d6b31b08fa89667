"""Count turns of phrase that make English hard to read, and fail above one per 1,000 words.

Usage: python -m scripts.plain_english PATH...

Python files contribute docstrings, comments and messages (strings with at least four words),
Markdown files their prose. Without paths, the list `CHECKED` is used: a package joins it once it
passes. `docs/decisions` and `docs/lab-notebook` are history and never checked.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

LIMIT = 1.0  # turns per 1,000 words
ROOT = Path(__file__).parents[1]
EXEMPT = (
    ROOT / "docs/decisions",
    ROOT / "docs/lab-notebook",
    Path(__file__),  # it quotes the turns
    ROOT / "tests/language",
)
CHECKED = (
    "app",
    "baselines",
    "benchmarks",
    "cdvae",
    "cdvae_client",
    "cdvae_schema",
    "cdvae_service",
    "deploy",
    "scripts",
    "tests",
    "worker",
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md")),
)

TURNS = {
    name: re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for name, pattern in {
        "shall": r"\bshall\b",
        "beside": r"\bbeside\b",
        "alone (only)": r"\balone\b(?! (?:in|on) )",
        "of its own": r"\bof (?:its|their|our|his|your) own\b",
        "whoever": r"\b(?:whoever|whatever|whichever)\b",
        "is no N": r"(?<!there )\b(?:is|are|was|were) no "
        r"(?!longer|more|less|fewer|later|other|such)\w+",
        "in the mean": r"\bin the mean\b",
        "by itself": r"\bby (?:itself|themselves)\b",
        "is over": r"\b(?:is|are|was|were|being) over\b(?! \d)",
        "at hand": r"\bat hand\b",
        "so many": r"\bso (?:many|much|long|often)\b(?! as\b)",
        "anew": r"\banew\b",
        "the ones judged": r"\b(?:the ones|those) (?!needed\b)\w+(?:ed|en)\b",
        "goes on": r"\b(?:go|goes|went) on\b",
        "relative clause as subject": (
            r"(?:^|[.:;!?]\s+)(?:What|Who|Whom|Whatever)\s(?:[\w'’`]+\s){1,8}?(?:is|are|has|have|was|were)\s"
            r"(?!(?:it|they|this|that|the|a|an|you)\b)[^?\n]*[.;:]"
        ),
        "noun fragment": (
            r"\A(?:Of|What|How|Where|Whether|Who|Whom|Those|Whose|Such|As if)\b[^?]*\Z"
        ),
        "belongs into": r"\bbelongs? into\b",
    }.items()
}


def texts_of_python(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each docstring, run of comments and message."""
    tree = ast.parse(source)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings.add(first.value)
    inside_fstring = {
        part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node in inside_fstring:
                continue
            text = node.value
        else:
            continue
        if node in docstrings or len(text.split()) >= 4:
            yield node.lineno, text
    previous, start, run = -1, 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or token.string.startswith(("#!", "# type:", "# noqa")):
            continue
        line = token.start[0]
        if line != previous + 1 and run:
            yield start, " ".join(run)
            run = []
        start, previous = (line if not run else start), line
        run.append(token.string.lstrip("# "))
    if run:
        yield start, " ".join(run)


def texts_of_markdown(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, paragraph) of the prose, without blocks of code and inline code."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n")

    source = re.sub(r"^```.*?^```", blank, source, flags=re.DOTALL | re.MULTILINE)
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", source):
        if paragraph.strip():
            yield line, re.sub(r"`[^`\n]*`|\]\([^)]*\)", "x", paragraph)
        line += paragraph.count("\n")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of what a person reads in a file."""
    source = path.read_text()
    yield from texts_of_python(source) if path.suffix == ".py" else texts_of_markdown(source)


def turns_in(text: str) -> list[tuple[int, str, str]]:
    """Return (line within the text, name of the turn, the words) for each turn of phrase."""
    found = []
    for name, pattern in TURNS.items():
        for match in pattern.finditer(text.strip()):
            words = " ".join(match[0].split())[:60]
            found.append((text.strip()[: match.start()].count("\n"), name, words))
    return found


def files_of(path: Path) -> list[Path]:
    """Return the Python and Markdown files below a path that are not exempt."""
    files = [path] if path.is_file() else sorted((*path.rglob("*.py"), *path.rglob("*.md")))
    return [file for file in files if not any(file.is_relative_to(exempt) for exempt in EXEMPT)]


def main(paths: list[str]) -> int:
    """Print the rate of each path; return 1 where one is above the limit."""
    failed = False
    for path in paths or CHECKED:
        words, turns = 0, list[str]()
        for file in files_of((ROOT / path).resolve()):
            for line, text in texts(file):
                words += len(re.findall(r"[A-Za-z][\w'’-]*", text))
                turns += [
                    f"{file.relative_to(ROOT)}:{line + offset}: {name}: {quote}"
                    for offset, name, quote in turns_in(text)
                ]
        rate = 1000 * len(turns) / max(words, 1)
        print(f"{path}: {len(turns)} turns in {words:,} words, {rate:.1f} per 1,000")
        if rate > LIMIT:
            failed = True
            print("\n".join(turns))
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
