"""The shipped model agrees with its card."""

import os
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cdvae.config import load_config
from cdvae.data.dataset import CrystalDataset, load_cache
from cdvae.data.tensor_cache import prepare
from cdvae.evaluation.method import CDVAEMethod
from cdvae.evaluation.sampling_protocol import generate
from cdvae.evaluation.task_reconstruction import reconstruct
from cdvae.inference import SamplerSpec, crystal_seed, estimate
from cdvae.model_folder import TrainedModel, load_model
from cdvae.nn.encoder import Latents
from cdvae.optimization.objective import PropertyObjective
from cdvae.optimization.optimize import optimize
from cdvae.restoring_force import restoring_force
from cdvae_schema.cards import ModelCard

STORE = Path(__file__).parents[2] / "model_store"
FAST = SamplerSpec("ancestral")


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return load_model(STORE / "perov-5" / "2")


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> CrystalDataset:
    folder = os.environ.get("CDVAE_DATA")
    if folder is None:
        pytest.skip("CDVAE_DATA is not set")
    cache = tmp_path_factory.mktemp("cache") / "val.safetensors"
    columns = {"formation_energy": "heat_ref", "band_gap": "dir_gap"}
    prepare(Path(folder) / "perov_5" / "val.csv.gz", cache, columns, limit=100)
    return load_cache(cache)


def test_folder_is_complete_and_small(model: TrainedModel) -> None:
    folder = STORE / "perov-5" / "2"
    card = ModelCard.model_validate_json((folder / "card.json").read_text(encoding="utf-8"))
    assert (card.name, card.version) == ("perov-5", "2")
    assert card.data == {"train": 11356, "val": 3787, "test": 3785}
    assert {"property_model", "reconstruction", "generation"} <= card.quality.keys()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 30e6


@pytest.mark.parametrize("folder", sorted(STORE.glob("*/*")), ids=lambda path: path.parent.name)
def test_every_card_can_be_used_and_says_what_the_model_does(folder: Path) -> None:
    card = ModelCard.model_validate_json((folder / "card.json").read_text(encoding="utf-8"))
    config = load_config(folder / "config.toml")
    assert card.samplers["ancestral"].default_nfe == config.sampling.nfe
    assert card.samplers["langevin"].default_nfe == 5000
    for task in ("reconstruction", "generation", "optimization"):
        assert card.quality[task]["weights_sha256"] == card.weights_sha256


WEIGHTS = {
    "perov-5/2": "8fe4d116e74fe86e2848209546dc32ecf3acdaf3a8960ba6cc2bbd3c83c2f01a",
    "carbon-24/1": "8603ad630920334799435d58a6af57613bc8f42b75d1ea6703d24c5935301f8f",
    "mp-20/1": "8f4150bdfd207d4e7bab84298dc7fbcd16e7200d0c483eb0e81205ac8d00326e",
}
"""SHA-256 over the sorted digests of all tensors, from before the weights got their new keys."""


@pytest.mark.parametrize("name", WEIGHTS)
def test_new_keys_hold_the_numbers_of_the_trained_weights(name: str) -> None:
    tensors = load_file(STORE / name / "weights.safetensors").values()
    digests = sorted(sha256(tensor.contiguous().numpy().tobytes()).digest() for tensor in tensors)
    assert sha256(b"".join(digests)).hexdigest() == WEIGHTS[name]


@pytest.mark.slow
def test_generated_crystals_are_valid_and_diverse(model: TrainedModel) -> None:
    metrics = generate(model, 48, 3, FAST).metrics
    assert metrics["structure_validity"] >= 0.95
    assert metrics["composition_validity"] >= 0.85
    assert metrics["uniqueness"] >= 0.9


@pytest.mark.slow
def test_optimized_crystals_are_among_the_best_of_the_data(model: TrainedModel) -> None:
    seeds = [crystal_seed(0, i) for i in range(16)]
    found = optimize(
        model,
        Latents.of(model.reference.latents[:16]),
        seeds,
        SamplerSpec("ancestral", 25),
        objectives=[PropertyObjective("formation_energy", "minimize")],
        steps=20,
        learning_rate=0.05,
    )
    assert all(path.valid for path in found.trajectories)
    energy = estimate(model, found.best())["formation_energy"]
    limits = model.card["properties"]["formation_energy"]["percentiles"]
    # 5 % of the data are below the first.
    assert (energy <= limits["5"]).float().mean() >= 0.8
    assert (energy <= limits["15"]).float().mean() >= 0.9


@pytest.mark.slow
@pytest.mark.data
def test_crystals_come_back(model: TrainedModel, validation: CrystalDataset) -> None:
    figures = reconstruct(CDVAEMethod(model, FAST), validation.select(range(40)), 0)
    assert figures["match_rate"] >= 0.9
    assert figures["rmse"] <= 0.04
    assert figures["property_mae"]["formation_energy"] <= 0.12


@pytest.mark.data
def test_estimates_are_as_good_as_the_card_says(
    model: TrainedModel, validation: CrystalDataset
) -> None:
    values = estimate(model, validation.crystals)["formation_energy"]
    error = float((values - validation.properties[:, 0]).abs().mean())
    assert error <= 0.06  # eV; the deviation of the data is 0.68
    assert error == pytest.approx(
        model.card["quality"]["property_model"]["formation_energy"]["mae"], abs=0.015
    )


@pytest.mark.data
def test_score_is_a_restoring_harmonic_force_near_equilibrium(
    model: TrainedModel, validation: CrystalDataset
) -> None:
    rng = torch.Generator().manual_seed(0)
    for result in restoring_force(model, validation.crystals, (0.05, 0.1, 0.2), rng):
        assert result.cosine >= 0.85, result.sigma
        assert 0.8 <= result.slope <= 1.1, result.sigma
