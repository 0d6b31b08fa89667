"""The model store as the front end sees it: cards, never weights."""

import re
from pathlib import Path

from pydantic import ValidationError

from schema.cards import NAME, ModelCard

_REFERENCE = re.compile(f"({NAME})(?:@({NAME}))?")


class UnknownModelError(LookupError):
    """No model answers to the reference."""


class BrokenModelError(Exception):
    """A model folder whose card cannot be used."""


def _version_order(version: str) -> list[tuple[bool, int, str]]:
    """Sorting key under which version 10 is above version 9."""
    parts = re.findall(r"\d+|\D+", version)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


class ModelStore:
    """Reads `<name>/<version>/card.json` below a folder; a card is read again when it changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cards: dict[Path, tuple[int, ModelCard]] = {}

    def default_name(self) -> str | None:
        """The name in `default.txt`; without it that of the only model, or None."""
        try:
            return (self._folder / "default.txt").read_text(encoding="utf-8").strip()
        except OSError:
            names = self.names()
            return names[0] if len(names) == 1 else None

    def names(self) -> list[str]:
        """Names of the models that have at least one version."""
        if not self._folder.is_dir():
            return []
        folders = (path.parent.parent for path in self._folder.glob("*/*/card.json"))
        return sorted({folder.name for folder in folders})

    def versions(self, name: str) -> list[str]:
        """Versions of a model, newest first; empty for an unknown model."""
        found = [path.parent.name for path in (self._folder / name).glob("*/card.json")]
        return sorted(found, key=_version_order, reverse=True)

    def card(self, reference: str | None) -> ModelCard:
        """The card that `name`, `name@version` or None (the default model) refers to.

        Raises UnknownModelError or BrokenModelError, whose texts are fit for a client.
        """
        if reference is None:
            reference = self.default_name()
            if reference is None:
                raise UnknownModelError("no model is named and the service has no default model")
        match = _REFERENCE.fullmatch(reference)
        name, version = match.groups() if match else (None, None)
        if name is None or name not in self.names():
            known = ", ".join(self.names()) or "none"
            raise UnknownModelError(f"unknown model {reference!r}; known: {known}")
        versions = self.versions(name)
        if version is not None and version not in versions:
            known = ", ".join(versions)
            raise UnknownModelError(f"model {name!r} has no version {version!r}; it has: {known}")
        return self._read(name, version or versions[0])

    def cards(self) -> list[ModelCard]:
        """The newest card of every model; raises BrokenModelError."""
        return [self.card(name) for name in self.names()]

    def _read(self, name: str, version: str) -> ModelCard:
        path = self._folder / name / version / "card.json"
        try:
            changed = path.stat().st_mtime_ns
            known = self._cards.get(path)
            if known is not None and known[0] == changed:
                return known[1]
            card = ModelCard.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise BrokenModelError(
                f"the card of {name}@{version} cannot be used: {_reason(error)}"
            ) from error
        if (card.name, card.version) != (name, version):
            raise BrokenModelError(f"the card of {name}@{version} says {card.reference}")
        self._cards[path] = (changed, card)
        return card


def _reason(error: OSError | ValidationError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return error.strerror or "it cannot be read"
