"""What can be wrong with a model store; catch `StoreError` to catch it all."""


class StoreError(Exception):
    """Base of the errors of this package; their texts are fit for a client."""


class NoStoreError(StoreError):
    """No setting names a store, and none of the usual places has one."""


class UnknownModelError(StoreError, LookupError):
    """No model answers to the reference."""


class BrokenModelError(StoreError):
    """A model folder that cannot be used: a bad card, a missing or a changed file."""
