"""The outputs of the networks do not depend on the description of a crystal."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cdvae.data.structures import from_structure, to_structures
from cdvae.geometry.crystal import CrystalBatch
from cdvae.nn.autoencoder import CDVAE
from cdvae.nn.decoder import Condition
from tests.cdvae.conftest import random_crystals, small_network

N = 9


def double(crystals: CrystalBatch) -> CrystalBatch:
    return crystals.replace(
        frac_coords=crystals.frac_coords.double(), lattice=crystals.lattice.double()
    )


@pytest.fixture
def crystals() -> CrystalBatch:
    return double(random_crystals(N, seed=11))


def rotation(seed: int = 0) -> torch.Tensor:
    q, _ = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)).double()
    )
    return q * torch.linalg.det(q)


def rotated(crystals: CrystalBatch) -> CrystalBatch:
    return crystals.replace(lattice=crystals.lattice @ rotation())


def translated(crystals: CrystalBatch) -> CrystalBatch:
    return crystals.replace(
        frac_coords=(crystals.frac_coords + torch.tensor([0.31, -0.77, 0.123])) % 1
    )


def moved_to_other_images(crystals: CrystalBatch) -> CrystalBatch:
    shift = torch.randint(
        -3, 4, crystals.frac_coords.shape, generator=torch.Generator().manual_seed(1)
    )
    return crystals.replace(frac_coords=crystals.frac_coords + shift)


def permutation(crystals: CrystalBatch) -> torch.Tensor:
    keys = torch.rand(len(crystals.frac_coords), generator=torch.Generator().manual_seed(2))
    return (crystals.batch + keys.double()).argsort()


def permuted(crystals: CrystalBatch) -> CrystalBatch:
    order = permutation(crystals)
    return crystals.replace(
        frac_coords=crystals.frac_coords[order], atomic_numbers=crystals.atomic_numbers[order]
    )


CHANGE = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, -2, 1]]).double()  # determinant 1


def in_another_cell(crystals: CrystalBatch) -> CrystalBatch:
    """Return the same crystals with the cell vectors CHANGE @ lattice."""
    return crystals.replace(
        lattice=CHANGE @ crystals.lattice,
        frac_coords=(crystals.frac_coords @ torch.linalg.inv(CHANGE)) % 1,
    )


def supercell(crystals: CrystalBatch) -> CrystalBatch:
    """Return each crystal repeated twice along its first cell vector."""
    parts = []
    for part in crystals.split():
        half = part.frac_coords * torch.tensor([0.5, 1, 1])
        parts.append(
            CrystalBatch(
                torch.cat([half, half + torch.tensor([0.5, 0, 0])]),
                part.atomic_numbers.repeat(2),
                part.lattice * torch.tensor([2.0, 1, 1])[:, None],
                part.num_atoms * 2,
            )
        )
    return CrystalBatch.cat(parts)


WRITTEN_OTHERWISE = [rotated, translated, moved_to_other_images, permuted]


@pytest.mark.parametrize("change", WRITTEN_OTHERWISE, ids=lambda change: change.__name__)
def test_latent_does_not_change(
    network: CDVAE, crystals: CrystalBatch, change: Callable[[CrystalBatch], CrystalBatch]
) -> None:
    before, after = network.encode(crystals), network.encode(change(crystals))
    torch.testing.assert_close(after.z.mean, before.z.mean, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(after.z.logvar, before.z.logvar, atol=1e-7, rtol=1e-6)
    assert before.z.mean.std(0).min() > 1e-4  # otherwise the test would be empty
    order = (
        permutation(crystals) if change is permuted else torch.arange(len(crystals.atomic_numbers))
    )
    torch.testing.assert_close(
        after.atom_latents.mean, before.atom_latents.mean[order], atol=1e-7, rtol=1e-6
    )
    if network.config.atom_latent_dim:
        assert before.atom_latents.mean.std(0).min() > 1e-4


@pytest.mark.parametrize(
    "change",
    [*WRITTEN_OTHERWISE, in_another_cell, supercell],
    ids=lambda change: change.__name__,
)
def test_what_the_encoder_reads_from_the_atoms_is_the_same_for_every_cell(
    plain: CDVAE, crystals: CrystalBatch, change: Callable[[CrystalBatch], CrystalBatch]
) -> None:
    changed, encoder = change(crystals), plain.encoder

    def pooled(batch: CrystalBatch) -> Tensor:
        graph = encoder.geometry(batch)
        return encoder._mean(*encoder._atoms(batch, graph), batch)

    before, after = pooled(crystals), pooled(changed)
    torch.testing.assert_close(after, before, atol=1e-7, rtol=1e-6)
    assert before.std(0).amin() > 1e-5


def test_latent_is_that_of_the_reduced_cell(network: CDVAE, crystals: CrystalBatch) -> None:
    def reduced(batch: CrystalBatch) -> CrystalBatch:
        return double(CrystalBatch.cat([from_structure(s) for s in to_structures(batch)]))

    before = network.encode(reduced(crystals))
    after = network.encode(reduced(in_another_cell(crystals)))
    torch.testing.assert_close(after.z.mean, before.z.mean, atol=1e-5, rtol=1e-4)


def scores(
    network: CDVAE, crystals: CrystalBatch, atom_latents: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return shift and logits for random latents that depend only on the sizes of the crystals."""
    rng = torch.Generator().manual_seed(3)
    z = torch.randn(len(crystals), 8, generator=rng).double()
    if atom_latents is None:
        atom_latents = random_atom_latents(network, crystals)
    has_atom_latents = torch.ones(len(crystals), dtype=torch.bool)
    sigma = torch.logspace(-1.5, 0.3, len(crystals)).double()
    output = network.decoder(
        Condition(z, atom_latents, has_atom_latents, crystals.num_atoms), crystals, sigma
    )
    return output.shift, output.species_logits


def random_atom_latents(network: CDVAE, crystals: CrystalBatch) -> torch.Tensor:
    rng = torch.Generator().manual_seed(4)
    return torch.randn(
        len(crystals.atomic_numbers), network.config.atom_latent_dim, generator=rng
    ).double()


def test_score_does_not_change_in_another_cell(plain: CDVAE, crystals: CrystalBatch) -> None:
    shift, logits = scores(plain, crystals)
    shift_after, logits_after = scores(plain, in_another_cell(crystals))
    torch.testing.assert_close(shift_after, shift, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(logits_after, logits, atol=1e-7, rtol=1e-6)


def test_score_looks_at_codes_where_it_is_told_to(crystals: CrystalBatch) -> None:
    network = small_network(6)
    z = torch.zeros(len(crystals), 8).double()
    sigma = torch.full((len(crystals),), 0.3).double()
    for seen in (True, False):
        has_atom_latents = torch.full((len(crystals),), seen)
        atom_latents = random_atom_latents(network, crystals)
        one, other = (
            network.decoder(
                Condition(z, c, has_atom_latents, crystals.num_atoms), crystals, sigma
            ).shift
            for c in (atom_latents, -atom_latents)
        )
        assert torch.equal(one, other) is not seen


@pytest.mark.parametrize("change", [translated, moved_to_other_images], ids=lambda c: c.__name__)
def test_score_does_not_change(
    network: CDVAE, crystals: CrystalBatch, change: Callable[[CrystalBatch], CrystalBatch]
) -> None:
    (shift, logits), (shift_after, logits_after) = (
        scores(network, crystals),
        scores(network, change(crystals)),
    )
    assert shift.abs().max() > 1e-3
    torch.testing.assert_close(shift_after, shift, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(logits_after, logits, atol=1e-7, rtol=1e-6)


def test_score_turns_with_the_crystal(network: CDVAE, crystals: CrystalBatch) -> None:
    shift, logits = scores(network, crystals)
    turned, logits_after = scores(network, rotated(crystals))
    torch.testing.assert_close(turned, shift @ rotation(), atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(logits_after, logits, atol=1e-7, rtol=1e-6)


def test_score_is_permuted_with_the_atoms(network: CDVAE, crystals: CrystalBatch) -> None:
    order = permutation(crystals)
    shift, logits = scores(network, crystals)
    atom_latents = random_atom_latents(network, crystals)[order]
    shift_after, logits_after = scores(network, permuted(crystals), atom_latents)
    torch.testing.assert_close(shift_after, shift[order], atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(logits_after, logits[order], atol=1e-7, rtol=1e-6)


def test_score_is_repeated_in_a_supercell(plain: CDVAE, crystals: CrystalBatch) -> None:
    shift, logits = scores(plain, crystals)
    large = supercell(crystals)
    shift_after, logits_after = scores(plain, large)
    first = torch.cat(
        [
            torch.arange(n) + start
            for n, start in zip(
                crystals.num_atoms.tolist(),
                (large.num_atoms.cumsum(0) - large.num_atoms).tolist(),
                strict=True,
            )
        ]
    )
    torch.testing.assert_close(shift_after[first], shift, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(logits_after[first], logits, atol=1e-7, rtol=1e-6)


def test_score_has_no_common_drift(network: CDVAE, crystals: CrystalBatch) -> None:
    shift, _ = scores(network, crystals)
    total = torch.zeros(N, 3).double().index_add_(0, crystals.batch, shift)
    assert total.abs().max() < 1e-9


def test_a_lone_atom_without_edges_is_no_accident(network: CDVAE) -> None:
    alone = CrystalBatch(
        torch.zeros(1, 3).double(),
        torch.tensor([8]),
        40 * torch.eye(3)[None].double(),
        torch.tensor([1]),
    )
    assert network.encode(alone).z.mean.isfinite().all()
    shift, logits = scores(network, alone)
    assert shift.abs().max() == 0
    assert logits.isfinite().all()
