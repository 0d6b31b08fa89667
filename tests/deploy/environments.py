"""Fresh virtual environments with wheels of this project and the dependencies that they declare."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = {"cdvae-client", "cdvae-models", "cdvae-service"}


def build_wheels(folder: Path) -> dict[str, Path]:
    """Return the wheels of the three distributions, that of the models with perov-5 only.

    They are built in a copy, because setuptools packs everything that an earlier build left.
    """
    source, wheels = folder / "source", folder / "wheels"
    shutil.copytree(ROOT / "packages", source / "packages", symlinks=True)
    for project in source.glob("packages/*"):
        shutil.rmtree(project / "build", ignore_errors=True)
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    for package in ROOT.glob("*/__init__.py"):
        (source / package.parent.name).symlink_to(package.parent)
    (source / "model_store").mkdir()
    (source / "model_store" / "default.txt").write_text("perov-5\n")
    (source / "model_store" / "perov-5").symlink_to(ROOT / "model_store" / "perov-5")
    (source / "phase_references").symlink_to(ROOT / "phase_references")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    projects = ["./packages/client", "./packages/models", "."]
    subprocess.run([*build, "--wheel-dir", str(wheels), *projects], cwd=source, check=True)
    return {path.name.split("-")[0].replace("_", "-"): path for path in wheels.glob("*.whl")}


class Environment:
    """A virtual environment in `folder`; its working directory is another, empty folder."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        make = [sys.executable, "-m", "venv", "--without-pip", str(self.bin.parent)]
        subprocess.run(make, check=True)
        (self._site,) = self.bin.parent.glob("lib/*/site-packages")
        settings = {"CDVAE_THREADS": "1", "CDVAE_DEVICE": "cpu", "NO_COLOR": "1"}
        machine = {k: v for k, v in os.environ.items() if not k.startswith(("CDVAE_", "PYTHON"))}
        self.variables = machine | settings

    def install(self, *wheels: Path, extras: tuple[str, ...] = ()) -> None:
        """Install wheels, and link what they require from the environment that runs the tests."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install"]
        subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", *map(str, wheels)], check=True)
        pending = []
        for info in self._site.glob("cdvae_*.dist-info/METADATA"):
            lines = info.read_text().splitlines()
            pending += [line[15:] for line in lines if line.startswith("Requires-Dist: ")]
        requirements = [(Requirement(text), extras) for text in pending]
        seen: set[tuple[str, str]] = set()
        while requirements:
            requirement, wanted = requirements.pop()
            name = canonicalize_name(requirement.name)
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": one}) for one in ("", *wanted)):
                continue
            own = tuple(sorted(requirement.extras))
            if name in OURS:  # `cdvae-service[jobstore]`, asked for by another set of packages
                new = [one for one in own if one not in extras]
                if new:
                    extras = (*extras, *new)
                    requirements += [(Requirement(text), extras) for text in pending]
                continue
            if (name, str(own)) in seen:
                continue
            seen.add((name, str(own)))
            try:
                found = distribution(name)
            except PackageNotFoundError:
                raise AssertionError(f"{requirement} is not installed") from None
            self._link(found.locate_file(""), {Path(str(file)) for file in found.files or ()})
            requirements += [(Requirement(text), own) for text in found.requires or ()]

    def _link(self, origin: object, files: set[Path]) -> None:
        """Link whole packages; files of namespace packages, which distributions share, singly."""
        tops = {file.parts[0] for file in files if file.parts[0] != ".."}
        for top in tops:
            source = Path(str(origin)) / top
            inside = [file for file in files if file.parts[0] == top]
            whole = Path(top, "__init__.py") in files or top.endswith((".dist-info", ".libs"))
            for part in [Path(top)] if whole or source.is_file() else inside:
                target = self._site / part
                if not target.exists() and (source.parent / part).exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.symlink_to(source.parent / part)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the working directory."""
        words = [str(self.bin / command[0]), *command[1:]]
        ended = subprocess.run(
            words, cwd=self.work, env=self.variables, capture_output=True, text=True, check=False
        )
        assert not check or ended.returncode == 0, ended.stdout + ended.stderr
        return ended

    def can_import(self, module: str) -> bool:
        """Return whether a program in the working directory can import a module."""
        return self.run("python", "-c", f"import {module}", check=False).returncode == 0
