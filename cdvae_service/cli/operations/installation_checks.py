"""What can be wrong with an installation, looked at one by one, for `cdvae doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PROJECT = "cdvae-service"
# What each set of packages is good for.
SETS = {
    "app": "the HTTP front end",
    "worker": "sampling and training",
    "client": "the Python client and the commands for a service",
    "local": "an embedded Redis for `cdvae serve`",
    "optimade": "the OPTIMADE endpoint",
    "pictures": "pictures of crystals (--png)",
}
ENOUGH_DISK = 2 * 1024**3

Level = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and for a fault what to do about it."""

    subject: str
    level: Level
    detail: str
    remedy: str = ""


def check_python() -> Iterator[Finding]:
    """The interpreter against what the project asks for."""
    wanted = metadata(PROJECT)["Requires-Python"]
    found = platform.python_version()
    if found in SpecifierSet(wanted):
        yield Finding("Python", "ok", f"{found} in {sys.prefix}")
    else:
        yield Finding("Python", "fault", f"{found}, needed is {wanted}", "make a new environment")


def check_packages() -> Iterator[Finding]:
    """Every set of packages: whole, not installed, or partly there, which is a fault."""
    for name, purpose in SETS.items():
        wanted = list(_requirements(name))
        faults = [fault for fault in map(_fault, wanted) if fault]
        missing = [fault for fault in faults if fault.endswith("is missing")]
        if not faults:
            yield Finding(f"packages [{name}]", "ok", purpose)
        elif len(missing) == len(faults):
            detail = f"{purpose}: not installed ({', '.join(missing)})"
            yield Finding(f"packages [{name}]", "note", detail, install_hint(name))
        else:
            yield Finding(f"packages [{name}]", "fault", "; ".join(faults), install_hint(name))


def install_hint(name: str) -> str:
    return f"pip install '{PROJECT}[{name}]'"


def _requirements(extra: str) -> Iterator[Requirement]:
    """The packages of a set, and of the sets that it includes."""
    for text in requires(PROJECT) or []:
        requirement = Requirement(text)
        if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.marker.evaluate({"extra": ""}):
            continue  # of every set
        if requirement.name == PROJECT:
            for other in requirement.extras:
                yield from _requirements(other)
        else:
            yield requirement


def _fault(requirement: Requirement) -> str:
    """Why a package does not do; empty where it does."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement.name} is {found}, needed is {requirement.specifier}"


def check_device() -> Iterator[Finding]:
    """Where torch computes."""
    try:
        import torch
    except ImportError:
        return  # said by the packages
    except OSError as error:  # a library of the system that it was linked to
        yield Finding("torch", "fault", str(error), "install torch again for this machine")
        return
    from cdvae.compute import available_threads, default_device

    device = default_device()
    if device == "cuda":
        where = torch.cuda.get_device_name()
    elif torch.version.cuda:
        where = f"{available_threads()} CPU cores; torch {torch.version.cuda} finds no GPU"
    else:
        where = f"{available_threads()} CPU cores"
    yield Finding("torch", "ok", f"{torch.__version__} on {where}")


def check_models(store: str | None) -> Iterator[Finding]:
    """Every file of every model against the checksums of its card."""
    from cdvae_service.cli.console import opened
    from cdvae_service.models.checksums import verify
    from cdvae_service.models.store_errors import StoreError

    try:
        models = opened(store)
        default = "@".join(models.resolve(None))
    except StoreError as error:
        remedy = "run `cdvae models pull`, or set CDVAE_MODEL_STORE"
        yield Finding("models", "fault", str(error), remedy)
        return
    yield Finding("models", "ok", f"in {store or models.folder}")
    for reference in models.references():
        try:
            verify(models.path(*reference.split("@")), reference)
        except StoreError as error:
            remedy = "copy the model again; `cdvae models verify` repeats this"
            yield Finding(f"model {reference}", "fault", str(error), remedy)
        else:
            detail = "checksums agree" + (", the default" if reference == default else "")
            yield Finding(f"model {reference}", "ok", detail)


def check_home(home: Path) -> Iterator[Finding]:
    """Whether state can be written, and how much."""
    there = home if home.is_dir() else home.absolute().parent
    if not os.access(there, os.W_OK):
        yield Finding("state", "fault", f"{there} is not writable", "set CDVAE_HOME")
        return
    free = shutil.disk_usage(there).free
    detail = f"{home}, {free / 1024**3:.1f} GiB free"
    level: Level = "ok" if free >= ENOUGH_DISK else "fault"
    yield Finding("state", level, detail, "" if level == "ok" else "make room or set CDVAE_HOME")
