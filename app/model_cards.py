"""Read the cards of a model store; the front end never reads weights."""

import logging
import threading

from cdvae_schema.cards import ModelCard, TrainingStatistics
from cdvae_service.models.checksums import read_card, read_statistics
from cdvae_service.models.local_store import CARD, LocalStore
from cdvae_service.models.store_errors import StoreError

log = logging.getLogger(__name__)


class ModelStore:
    """Cache the cards of a store; a card is read again when it changes."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self.folder = store.folder  # for a remote store, the folder of its copy
        self._cards: dict[str, tuple[int, ModelCard]] = {}

    def default_name(self) -> str | None:
        """Return the model that the alias `default` refers to, or None."""
        return self._store.default()

    def references(self) -> list[str]:
        """Return `name@version` of every version."""
        return self._store.references()

    def card(self, reference: str | None) -> ModelCard:
        """Return the card that `name`, `name@version` or None (the default model) refers to.

        Raises UnknownModelError or BrokenModelError; their texts are written for clients.
        """
        name, version = self._store.resolve(reference)
        exact = f"{name}@{version}"
        folder = self._store.folder / name / version
        try:
            changed = (folder / CARD).stat().st_mtime_ns
        except OSError:
            changed = -1  # deleted since it was listed: `read_card` raises
        known = self._cards.get(exact)
        if known is None or known[0] != changed:
            known = self._cards[exact] = (changed, read_card(folder, exact))
        return known[1]

    def cards(self) -> list[ModelCard]:
        """Return the card that the bare name of each model refers to; raises BrokenModelError."""
        return [self.card(name) for name in self._store.names()]

    def statistics(self, reference: str) -> TrainingStatistics:
        """Return the training data's distributions of the model; raises as `card` does."""
        card = self.card(reference)
        return read_statistics(self._store.folder / card.name / card.version, card)

    def follow(self, stop: threading.Event, every: float) -> None:
        """Refresh the store `every` seconds until `stop` is set; runs in a thread."""
        while True:
            try:
                self._store.refresh()
            except StoreError as error:
                log.warning("the model store does not answer: %s", error)
            if stop.wait(every):
                return
