"""The measures of `cdvae evaluate` for the three tasks."""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from typer.testing import CliRunner

from cdvae.data.cif_writer import write_cif
from cdvae.data.dataset import CrystalDataset
from cdvae.data.structures import to_structures
from cdvae.errors import NonFiniteSampleError
from cdvae.evaluation import method, sampling_protocol, task_generation
from cdvae.evaluation.judge import judged
from cdvae.evaluation.method import CDVAEMethod
from cdvae.evaluation.task_generation import evaluate_generation, score_generation
from cdvae.evaluation.task_reconstruction import evaluate_reconstruction, reconstruct
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference import Decoded, SamplerSpec, decoding, estimate
from cdvae.metrics.coverage import Thresholds
from cdvae.metrics.distribution import wasserstein
from cdvae.model_folder import TrainedModel, load_model
from cdvae.optimization.optimize import DECODINGS, optimize
from cdvae.testing import perovskites, write_tiny_model
from cdvae_service.cli.entry import app

SHORT = SamplerSpec("ancestral", 2)
LIMITS = Thresholds(0.2, 4.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def model(store: Path) -> TrainedModel:
    return load_model(store / "tiny" / "1")


@pytest.fixture(scope="module")
def data() -> CrystalDataset:
    return perovskites(8, seed=5)


class Oracle:
    """A method that returns fixed crystals."""

    properties = ("formation_energy",)

    def __init__(self, structures: Sequence[Structure | None]) -> None:
        self.structures = list(structures)

    def reconstruct(self, data: Any, seed: int, progress: Any = None) -> list[Structure | None]:
        return self.structures

    def generate(self, n: int, seed: int, progress: Any = None) -> list[Structure | None]:
        return self.structures[:n]

    def optimize(self, data: Any, prop: str, seed: int, progress: Any = None) -> list[Any]:
        return [[structure] for structure in self.structures]


def carbon(n: int, shifts: Sequence[float]) -> CrystalDataset:
    """Return two-atom carbon crystals with the second atom at these parts of the diagonal."""
    frac_coords = torch.cat([torch.tensor([[0.0] * 3, [shift] * 3]) for shift in shifts])
    return CrystalDataset(
        crystals=CrystalBatch(
            frac_coords,
            torch.full((2 * n,), 6),
            3.0 * torch.eye(3).repeat(n, 1, 1),
            torch.full((n,), 2),
        ),
        properties=torch.zeros(n, 0),
        property_names=(),
        material_ids=tuple(map(str, range(n))),
        metadata={},
    )


def test_wasserstein_is_exact() -> None:
    """Mass 1/2 moves from 1 to 3 and 1/2 from 2 to 3; samples may differ in size."""
    assert wasserstein([1, 2], [3, 3]) == pytest.approx(1.5)
    assert wasserstein([0], [0, 1, 2, 3]) == pytest.approx(1.5)
    assert wasserstein([4.0, 1.0], [1.0, 4.0]) == 0.0
    assert wasserstein([], [1.0]) is None


def test_the_data_scored_against_themselves_are_perfect(
    model: TrainedModel, data: CrystalDataset
) -> None:
    found = score_generation(to_structures(data.crystals), model, data, 0, LIMITS, train=data)
    assert [found[f"cov_{key}"] for key in ("recall", "precision")] == [1.0, 1.0]
    assert [found[f"cov_{key}_joint"] for key in ("recall", "precision")] == [1.0, 1.0]
    assert found["structure_validity"] == 1.0
    assert found["composition_validity"] == found["validity"]
    assert 0 < found["compared"] == round(8 * found["validity"])
    assert found["novelty"] == 0.0
    assert (found["novelty_by"], found["distinct"]) == ("StructureMatcher", None)
    if found["validity"] == 1.0:
        assert found["w_density"] == found["w_energy"] == found["w_num_elements"] == 0.0


def test_crystals_that_were_not_decoded_count_in_every_denominator(
    model: TrainedModel, data: CrystalDataset
) -> None:
    first = to_structures(data.crystals)[0]
    whole = score_generation([first], model, data, 0, LIMITS)
    # The structure is valid, but it has no fingerprint because its images are too near.
    needle = Structure(Lattice.orthorhombic(0.3, 5, 5), ["Fe"], [[0, 0, 0]])
    found = score_generation([first, None, None, needle], model, data, 0, LIMITS)
    assert found["structure_validity"] == 0.5
    assert found["composition_validity"] == (whole["composition_validity"] + 1) / 4
    assert found["validity"] == whole["validity"] / 4
    assert found["cov_precision"] == found["cov_precision_joint"] == 1 / 4
    assert found["cov_recall_joint"] == whole["cov_recall_joint"] > 0
    assert found["without_fingerprint"] == 3
    assert found["compared"] == whole["compared"]
    assert found["uniqueness"] == 1.0


def test_nothing_decoded(model: TrainedModel, data: CrystalDataset) -> None:
    found = score_generation([None, None], model, data, 0, LIMITS)
    assert found["validity"] == found["cov_recall"] == found["cov_precision"] == 0.0
    assert found["w_density"] is found["w_energy"] is found["w_num_elements"] is None
    assert found["uniqueness"] is found["novelty"] is None


def test_distances_are_those_of_the_judged_crystals(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 1-D distance of one salt to a set of two is the mean of the differences."""
    salt = Structure.from_spacegroup(225, Lattice.cubic(4.21), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    data = perovskites(2, seed=1)
    references = to_structures(data.crystals)
    found = score_generation([salt], model, data, 0, LIMITS)
    densities = [abs(salt.density - s.density) for s in references]
    assert found["w_density"] == pytest.approx(sum(densities) / 2, rel=1e-6)
    elements = [abs(2 - len(s.composition)) for s in references]
    assert found["w_num_elements"] == pytest.approx(sum(elements) / 2)
    reference = estimate(model, data.crystals)["formation_energy"]
    own = judged(model, [salt], "formation_energy")[0]
    energies = (reference - own).abs().tolist()
    assert found["w_energy"] == pytest.approx(sum(energies) / 2, rel=1e-3)
    assert judged(model, [], "formation_energy") == []
    # There are more valid crystals than COMPARED, so the seed decides which are compared.
    monkeypatch.setattr(task_generation, "COMPARED", 1)
    lighter = salt.copy()
    lighter.scale_lattice(2 * salt.volume)
    values = {
        seed: score_generation([salt, lighter], model, data, seed, LIMITS)["w_density"]
        for seed in range(6)
    }
    assert values[0] == score_generation([salt, lighter], model, data, 0, LIMITS)["w_density"]
    assert len(set(values.values())) == 2


def test_copies_in_a_set_of_one_element_count_once(model: TrainedModel) -> None:
    """The reference has three copies of one crystal and another one; the sample two copies of it.

    Recall is 3/4 over crystals and 1/2 over distinct ones.
    """
    reference = carbon(4, (0.5, 0.5, 0.3, 0.5))
    found = score_generation(
        to_structures(carbon(2, (0.5, 0.5)).crystals), model, reference, 0, Thresholds(0.05, 4)
    )
    assert found["cov_recall"] == 0.75
    assert found["distinct"] == {
        "generated": 1,
        "reference": 2,
        "cov_recall": 0.5,
        "cov_recall_joint": 0.5,
    }
    assert found["uniqueness"] == 0.5
    assert found["composition_validity"] == 1.0
    structures = to_structures(reference.crystals)
    figures = evaluate_reconstruction(Oracle([*structures[:2], None, None]), reference, 0)
    assert figures["match_rate"] == 0.5
    assert figures["distinct"] == {"reference": 2, "match_rate": pytest.approx(1 / 3)}


def test_reconstruction_of_a_model(model: TrainedModel, data: CrystalDataset) -> None:
    figures = reconstruct(CDVAEMethod(model, SHORT), data, 0)
    assert figures.keys() == {
        "match_rate",
        "rmse",
        "match_rate_gated",
        "rmse_gated",
        "distinct",
        "seconds",
        "property_mae",
        "nfe",
    }
    assert figures["property_mae"].keys() == {"formation_energy", "band_gap"}
    assert figures["distinct"] is None
    perfect = evaluate_reconstruction(Oracle(to_structures(data.crystals)), data, 0)
    assert perfect["match_rate"] == 1.0
    assert perfect["rmse"] == pytest.approx(0.0, abs=1e-6)


def test_a_crystal_that_sampling_loses_is_none_and_the_others_stay(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = CDVAEMethod(model, SHORT)
    before = tested.generate(5, 3)
    lost = sampling_protocol.crystal_seed(3, 2)
    real = decoding.decode

    def fails_for_one(
        model: TrainedModel, latents: Any, seeds: Sequence[int], *rest: Any
    ) -> Decoded:
        if lost in seeds:
            raise NonFiniteSampleError([list(seeds).index(lost)])
        return real(model, latents, seeds, *rest)

    monkeypatch.setattr(decoding, "decode", fails_for_one)
    after = tested.generate(5, 3)
    assert [s is None for s in after] == [False, False, True, False, False]
    for i in (0, 1, 3, 4):
        assert after[i].frac_coords == pytest.approx(before[i].frac_coords, abs=1e-4)
    with pytest.raises(NonFiniteSampleError) as caught:
        sampling_protocol.generate(model, 5, 3, SHORT)
    assert caught.value.indices == (2,)


def test_optimization_returns_every_decoding_of_every_start(
    model: TrainedModel, data: CrystalDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method, "optimize", partial(optimize, steps=10))
    tested = CDVAEMethod(model, SHORT)
    found = tested.optimize(data.select([0, 1]), "formation_energy", 0)
    assert [len(decodings) for decodings in found] == [DECODINGS, DECODINGS]
    again = tested.optimize(data.select([0]), "formation_energy", 0)
    assert again[0][2].frac_coords == pytest.approx(found[0][2].frac_coords, abs=1e-4)


def write_csv(path: Path, data: CrystalDataset) -> Path:
    rows = ["material_id,cif"]
    for name, structure in zip(data.material_ids, to_structures(data.crystals), strict=True):
        rows.append(f'{name},"{write_cif(structure, {})}"')
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["evaluate", *arguments])


@pytest.mark.slow
def test_command_writes_the_numbers_of_generation(
    store: Path, tmp_path: Path, data: CrystalDataset
) -> None:
    source, out = write_csv(tmp_path / "data.csv", data), tmp_path / "out.json"
    options = ["tiny", "--task", "gen", "--data", str(source), "--out", str(out), "--limit", "6"]
    options += ["--sampler", "ancestral", "--nfe", "2", "--store", str(store)]
    options += ["--home", str(tmp_path / "home")]
    refused = run(*options)
    assert refused.exit_code == 1
    assert "no coverage thresholds for data set 'made-up perovskites'" in refused.output
    done = run(*options, "--train", str(source), "--coverage-thresholds", "0.2", "4")
    assert done.exit_code == 0, done.output
    facts = json.loads(out.read_text(encoding="utf-8"))
    fractions = ["structure_validity", "composition_validity", "validity", "cov_recall"]
    fractions += ["cov_precision", "cov_recall_joint", "cov_precision_joint"]
    assert all(0 <= facts[name] <= 1 for name in fractions)
    rest = {"w_density", "w_energy", "w_num_elements", "uniqueness", "novelty"}
    assert rest <= facts.keys()
    assert (facts["number"], facts["reference"], facts["judge"]) == (6, 8, "tiny@1")
    assert not math.isnan(facts["cov_recall"])
    assert facts["command"] == (
        "cdvae evaluate tiny --task gen --data data.csv --train data.csv --limit 6"
        " --sampler ancestral --nfe 2 --seed 0"
    )
    assert list((tmp_path / "home" / "fingerprints").glob("*.npz"))


def test_command_writes_the_numbers_of_reconstruction(
    store: Path, tmp_path: Path, data: CrystalDataset
) -> None:
    source, out = write_csv(tmp_path / "data.csv", data), tmp_path / "out.json"
    options = ["--task", "recon", "--data", str(source), "--out", str(out), "--limit", "3"]
    done = run("tiny", *options, "--nfe", "2", "--store", str(store))
    assert done.exit_code == 0, done.output
    facts = json.loads(out.read_text(encoding="utf-8"))
    assert 0 <= facts["match_rate_gated"] <= facts["match_rate"] <= 1
    assert facts["number"] == 3


def test_evaluation_of_generated_crystals_is_timed(
    model: TrainedModel, data: CrystalDataset, tmp_path: Path
) -> None:
    labels: list[str] = []

    def stage(label: str) -> Any:
        labels.append(label)
        return lambda done, total: None

    found = evaluate_generation(
        CDVAEMethod(model, SHORT), model, data, 3, 0, LIMITS, cache=tmp_path, stage=stage
    )
    assert labels == ["sampling", "reference fingerprints", "fingerprints"]
    assert min(found["seconds"], found["seconds_scoring"]) > 0
