"""The wheels in fresh environments, used from a folder that has nothing of this project."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdvae_service.cli.stack.stack import free_port
from tests.deploy.environments import ROOT, Environment, build_wheels
from tests.waiting import HANG_SECONDS

pytestmark = pytest.mark.slow

# Names that programs of a user may have: importing them must give the user's module, or nothing.
TAKEN_BEFORE = ("schema", "registry", "backplane", "cli")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_wheels(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def service(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The service without models."""
    environment = Environment(tmp_path_factory.mktemp("service"))
    environment.install(
        wheels["cdvae-client"], wheels["cdvae-service"], extras=("app", "worker", "local")
    )
    return environment


@pytest.fixture(scope="module")
def with_models(service: Environment, wheels: dict[str, Path]) -> Environment:
    service.install(wheels["cdvae-models"])
    return service


@contextmanager
def serving(environment: Environment) -> Iterator[str]:
    """The URL of `cdvae serve`, started in the working directory of the environment."""
    port = free_port()
    variables = environment.variables | {"CDVAE_WORKER_METRICS_PORT": "0"}
    with (environment.work.parent / "serve.log").open("w+") as log:
        process = subprocess.Popen(
            [str(environment.bin / "cdvae"), "serve", "--port", str(port)],
            cwd=environment.work,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert process.stdout is not None
            lines = iter(process.stdout)
            assert any(line.startswith("ready: ") for line in lines), Path(log.name).read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=HANG_SECONDS)
        text = Path(log.name).read_text()
        assert process.returncode == 0, text
        assert "readyz" not in text  # the launcher's own probes
        assert "semaphore" not in text


def test_the_versions_are_one(wheels: dict[str, Path]) -> None:
    from cdvae_schema import __version__

    assert sorted(wheels) == ["cdvae-client", "cdvae-models", "cdvae-service"]
    assert {path.name.split("-")[1] for path in wheels.values()} == {__version__}
    files = ["Dockerfile", "docker-compose.yml"]
    files += [f"deploy/kubernetes/{name}/kustomization.yaml" for name in ("base", "gpu")]
    for file in files:
        tags = re.findall(r"(?:cdvae-\w+:|newTag: |VERSION=)(\d[\w.]*)", (ROOT / file).read_text())
        assert set(tags) == {__version__}, file


def test_the_client_needs_neither_torch_nor_numpy(wheels: dict[str, Path], tmp_path: Path) -> None:
    client = Environment(tmp_path)
    client.install(wheels["cdvae-client"])
    for name in (*TAKEN_BEFORE, "app"):
        (client.work / f"{name}.py").write_text("raise RuntimeError('a module of the user')\n")
    code = "import sys, cdvae_client as c; c.Client(); print(*sys.modules)"
    modules = set(client.run("python", "-c", code).stdout.split())
    assert modules.isdisjoint(TAKEN_BEFORE)
    for name in ("torch", "numpy", "cdvae", "cdvae_service", "worker"):
        assert not client.can_import(name)
    (client.work / "schema.py").write_text("")
    assert client.can_import("schema")


def test_names_of_the_user_are_free(service: Environment) -> None:
    for name in TAKEN_BEFORE:
        assert not service.can_import(name)


def test_without_models_the_commands_say_where_they_looked(service: Environment) -> None:
    for words in (["serve"], ["sample", "perov-5"]):
        answer = service.run("cdvae", *words, check=False)
        assert answer.returncode == 1
        assert str(service.work / "model_store") in answer.stderr
        assert "cdvae models pull" in answer.stderr
        assert "Traceback" not in answer.stderr


def test_models_are_pulled_from_a_folder(service: Environment) -> None:
    pulled = service.work / "model_store"
    service.run("cdvae", "models", "pull", "perov-5", "--from", str(ROOT / "model_store"))
    try:
        assert "perov-5@2: ok" in service.run("cdvae", "models", "verify").stdout
    finally:
        shutil.rmtree(pulled)


def test_the_commands_work_from_an_empty_folder(with_models: Environment) -> None:
    with_models.run("cdvae", "sample", "perov-5", "-n", "2", "--nfe", "5")
    assert len(list((with_models.work / "out").glob("*.cif"))) == 2
    report = with_models.run("cdvae", "doctor", "--json", check=False)
    faults = [one for one in json.loads(report.stdout) if one["level"] == "fault"]
    assert faults == []
    assert report.returncode == 0


def test_the_service_ignores_modules_in_the_working_directory(with_models: Environment) -> None:
    for name in (*TAKEN_BEFORE, "app", "worker", "cdvae", "json"):
        (with_models.work / f"{name}.py").write_text("raise RuntimeError('a module of the user')\n")
    with serving(with_models) as url:
        body = ["generate", "-n", "2", "--sampler", "ancestral", "--nfe", "5", "--json"]
        answer = with_models.run("cdvae", *body, "--server", url)
    assert len(json.loads(answer.stdout)["crystals"]) == 2
