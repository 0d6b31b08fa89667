import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cdvae import compute
from cdvae.config import SamplingConfig
from cdvae.errors import Cancelled, DataError, ModelStoreError, NonFiniteSampleError
from cdvae.inference import (
    SamplerSpec,
    chunks,
    crystal_seed,
    decode,
    encode,
    max_nfe,
    portions,
    sample_latents,
    sample_posterior,
)
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.inference.initial_state import initial_state, read_counts
from cdvae.model_folder import TrainedModel, load_model
from cdvae.nn.encoder import Latents
from cdvae.testing import perovskites, write_tiny_model

FAST = SamplerSpec("ancestral", 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("store")))


def seeds(n: int) -> list[int]:
    return [crystal_seed(7, i) for i in range(n)]


def test_seeds_are_stable_and_distinct() -> None:
    assert crystal_seed(7, 0) == crystal_seed(7, 0)
    assert len({crystal_seed(s, i) for s in range(30) for i in range(30)}) == 900
    assert all(0 <= crystal_seed(s, 1) < 2**63 for s in range(50))


def test_a_crystal_does_not_depend_on_its_batch(model: TrainedModel) -> None:
    all_seeds = seeds(20)
    latents = sample_latents(model, all_seeds)
    together = decode(model, latents, all_seeds, FAST).crystals
    for part in ([3], [19, 4], list(range(5, 12))):
        chosen = [all_seeds[i] for i in part]
        alone = decode(model, sample_latents(model, chosen), chosen, FAST).crystals
        expected = together.select(part)
        torch.testing.assert_close(alone.frac_coords, expected.frac_coords, atol=1e-4, rtol=0)
        assert torch.equal(alone.atomic_numbers, expected.atomic_numbers)
        torch.testing.assert_close(alone.lattice, expected.lattice, atol=1e-4, rtol=0)


def test_the_same_seed_gives_the_same_bits(model: TrainedModel) -> None:
    latents = sample_latents(model, seeds(6))
    first, second = (decode(model, latents, seeds(6), FAST).crystals for _ in range(2))
    assert torch.equal(first.frac_coords, second.frac_coords)
    other = [crystal_seed(8, i) for i in range(6)]
    assert not torch.equal(sample_latents(model, other).z, latents.z)


def test_decoded_crystals_are_complete(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "_threads", 1)  # one batch, independent of other tests
    latents = encode(model, perovskites(5).crystals).means()
    levels = []
    decoded = decode(model, latents, seeds(5), FAST, lambda *level: levels.append(level))
    assert levels == [(i, 8) for i in range(1, 9)]
    assert decoded.nfe.tolist() == [8] * 5
    assert len(decoded.crystals) == 5
    assert set(decoded.properties) == {"formation_energy", "band_gap"}
    assert (decoded.crystals.frac_coords >= 0).all()
    assert (decoded.crystals.frac_coords < 1).all()
    known = {int(z) for z in perovskites(32).crystals.atomic_numbers}
    assert set(decoded.crystals.atomic_numbers.tolist()) <= known


def test_cancel_stops_decoding(model: TrainedModel) -> None:
    def stop(done: int, total: int) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        decode(model, sample_latents(model, seeds(2)), seeds(2), FAST, stop)


def test_broken_numbers_are_an_error_that_names_the_crystals(model: TrainedModel) -> None:
    latents = sample_latents(model, seeds(4))
    latents.z[2] = torch.nan
    with pytest.raises(NonFiniteSampleError) as caught:
        decode(model, latents, seeds(4), FAST)
    assert caught.value.indices == (2,)


@pytest.mark.parametrize(
    "spec",
    [SamplerSpec("magic"), SamplerSpec("ancestral", 0), SamplerSpec("langevin", 75)],
    ids=str,
)
def test_impossible_samplers_are_refused(model: TrainedModel, spec: SamplerSpec) -> None:
    with pytest.raises(ValueError, match="sampler"):
        max_nfe(model, spec)


def test_paper_sampler_has_fifty_levels_of_a_hundred_steps(model: TrainedModel) -> None:
    assert max_nfe(model, SamplerSpec("langevin")) == 5000
    for steps in (None, 1, 7, 24, 50, 60, 99, 100):
        evaluations = max_nfe(model, SamplerSpec("ancestral", steps))
        assert evaluations <= (steps or 100)
        assert evaluations > 0.9 * (steps or 0)


@pytest.mark.parametrize(("fit", "runs"), [(0.0, 3), (1e9, 1)])
def test_a_given_crystal_gets_runs_until_it_fits(
    model: TrainedModel, fit: float, runs: int
) -> None:
    sampling = SamplingConfig(
        nfe_generated=6, nfe_constrained=8, nfe_per_attempt=4, accept_below=fit
    )
    model = replace(model, config=replace(model.config, sampling=sampling))
    spec, given = SamplerSpec("ancestral", 12), encode(model, perovskites(5).crystals).means()
    decoded = decode(model, given, seeds(5), spec)
    assert decoded.nfe.tolist() == [4 * runs] * 5
    new = decode(model, Latents.of(given.z), seeds(5), spec)
    assert new.nfe.tolist() == [6] * 5
    atoms = read_counts(model.network.heads, given.z)
    required = [FixedAttributes(atoms[0]), None, FixedAttributes(atoms[2]), None, None]
    mixed = decode(model, Latents.of(given.z), seeds(5), spec, fixed=required)
    assert mixed.nfe.tolist() == [8, 6, 8, 6, 6]
    rows = [1, 3, 4]
    assert torch.equal(
        mixed.select(rows).crystals.frac_coords, new.select(rows).crystals.frac_coords
    )
    # One of the four evaluations scores the attempt; a single attempt needs no score.
    first = decode(model, given, seeds(5), SamplerSpec("ancestral", 3)).crystals
    assert torch.equal(decoded.crystals.frac_coords, first.frac_coords) == (runs == 1)


def test_posterior_draws_scatter_about_the_mean(model: TrainedModel) -> None:
    posterior = encode(model, perovskites(1).crystals.select([0] * 300))
    draws = sample_posterior(model, posterior, seeds(300))
    for drawn, latent in ((draws.z, posterior.z), (draws.atom_latents, posterior.atom_latents)):
        standard = (drawn - latent.mean) / (0.5 * latent.logvar).exp()
        assert abs(standard.mean().item()) < 0.1
        assert abs(standard.std().item() - 1) < 0.1


def test_a_draw_without_width_is_the_mean(model: TrainedModel) -> None:
    posterior = encode(model, perovskites(2).crystals)
    draws = sample_posterior(model, posterior, seeds(2), torch.tensor([0.0, 1.0]))
    means = posterior.means()
    torch.testing.assert_close(draws.z[0], means.z[0])
    torch.testing.assert_close(draws.atom_latents[:5], means.atom_latents[:5])
    assert not torch.allclose(draws.z[1], means.z[1])
    assert not torch.allclose(draws.atom_latents[5:], means.atom_latents[5:])


def test_elements_are_those_that_the_codes_say(model: TrainedModel) -> None:
    latents = encode(model, perovskites(3).crystals).means()
    said = model.network.heads.species_logits(latents.atom_latents).argmax(-1) + 1
    rngs = [torch.Generator().manual_seed(i) for i in range(3)]
    num_atoms = read_counts(model.network.heads, latents.z).sum(-1)
    given = replace(
        latents,
        atom_latents=latents.atom_latents[: int(num_atoms.sum())],
        num_atom_latents=num_atoms,
    )
    start = initial_state(model.network, given, rngs)
    assert torch.equal(start.crystals.atomic_numbers, said[: len(start.crystals.atomic_numbers)])
    assert start.condition.has_atom_latents.all()
    wrong = replace(
        latents, atom_latents=latents.atom_latents[:0], num_atom_latents=torch.zeros_like(num_atoms)
    )
    start = initial_state(model.network, wrong, rngs)
    assert torch.equal(start.crystals.num_atoms, num_atoms)
    assert start.condition.atom_latents.shape == (int(num_atoms.sum()), 3)
    assert not start.condition.has_atom_latents.any()


def test_chunks_cover_everything_once(model: TrainedModel) -> None:
    for divide, most in ((chunks, 64), (portions, 256)):
        ranges = divide(600, model)
        assert [i for part in ranges for i in part] == list(range(600))
        assert max(len(part) for part in ranges) == most
        assert divide(0, model) == []


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelStoreError, match=r"weights\.safetensors: sha256"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(ModelStoreError, match="FileNotFoundError"):
        load_model(folder)


def test_unknown_setting_is_named(tmp_path: Path) -> None:
    from cdvae.config import load_config
    from cdvae.testing import TINY_CONFIG

    path = tmp_path / "bad.toml"
    path.write_text(TINY_CONFIG.replace("latent_dim = 8", "latent_dims = 8"))
    with pytest.raises(DataError, match=r"bad\.toml\.model: unknown key latent_dims"):
        load_config(path)


def test_every_user_may_read_a_model_folder(tmp_path: Path) -> None:
    """Containers may run as another user; only the umask limits the permissions."""
    before = os.umask(0o022)
    try:
        folder = write_tiny_model(tmp_path)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}
