"""Checks of a model folder against its card."""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from cdvae_schema.cards import ModelCard, TrainingStatistics
from cdvae_service.models.local_store import CARD, STATISTICS, WEIGHTS
from cdvae_service.models.store_errors import BrokenModelError

_BLOCK = 1 << 20


def read_card(folder: Path, reference: str) -> ModelCard:
    """Return the card in `folder`; raises BrokenModelError for an unreadable or wrong card."""
    try:
        card = ModelCard.model_validate_json((folder / CARD).read_bytes())
    except (OSError, ValidationError) as error:
        raise BrokenModelError(f"invalid card of {reference}: {_reason(error)}") from error
    if card.reference != reference:
        raise BrokenModelError(f"the card of {reference} belongs to {card.reference}")
    return card


def read_statistics(folder: Path, card: ModelCard) -> TrainingStatistics:
    """Return the training statistics in a model folder; raises BrokenModelError."""
    try:
        return TrainingStatistics.model_validate_json((folder / STATISTICS).read_bytes())
    except (OSError, ValidationError) as error:
        raise BrokenModelError(
            f"invalid statistics of {card.reference}: {_reason(error)}"
        ) from error


def verify(folder: Path, reference: str) -> ModelCard:
    """Check the checksum of every file and return the card; raises BrokenModelError."""
    card = read_card(folder, reference)
    for name, wanted in {WEIGHTS: card.weights_sha256, **card.files_sha256}.items():
        try:
            found = _sha256(folder / name)
        except OSError as error:
            raise BrokenModelError(f"{reference}: {name}: {error.strerror}") from error
        if found != wanted:
            raise BrokenModelError(f"{reference}: sha256 of {name} is {found}, expected {wanted}")
    return card


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _reason(error: OSError | ValidationError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return error.strerror or "unreadable file"
