"""Checks of the installation for `cdvae doctor`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

PROJECT = "cdvae-service"
PURPOSES = {  # of each optional set of packages
    "app": "the HTTP front end",
    "worker": "sampling and training",
    "local": "an embedded Redis for `cdvae serve`",
    "optimade": "the OPTIMADE endpoint",
    "pictures": "pictures of crystals (--png)",
}
ENOUGH_DISK = 2 * 1024**3

Level = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class CheckResult:
    """The state of one subject, with a remedy for a fault."""

    subject: str
    level: Level
    detail: str
    remedy: str = ""


def check_packages() -> Iterator[CheckResult]:
    """Check each set of packages; a set that is only partly installed is a fault."""
    for name, purpose in PURPOSES.items():
        faults = [fault for fault in map(_fault, _requirements(name)) if fault]
        subject = f"packages [{name}]"
        if not faults:
            yield CheckResult(subject, "ok", purpose)
        elif all(fault.endswith("is missing") for fault in faults):
            detail = f"{purpose}: not installed ({', '.join(faults)})"
            yield CheckResult(subject, "note", detail, install_hint(name))
        else:
            yield CheckResult(subject, "fault", "; ".join(faults), install_hint(name))


def install_hint(name: str) -> str:
    """Return the command that installs a set of packages."""
    return f"pip install '{PROJECT}[{name}]'"


def _requirements(extra: str) -> Iterator[Requirement]:
    """Yield the packages of a set and of the sets that it includes."""
    for requirement in map(Requirement, requires(PROJECT) or []):
        marker = requirement.marker
        if not marker or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
            continue
        if requirement.name != PROJECT:
            yield requirement
        for other in requirement.extras if requirement.name == PROJECT else ():
            yield from _requirements(other)


def _fault(requirement: Requirement) -> str:
    """Return what is wrong with a package; empty where it fits."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement.name} is {found}, but {requirement.specifier} is required"


def check_device() -> Iterator[CheckResult]:
    """Report the device that torch uses."""
    try:
        import torch
    except ImportError:
        return  # check_packages reports it
    except OSError as error:  # a system library that torch links to
        yield CheckResult("torch", "fault", str(error), "reinstall torch for this machine")
        return
    from cdvae.compute import available_threads, default_device

    device = f"{available_threads()} CPU cores"
    if default_device() == "cuda":
        device = torch.cuda.get_device_name()
    elif torch.version.cuda:
        device += f"; torch {torch.version.cuda} finds no GPU"
    yield CheckResult("torch", "ok", f"{torch.__version__} on {device}")


def check_models(store: str | None) -> Iterator[CheckResult]:
    """Compare every file of every model with the checksums of its card."""
    from cdvae_service.cli.console import opened
    from cdvae_service.models.checksums import verify
    from cdvae_service.models.store_errors import StoreError

    try:
        models = opened(store)
        default = "@".join(models.resolve(None))
    except StoreError as error:
        remedy = "run `cdvae models pull`, or set CDVAE_MODEL_STORE"
        yield CheckResult("models", "fault", str(error), remedy)
        return
    yield CheckResult("models", "ok", f"in {store or models.folder}")
    for reference in models.references():
        try:
            verify(models.path(*reference.split("@")), reference)
        except StoreError as error:
            remedy = "copy the model again, then run `cdvae models verify`"
            yield CheckResult(f"model {reference}", "fault", str(error), remedy)
        else:
            detail = "checksums match" + (", default" if reference == default else "")
            yield CheckResult(f"model {reference}", "ok", detail)


def check_home(home: Path) -> Iterator[CheckResult]:
    """Check that the home folder is writable and has free space."""
    folder = home if home.is_dir() else home.absolute().parent
    if not os.access(folder, os.W_OK):
        yield CheckResult("home", "fault", f"{folder} is not writable", "set CDVAE_HOME")
        return
    free = shutil.disk_usage(folder).free
    detail = f"{home}, {free / 1024**3:.1f} GiB free"
    if free >= ENOUGH_DISK:
        yield CheckResult("home", "ok", detail)
    else:
        yield CheckResult("home", "fault", detail, "free some space or set CDVAE_HOME")
