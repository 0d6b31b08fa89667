"""The model store: names and versions, checksums, new versions, stores elsewhere."""

from pathlib import Path

from cdvae_service.models.local_store import LocalStore


def open_store(place: str, cache: Path) -> LocalStore:
    """The store at `place`: a folder, or a URL (`s3://…`, `file://…`) that is copied to `cache`.

    Raises StoreError where the packages for such a URL are missing.
    """
    if "://" not in place:
        return LocalStore(Path(place))
    from cdvae_service.models.remote_store import (
        RemoteStore,  # needs fsspec, which a local store does without
    )

    return RemoteStore(place, cache)
