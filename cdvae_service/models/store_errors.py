"""Errors of the model store; `StoreError` is their base class."""


class StoreError(Exception):
    """Base class of the errors of this package; clients of the service may see their messages."""


class NoStoreError(StoreError):
    """No setting names a store, and none of the usual places has one."""


class UnknownModelError(StoreError, LookupError):
    """No model has this reference."""


class BrokenModelError(StoreError):
    """A model folder has an invalid card, or a missing or changed file."""
