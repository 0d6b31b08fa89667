"""The commands for a service, against a real one with a tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from cdvae_service.cli.entry import app
from cdvae_service.cli.stack.stack import free_port
from tests.e2e.conftest import service
from tests.e2e.service import CDVAE, SRTIO3, Service

__all__ = ["service"]

QUICK = ("--sampler", "ancestral", "--nfe", "5")


@pytest.fixture(autouse=True)
def _here(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDVAE_SERVER", f"http://127.0.0.1:{service.port}")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_generate_shows_a_table_and_writes_files(tmp_path: Path) -> None:
    answer = run("generate", "-n", 3, "--seed", 1, "--out", tmp_path, "--png", tmp_path / "all.png")
    assert answer.exit_code == 0, answer.output
    for word in ("formula", "space group", "formation", "uniqueness"):
        assert word in answer.stdout
    files = sorted(tmp_path.glob("*.cif"))
    assert [len(ase.io.read(file)) for file in files] == [5, 5, 5]
    assert "3 CIF files" in answer.stderr
    picture = imread(tmp_path / "all.png")
    assert picture.shape[1] > 900  # three crystals side by side
    assert picture[..., :3].std() > 0.05  # and something in them


def test_json_is_the_services_own() -> None:
    made = json.loads(run("generate", "-n", 2, "--seed", 1, "--json", *QUICK).stdout)
    assert made["job"]["request"]["sampler"] == {"name": "ancestral", "nfe": 5}
    assert [crystal["index"] for crystal in made["crystals"]] == [0, 1]
    again = json.loads(run("jobs", made["job"]["id"], "--json").stdout)
    assert again["crystals"] == made["crystals"]
    listed = json.loads(run("jobs", "--state", "succeeded", "--limit", 1, "--json").stdout)
    assert [job["id"] for job in listed] == [made["job"]["id"]]


def test_reconstruct_and_optimize_say_what_only_they_know(tmp_path: Path) -> None:
    cif = tmp_path / "SrTiO3.cif"
    cif.write_text(SRTIO3)
    answer = run("reconstruct", cif, cif, "--candidates", 2, *QUICK)
    assert answer.exit_code == 0, answer.output
    assert "match" in answer.stdout
    assert "RMSE" in answer.stdout
    words = ("--start", cif, "--search-steps", 10, "--seed", 1)
    answer = run("optimize", "formation_energy", "-n", 2, *words, *QUICK, "--json")
    assert answer.exit_code == 0, answer.output
    request = json.loads(answer.stdout)["job"]["request"]
    assert (request["start"], request["direction"]) == ("structures", "minimize")


def test_walks_say_how_far_they_are(tmp_path: Path) -> None:
    cif = tmp_path / "SrTiO3.cif"
    cif.write_text(SRTIO3)
    answer = run("interpolate", cif, cif, "--points", 3, *QUICK)
    assert answer.exit_code == 0, answer.output
    assert "position" in answer.stdout
    answer = run("vary", cif, "--strength", 0.5, "-n", 2, "--keep-composition", *QUICK, "--json")
    assert answer.exit_code == 0, answer.output
    made = json.loads(answer.stdout)
    assert made["job"]["request"]["keep_composition"] is True
    assert all("distance" in crystal for crystal in made["crystals"])


def test_a_job_can_be_left_and_cancelled() -> None:
    words = ("--sampler", "langevin", "--nfe", 5000, "--no-wait")
    job = run("generate", "-n", 2000, *words).stdout.strip()
    assert job in run("jobs").stdout
    answer = run("cancel", job)
    assert answer.exit_code == 0
    assert job in answer.stdout
    ended = run("jobs", job)
    assert ended.exit_code == 1
    assert "was cancelled" in ended.stderr


def test_an_idempotency_key_names_one_job() -> None:
    words = ("generate", "-n", 1, "--idempotency-key", "plate-9/B2", "--no-wait")
    first = run(*words).stdout
    assert first.strip()
    assert run(*words).stdout == first


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["optimize", "nope"], os.EX_DATAERR, "nope"),
        (["generate", "--model", "unknown"], os.EX_DATAERR, "unknown"),
        (["generate", "-n", "20000"], os.EX_DATAERR, "num_samples"),
        (["jobs", "unknown"], os.EX_DATAERR, "no job"),
        (["reconstruct", "missing.cif"], os.EX_NOINPUT, "missing.cif"),
        (["generate", "--nfe", "5"], 2, "sampler"),
        (["generate", "--target", "band_gap"], 2, "PROPERTY=VALUE"),
        (["generate", "--lattice", "3.9,3.9,3.9"], 2, "six numbers"),
    ],
)
def test_errors_are_sentences_with_a_code(words: list[str], code: int, text: str) -> None:
    answer = run(*words)
    assert answer.exit_code == code, answer.output
    assert text in answer.stderr
    assert "Traceback" not in answer.output


def test_no_service_is_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDVAE_SERVER", f"http://127.0.0.1:{free_port()}")
    answer = run("jobs")
    assert answer.exit_code == os.EX_UNAVAILABLE
    assert "doctor" in answer.stderr


def complete(*words: str) -> str:
    """Return the shell completions of the last word."""
    shell = {"_CDVAE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("cdvae", *words))}
    shell["COMP_CWORD"] = str(len(words))
    answer = subprocess.run(
        [sys.executable, "-c", "from cdvae_service.cli.entry import app; app(prog_name='cdvae')"],
        env={**os.environ, **shell},
        capture_output=True,
        text=True,
    )
    return answer.stdout


def test_a_shell_completes_commands_models_and_jobs() -> None:
    assert complete("recon").split() == ["reconstruct"]
    assert complete("generate", "--model", "ti").split() == ["tiny"]
    job = run("generate", "-n", 1, "--no-wait").stdout.strip()
    assert complete("cancel", job[:6]).split() == [job]


def test_the_doctor_finds_a_whole_installation(service: Service) -> None:
    answer = subprocess.run(
        [*CDVAE, "doctor", "--json"],
        env=service.variables | {"CDVAE_SERVER": f"http://127.0.0.1:{service.port}"},
        capture_output=True,
        text=True,
    )
    findings = {one["subject"]: one for one in json.loads(answer.stdout)}
    assert answer.returncode == 0, answer.stdout
    assert findings["model tiny@1"]["level"] == "ok"
    assert "1 live workers" in findings["service"]["detail"]
    assert findings["API key"]["level"] == "ok"
