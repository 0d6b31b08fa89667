"""Whether a model folder is what its card says."""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from cdvae_schema.cards import ModelCard, TrainingStatistics
from cdvae_service.models.local_store import CARD, STATISTICS, WEIGHTS
from cdvae_service.models.store_errors import BrokenModelError

_BLOCK = 1 << 20


def read_card(folder: Path, reference: str) -> ModelCard:
    """The card in `folder`; raises BrokenModelError where it is unreadable or another model's."""
    try:
        card = ModelCard.model_validate_json((folder / CARD).read_bytes())
    except (OSError, ValidationError) as error:
        raise BrokenModelError(
            f"the card of {reference} cannot be used: {_reason(error)}"
        ) from error
    if card.reference != reference:
        raise BrokenModelError(f"the card of {reference} says {card.reference}")
    return card


def read_statistics(folder: Path, card: ModelCard) -> TrainingStatistics:
    """The statistics in the folder of that card's model; raises BrokenModelError."""
    try:
        return TrainingStatistics.model_validate_json((folder / STATISTICS).read_bytes())
    except (OSError, ValidationError) as error:
        raise BrokenModelError(
            f"the statistics of {card.reference} cannot be used: {_reason(error)}"
        ) from error


def verify(folder: Path, reference: str) -> ModelCard:
    """The card, after every file that it lists has been read; raises BrokenModelError."""
    card = read_card(folder, reference)
    for name, wanted in {WEIGHTS: card.weights_sha256, **card.files_sha256}.items():
        try:
            found = _sha256(folder / name)
        except OSError as error:
            raise BrokenModelError(f"{reference}: {name}: {error.strerror}") from error
        if found != wanted:
            raise BrokenModelError(f"{reference}: sha256 of {name} is {found}, not {wanted}")
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
    return error.strerror or "it cannot be read"
