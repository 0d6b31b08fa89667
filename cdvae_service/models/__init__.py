"""The model store: names, versions and checksums of models, in a folder or at a URL."""

from pathlib import Path

from cdvae_service.models.discovery import find_store
from cdvae_service.models.local_store import LocalStore


def open_store(place: str | None, cache: Path) -> LocalStore:
    """Return the store at `place`: a folder, or a URL (`s3://…`, `file://…`) copied to `cache`.

    Without a place return the store that `find_store` finds. Raises StoreError where it finds none,
    or where the packages for such a URL are missing.
    """
    if not place:
        return LocalStore(find_store())
    if "://" not in place:
        return LocalStore(Path(place))
    from cdvae_service.models.remote_store import RemoteStore  # needs fsspec

    return RemoteStore(place, cache)
