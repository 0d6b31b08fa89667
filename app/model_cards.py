"""The model store as the front end sees it: cards, never weights."""

import logging
import threading

from cdvae_schema.cards import ModelCard, TrainingStatistics
from cdvae_service.models.checksums import read_card, read_statistics
from cdvae_service.models.local_store import CARD, LocalStore
from cdvae_service.models.store_errors import StoreError

log = logging.getLogger(__name__)


class ModelStore:
    """The cards of a store; a card is read again when it changes."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self.folder = store.folder  # of a store elsewhere: that of its copy
        self._cards: dict[str, tuple[int, ModelCard]] = {}

    def default_name(self) -> str | None:
        """What the alias `default` refers to, or None."""
        return self._store.default()

    def references(self) -> list[str]:
        """`name@version` of every version there is."""
        return self._store.references()

    def card(self, reference: str | None) -> ModelCard:
        """The card that `name`, `name@version` or None (the default model) refers to.

        Raises UnknownModelError or BrokenModelError, whose texts are fit for a client.
        """
        name, version = self._store.resolve(reference)
        exact = f"{name}@{version}"
        folder = self._store.folder / name / version
        try:
            changed = (folder / CARD).stat().st_mtime_ns
        except OSError:
            changed = -1  # gone since it was listed: reading it says so
        known = self._cards.get(exact)
        if known is None or known[0] != changed:
            known = self._cards[exact] = (changed, read_card(folder, exact))
        return known[1]

    def cards(self) -> list[ModelCard]:
        """The card that each model's name alone refers to; raises BrokenModelError."""
        return [self.card(name) for name in self._store.names()]

    def statistics(self, reference: str) -> TrainingStatistics:
        """The training data's distributions of the model; raises as `card` does."""
        card = self.card(reference)
        return read_statistics(self._store.folder / card.name / card.version, card)

    def follow(self, stop: threading.Event, every: float) -> None:
        """Look for new versions every so many seconds until `stop` is set; for a thread."""
        while True:
            try:
                self._store.refresh()
            except StoreError as error:
                log.warning("the model store does not answer: %s", error)
            if stop.wait(every):
                return
