import csv
import gzip
import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure

from cdvae.data.dataset import load_cache
from cdvae.data.structures import to_structures
from cdvae.data.tensor_cache import prepare
from cdvae.errors import DataError

PROPERTIES = {"energy": "e_form"}


def write_csv(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("material_id", "cif", "e_form"), *rows])
    raw = text.getvalue().encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.fixture
def variants(perovskite: Structure) -> list[Structure]:
    bigger = perovskite.copy()
    bigger.scale_lattice(70.0)
    rocksalt = Structure(np.eye(3) * 4.2, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return [perovskite, bigger, rocksalt]


@pytest.mark.parametrize("name", ["set.csv", "set.csv.gz"])
def test_cache_holds_what_the_csv_says(tmp_path: Path, variants, name: str) -> None:
    values = ["-1.5", "", "0.25"]
    names = ["m-0", "m-1", "m-2"]
    rows = [(n, s.to(fmt="cif"), v) for n, s, v in zip(names, variants, values, strict=True)]
    source = write_csv(tmp_path / name, rows)
    seen: list[tuple[int, int]] = []
    metadata = prepare(
        source, tmp_path / "deep/set.safetensors", PROPERTIES, progress=lambda *n: seen.append(n)
    )
    data = load_cache(tmp_path / "deep/set.safetensors")

    assert len(data) == 3
    assert data.material_ids == ("m-0", "m-1", "m-2")
    assert data.property_names == ("energy",)
    assert data.crystals.num_atoms.tolist() == [5, 5, 2]
    assert data.crystals.frac_coords.dtype == torch.float32
    assert data.properties[:, 0].nan_to_num(99).tolist() == [-1.5, 99, 0.25]
    assert seen[-1] == (3, 3)
    assert metadata["source"] == name
    assert metadata["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert metadata["property_columns"] == ["e_form"]
    assert metadata["elements"] == [8, 12, 22, 38]
    for given, kept in zip(variants, to_structures(data.crystals), strict=True):
        assert StructureMatcher(scale=False).get_rms_dist(given, kept)[0] < 1e-6
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["set.safetensors"]


def test_selection_keeps_order_and_names(tmp_path: Path, variants) -> None:
    rows = [(f"m-{i}", s.to(fmt="cif"), str(i)) for i, s in enumerate(variants)]
    prepare(write_csv(tmp_path / "a.csv", rows), tmp_path / "a.safetensors", PROPERTIES)
    chosen = load_cache(tmp_path / "a.safetensors").select([2, 0])
    assert chosen.material_ids == ("m-2", "m-0")
    assert chosen.properties[:, 0].tolist() == [2.0, 0.0]
    assert chosen.crystals.atomic_numbers.tolist() == [12, 8, 38, 22, 8, 8, 8]


def test_processes_give_the_same_file(tmp_path: Path, variants) -> None:
    rows = [(f"m-{i}", variants[i % 3].to(fmt="cif"), str(i)) for i in range(130)]
    source = write_csv(tmp_path / "a.csv", rows)
    prepare(source, tmp_path / "one.safetensors", PROPERTIES, workers=1)
    prepare(source, tmp_path / "two.safetensors", PROPERTIES, workers=2)
    one, two = (tmp_path / f"{n}.safetensors" for n in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_folder_of_cifs_is_a_source(tmp_path: Path, variants) -> None:
    folder = tmp_path / "cifs"
    folder.mkdir()
    for name, structure in zip("cab", variants, strict=True):
        (folder / f"{name}.cif").write_text(structure.to(fmt="cif"))
    prepare(folder, tmp_path / "f.safetensors", {})
    data = load_cache(tmp_path / "f.safetensors")
    assert data.material_ids == ("a", "b", "c")
    assert data.properties.shape == (3, 0)
    with pytest.raises(DataError, match="no properties"):
        prepare(folder, tmp_path / "g.safetensors", PROPERTIES)


def test_every_bad_row_is_named_and_nothing_is_written(tmp_path: Path, perovskite) -> None:
    good = perovskite.to(fmt="cif")
    rows = [
        ("fine", good, "1"),
        ("torn", good[:300], "1"),
        ("blank", "", "1"),
        ("partial", good.replace("0.00000000  1", "0.00000000  0.5", 1), "1"),
    ]
    source = write_csv(tmp_path / "bad.csv", rows)
    with pytest.raises(DataError) as caught:
        prepare(source, tmp_path / "bad.safetensors", PROPERTIES)
    assert len(caught.value.problems) == 3
    for row, name in ((2, "torn"), (3, "blank"), (4, "partial")):
        assert f"bad.csv, row {row}, material {name}: " in str(caught.value)
    assert "fine" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("value", ["abc", "inf", "1,5"])
def test_a_property_must_be_a_finite_number(tmp_path: Path, perovskite, value: str) -> None:
    source = write_csv(tmp_path / "v.csv", [("m", perovskite.to(fmt="cif"), value)])
    with pytest.raises(DataError, match="row 1, material m: e_form"):
        prepare(source, tmp_path / "v.safetensors", PROPERTIES)


def test_unusable_sources_say_why(tmp_path: Path, perovskite) -> None:
    out = tmp_path / "x.safetensors"
    with pytest.raises(DataError, match="no such file"):
        prepare(tmp_path / "none.csv", out, {})
    source = write_csv(tmp_path / "a.csv", [("m", perovskite.to(fmt="cif"), "1")])
    with pytest.raises(DataError, match="no column band_gap; it has material_id, cif, e_form"):
        prepare(source, out, {"gap": "band_gap"})
    with pytest.raises(DataError, match="no rows"):
        prepare(write_csv(tmp_path / "b.csv", []), out, {})
    (tmp_path / "c.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="not a readable CSV"):
        prepare(tmp_path / "c.csv.gz", out, {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.cif files"):
        prepare(tmp_path / "empty", out, {})


def test_a_damaged_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such tensor cache"):
        load_cache(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(DataError, match="not a tensor cache"):
        load_cache(tmp_path / "bad.safetensors")


def test_loading_needs_no_pymatgen() -> None:
    code = "import sys, cdvae.data.dataset; sys.exit('pymatgen' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.data
def test_perov_5_is_exactly_cubic(data_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "test.safetensors"
    columns = {"formation_energy": "heat_ref", "band_gap": "dir_gap"}
    prepare(data_folder / "perov_5/test.csv.gz", out, columns, workers=2)
    data = load_cache(out)
    edge = data.crystals.lattice.diagonal(dim1=1, dim2=2)
    assert len(data) == 3785
    assert set(data.crystals.num_atoms.tolist()) == {5}
    assert (data.crystals.lattice - torch.diag_embed(edge)).abs().max() < 1e-5
    assert (edge - edge.mean(dim=1, keepdim=True)).abs().max() < 1e-5
    assert not data.properties.isnan().any()
    # The 5 % quantile of the published test split, measured independently of this code.
    assert float(data.properties[:, 0].quantile(0.05)) == pytest.approx(0.4232, abs=5e-4)
    atomic_numbers = data.crystals.atomic_numbers.reshape(-1, 5)
    counts = [len(set(row)) for row in atomic_numbers.tolist()]
    assert [counts.count(n) for n in (2, 3, 4, 5)] == [23, 1127, 2075, 560]
