"""Conversions of crystals without the packages that they need."""

import sys

import pytest

from cdvae_client import Crystal, MissingPackageError
from tests.cdvae_client.stub import crystal


@pytest.mark.parametrize(("method", "package"), [("structure", "pymatgen"), ("atoms", "ase")])
def test_a_missing_package_is_named(
    method: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError) as caught:
        getattr(Crystal.model_validate(crystal(0)), method)()
    assert caught.value.name == package
    assert f"pip install {package}" in str(caught.value)
