"""Results in the formats of other programs, read back by those programs."""

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import ase.io
import gemmi
import numpy as np
import pytest
from ase import Atoms
from fastapi.testclient import TestClient
from monty.json import MontyDecoder
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp import Poscar

from cdvae.data.cif_writer import write_cif
from tests.app.conftest import StandInWorker, record

EXACT = 1e-6  # Å

NUMBER = 6


def made_up(index: int) -> dict[str, Any]:
    """Return a record with a skewed, rotated cell, mixed elements, and sites near 1/3."""
    rng = np.random.default_rng(index)
    lattice = rng.uniform(2, 9) * (np.eye(3) + rng.uniform(-0.4, 0.4, (3, 3)))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    frac = rng.uniform(0, 1, (5, 3))
    frac[0] = (1 / 3 + 2e-5, 2 / 3 - 3e-5, 0.0)
    frac[1, 0] = 1 - 1e-9
    structure = Structure(lattice @ rotation, ["O", "Sr", "O", "Ti", "O"], frac)
    origin = {"generator": "cdvae", "model": "tiny@1", "seed": 7, "index": index}
    cell = structure.lattice
    lengths = dict(zip("abc", cell.abc, strict=True))
    angles = dict(zip(("alpha", "beta", "gamma"), cell.angles, strict=True))
    parameters = {**lengths, **angles, "matrix": cell.matrix.tolist()}
    volume = float(structure.volume)
    return record(index, cif=write_cif(structure, origin), lattice=parameters, volume=volume)


RECORDS = [made_up(index) for index in range(NUMBER)]


def decoded(one: dict[str, Any]) -> Structure:
    """Return the structure of a record, read independently from its CIF."""
    rng = np.random.default_rng(one["index"])
    rng.uniform(2, 9), rng.uniform(-0.4, 0.4, (3, 3)), rng.normal(size=(3, 3))
    frac = rng.uniform(0, 1, (5, 3))
    frac[0] = (1 / 3 + 2e-5, 2 / 3 - 3e-5, 0.0)
    frac[1, 0] = 1 - 1e-9
    return Structure(one["lattice"]["matrix"], ["O", "Sr", "O", "Ti", "O"], frac)


def largest_shift(read: Structure, original: Structure) -> float:
    """Return the largest distance of an atom from its position in the original, Å.

    Atoms of one element keep their order; pymatgen groups the elements of a CIF.
    """
    pairs = [sorted(one, key=lambda site: site.specie.symbol) for one in (read, original)]
    assert [site.specie for site in pairs[0]] == [site.specie for site in pairs[1]]
    np.testing.assert_allclose(read.lattice.parameters, original.lattice.parameters, atol=EXACT)
    steps = np.subtract(*([site.frac_coords for site in sites] for sites in pairs))
    steps -= np.round(steps)
    return float(np.linalg.norm(steps @ original.lattice.matrix, axis=1).max())


def of_atoms(atoms: Atoms) -> Structure:
    return Structure(
        atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=False)
    )


@pytest.fixture
def job(client: TestClient, worker: StandInWorker) -> str:
    """Return the path of a finished job with these records."""
    path = str(client.post("/generate", json={"num_samples": NUMBER}).headers["location"])
    work, _ = worker.take()
    worker.write(work, [RECORDS[:4], RECORDS[4:]])
    worker.end(work, "finished", "succeeded")
    return path


def test_the_cif_loses_nothing(client: TestClient, job: str, tmp_path: Path) -> None:
    text = client.get(f"{job}/result?format=cif").text
    with warnings.catch_warnings():
        # With several blocks pymatgen compares each composition to the first block's formula.
        warnings.filterwarnings("ignore", "Missing elements", UserWarning)
        structures = CifParser.from_str(text, frac_tolerance=0).parse_structures(primitive=False)
    (tmp_path / "all.cif").write_text(text)
    atoms = ase.io.read(tmp_path / "all.cif", ":")
    small = [gemmi.make_small_structure_from_block(one) for one in gemmi.cif.read_string(text)]
    for one, read, other, third in zip(RECORDS, structures, atoms, small, strict=True):
        original = decoded(one)
        assert largest_shift(read, original) < EXACT
        assert largest_shift(of_atoms(other), original) < EXACT
        sites = [(site.element.name, site.fract.tolist()) for site in third.sites]
        cell = np.transpose(third.cell.orth.mat.tolist())  # its columns are the cell vectors
        by_gemmi = Structure(cell, *zip(*sites, strict=True))
        assert largest_shift(by_gemmi, original) < EXACT


def test_extended_xyz_in_the_orientation_of_the_cell(client: TestClient, job: str) -> None:
    answer = client.get(f"{job}/result", headers={"Accept": "chemical/x-xyz"})
    assert answer.headers["content-type"].startswith("chemical/x-xyz")
    assert answer.headers["content-disposition"].endswith('.xyz"')
    frames = ase.io.read(io.StringIO(answer.text), ":", format="extxyz")
    for one, atoms in zip(RECORDS, frames, strict=True):
        assert largest_shift(of_atoms(atoms), decoded(one)) < EXACT
        np.testing.assert_allclose(atoms.cell.array, one["lattice"]["matrix"], atol=EXACT)
        assert atoms.pbc.all()
        assert atoms.info["index"] == one["index"]
        assert atoms.info["predicted_formation_energy"] == 0.1
        assert atoms.info["valid_structure"]
        assert "seed: 7" in atoms.info["origin"]


def test_pymatgens_json(client: TestClient, job: str) -> None:
    content = client.get(f"{job}/result?format=pymatgen").json()
    for one, read in zip(RECORDS, MontyDecoder().process_decoded(content), strict=True):
        assert isinstance(read, Structure)
        assert largest_shift(read, decoded(one)) < EXACT
        np.testing.assert_array_equal(read.lattice.matrix, one["lattice"]["matrix"])
        np.testing.assert_allclose(read.cart_coords, decoded(one).cart_coords, atol=EXACT)
        assert read.properties["predicted"] == {"formation_energy": 0.1}
    # The dictionary has every key of pymatgen's own.
    assert set(content[0]) == set(decoded(RECORDS[0]).as_dict())
    assert set(content[0]["sites"][0]) == set(decoded(RECORDS[0]).as_dict()["sites"][0])


def test_poscars_in_the_zip(client: TestClient, job: str, tmp_path: Path) -> None:
    content = client.get(f"{job}/result?format=zip").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(tmp_path)
    files = sorted(tmp_path.glob("*.POSCAR"))
    assert [file.stem for file in files] == [file.stem for file in sorted(tmp_path.glob("*.cif"))]
    for one, file in zip(RECORDS, files, strict=True):
        original = decoded(one)
        assert largest_shift(Structure.from_file(file), original) < EXACT
        assert largest_shift(of_atoms(ase.io.read(file)), original) < EXACT


@pytest.mark.parametrize("form", ["json", "cif", "xyz", "poscar", "pymatgen"])
def test_one_crystal_in_every_form(client: TestClient, job: str, form: str) -> None:
    text = client.get(f"{job}/crystals/5?format={form}").text
    original = decoded(RECORDS[5])
    if form == "json":
        assert json.loads(text) == RECORDS[5]
    elif form == "cif":
        parser = CifParser.from_str(text, frac_tolerance=0)
        assert largest_shift(parser.parse_structures(primitive=False)[0], original) < EXACT
    elif form == "xyz":
        atoms = ase.io.read(io.StringIO(text), format="extxyz")
        assert largest_shift(of_atoms(atoms), original) < EXACT
    elif form == "poscar":
        assert Poscar.from_str(text).structure.composition == original.composition
    else:
        assert largest_shift(Structure.from_dict(json.loads(text)), original) < EXACT


def test_nothing_done_is_an_empty_file(client: TestClient, worker: StandInWorker) -> None:
    path = client.post("/generate", json={"num_samples": 3}).headers["location"]
    work, _ = worker.take()
    worker.write(work, [], state="cancelled")
    worker.end(work, "finished", "cancelled")
    assert client.get(f"{path}/result?format=pymatgen").json() == []
    assert client.get(f"{path}/result?format=xyz").text == ""
