"""A model store in a folder: `<name>/<version>/card.json` and the files that the card lists.

`default.txt` holds the alias `default`: the `name` or `name@version` for requests without a model.
A version in the alias also applies to requests with only that name; every other name refers to its
newest version.
"""

import os
import re
from pathlib import Path

from cdvae_schema.cards import NAME
from cdvae_service.models.store_errors import UnknownModelError

CARD = "card.json"
STATISTICS = "reference.json"
WEIGHTS = "weights.safetensors"
ALIAS = "default.txt"

_REFERENCE = re.compile(f"({NAME})(?:@({NAME}))?")


def version_order(version: str) -> list[tuple[bool, int, str]]:
    """Return a sorting key that puts version 10 above version 9."""
    parts = re.findall(r"\d+|\D+", version)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def split(reference: str) -> tuple[str, str | None]:
    """Split a reference into name and version, if any; raises UnknownModelError."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UnknownModelError(f"{reference[:80]!r} is not a model reference")
    return match[1], match[2]


def _listed(folder: str | Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


class LocalStore:
    """The models in `folder`, whose content may change at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def refresh(self) -> None:
        """Look for new versions; a folder needs no refresh."""

    def names(self) -> list[str]:
        """Return the names of the models that have at least one version."""
        return sorted(name for name in _listed(self.folder) if self._versions(name))

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, newest first; empty for an unknown model."""
        return sorted(self._versions(name), key=version_order, reverse=True)

    def _versions(self, name: str) -> list[str]:
        # os instead of pathlib, whose overhead exceeds the system calls; every request needs this.
        folder = os.path.join(self.folder, name)
        return [one for one in _listed(folder) if os.path.exists(os.path.join(folder, one, CARD))]

    def references(self) -> list[str]:
        """Return `name@version` of every version, newest first within a name."""
        return [f"{name}@{version}" for name in self.names() for version in self.versions(name)]

    def default(self) -> str | None:
        """Return the alias `default`; without an alias the only model, or None."""
        try:
            with open(os.path.join(self.folder, ALIAS), encoding="utf-8") as alias:
                return alias.read().strip()
        except OSError:
            names = self.names()
            return names[0] if len(names) == 1 else None

    def resolve(self, reference: str | None) -> tuple[str, str]:
        """Return name and version of `name`, `name@version` or None, the default.

        Raises UnknownModelError.
        """
        default = self.default()
        if reference is None:
            reference = default
        if reference is None:
            raise UnknownModelError("the request names no model and the store has no default model")
        name, version = split(reference)
        versions = self.versions(name)
        if not versions:
            known = ", ".join(self.names()) or "none"
            raise UnknownModelError(f"unknown model {reference!r}; known: {known}")
        if version is None and default is not None and default.startswith(f"{name}@"):
            version = split(default)[1]
        if version is not None and version not in versions:
            known = ", ".join(versions)
            raise UnknownModelError(f"model {name!r} has no version {version!r}; known: {known}")
        return name, version or versions[0]

    def path(self, name: str, version: str) -> Path:
        """Return the folder of a version."""
        return self.folder / name / version
