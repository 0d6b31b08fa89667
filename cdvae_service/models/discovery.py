"""Where the models are when no setting names a store."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from cdvae_service.models.store_errors import NoStoreError

FOLDER = "model_store"
PACKAGE = "cdvae_models"
ROOT = Path(__file__).parents[2]


def find_store() -> Path:
    """Return the first store of: `./model_store`, a checkout that is installed, `cdvae-models`.

    Raises NoStoreError, which names these places, where there is none.
    """
    looked = [Path(FOLDER).absolute(), *_installed()]
    for folder in looked:
        if folder.is_dir():
            return folder
    places = ", ".join(map(str, looked))
    raise NoStoreError(
        f"no models: looked in {places} and for the package cdvae-models. Install cdvae-models, "
        "copy models here with `cdvae models pull --from FOLDER_OR_URL`, or name a folder or URL "
        "with --store or CDVAE_MODEL_STORE"
    )


def installed_store() -> Path:
    """Return the store that came with the installation; raises NoStoreError."""
    for folder in _installed():
        if folder.is_dir():
            return folder
    raise NoStoreError("this installation has no models: name a folder or URL with --from")


def _installed() -> Iterator[Path]:
    if (ROOT / "pyproject.toml").is_file():  # an editable installation
        yield ROOT / FOLDER
    package = importlib.util.find_spec(PACKAGE)
    if package is not None:
        yield from map(Path, package.submodule_search_locations or ())
