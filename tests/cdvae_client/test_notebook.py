"""The example notebook runs from top to bottom against a real service."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.e2e.service import Service

NOTEBOOK = Path(__file__).parents[2] / "docs/notebooks/client.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # by packages that run the notebook
def test_the_example_runs(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDVAE_SERVER", f"http://127.0.0.1:{service.port}")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "image/png" in kinds
    assert 'property "hardness" is unknown' in str(outputs)
    assert (tmp_path / "crystals.zip").stat().st_size > 0
