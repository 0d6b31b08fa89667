import time
from collections.abc import Callable

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.errors import Cancelled
from cdvae.metrics.fingerprint import Fingerprint
from cdvae.metrics.matching import duplicates, match
from cdvae.metrics.reconstruction_score import per_distinct, score_reconstruction, validities

Disguise = Callable[[Structure], Structure]


def displaced(structure: Structure, size: float) -> Structure:
    """Return a copy with atom 1 moved by `size` Å along a."""
    other = structure.copy()
    other.translate_sites([1], [size / structure.lattice.a, 0, 0])
    return other


BROKEN = Structure(Lattice.cubic(4), ["Sr", "Ti", "O", "O", "O"], np.full((5, 3), np.nan))


def test_the_same_crystal_matches_in_any_cell(perovskite: Structure, disguised: Disguise) -> None:
    assert match(perovskite, perovskite) == pytest.approx(0.0, abs=1e-9)
    assert match(perovskite, disguised(perovskite)) == pytest.approx(0.0, abs=1e-5)


def test_distance_is_in_units_of_the_spacing(perovskite: Structure) -> None:
    """If one of N atoms moves by d, the rms without the mean shift is d·sqrt(1/N · (1 - 1/N))."""
    length_scale = (perovskite.volume / 5) ** (1 / 3)
    expected = 0.1 * np.sqrt(1 / 5 * (1 - 1 / 5)) / length_scale
    assert match(perovskite, displaced(perovskite, 0.1)) == pytest.approx(expected, rel=1e-3)


def test_other_compositions_and_broken_cells_do_not_match(
    perovskite: Structure, rocksalt: Structure
) -> None:
    barium = perovskite.copy()
    barium.replace_species({"Sr": "Ba"})
    assert match(perovskite, barium) is None
    assert match(perovskite, rocksalt) is None
    assert match(perovskite, BROKEN) is None
    assert match(BROKEN, perovskite) is None


def test_processes_keep_the_order(perovskite: Structure, rocksalt: Structure) -> None:
    pairs = [(perovskite, perovskite), (perovskite, rocksalt), (rocksalt, rocksalt)] * 7
    references, predictions = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    score = score_reconstruction(references, predictions, workers=2)
    assert [detail.rms is not None for detail in score.details] == [True, False, True] * 7


def test_duplicates_name_the_first_equal_crystal(
    perovskite: Structure, rocksalt: Structure, disguised: Disguise
) -> None:
    swapped = perovskite.copy()
    swapped.replace_species({"Sr": "Ti", "Ti": "Sr"})
    crystals = [
        perovskite,
        rocksalt,
        disguised(perovskite),
        displaced(perovskite, 0.05),
        swapped,
        displaced(perovskite, 1.0),
        BROKEN,
        BROKEN,
        disguised(rocksalt),
    ]
    # Exchanging the A and the B site of a perovskite gives another crystal of the same formula.
    assert duplicates(crystals) == [None, None, 0, 0, None, None, None, None, 1]


def test_a_loose_match_is_no_duplicate(perovskite: Structure) -> None:
    """The matcher's tolerance of half a spacing also pairs crystals that are not the same."""
    moved = displaced(perovskite, 0.8)
    assert match(perovskite, moved) is not None
    assert duplicates([perovskite, moved]) == [None, None]


def test_reconstruction_counts_matches_over_all_crystals(perovskite: Structure) -> None:
    sodium = Structure(Lattice.cubic(4), ["Na", "Cl", "Cl"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]])
    moved = displaced(perovskite, 0.1)
    references = [perovskite, perovskite, sodium, perovskite]
    score = score_reconstruction(references, [perovskite, moved, sodium, BROKEN])
    assert score.match_rate == 0.75
    assert score.match_rate_gated == 0.5  # NaCl2 is reconstructed, but its composition is invalid
    assert score.rmse == pytest.approx(match(perovskite, moved) / 3, rel=1e-6)
    assert score.rmse_gated == pytest.approx(match(perovskite, moved) / 2, rel=1e-6)
    assert [d.rms is None for d in score.details] == [False, False, False, True]
    assert [d.validity.both for d in score.details] == [True, True, False, False]


def test_reconstruction_of_nothing_that_matches_has_no_error(perovskite: Structure) -> None:
    score = score_reconstruction([perovskite], [BROKEN])
    assert (score.match_rate, score.rmse, score.match_rate_gated) == (0.0, None, 0.0)
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        score_reconstruction([perovskite] * 2, [BROKEN])


def test_validity_of_each(perovskite: Structure) -> None:
    sodium = Structure(Lattice.cubic(4), ["Na", "Cl", "Cl"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]])
    clash = displaced(perovskite, 3.905 / 2)  # Ti onto O
    found = validities([perovskite, sodium, clash, BROKEN, None])
    assert [v.structure for v in found] == [True, True, False, False, False]
    assert [v.composition for v in found] == [True, False, True, True, False]
    assert [v.both for v in found] == [True, False, False, False, False]


def test_a_crystal_that_could_not_be_decoded_does_not_match(perovskite: Structure) -> None:
    score = score_reconstruction([perovskite] * 4, [perovskite, None, perovskite, perovskite])
    assert (score.match_rate, score.match_rate_gated) == (0.75, 0.75)
    assert score.rmse == pytest.approx(0.0, abs=1e-9)


def test_copies_count_once_for_a_distinct_crystal() -> None:
    """Two of three copies match, and a single other crystal does not: (2/3 + 0) / 2."""
    assert per_distinct([None, 0, None, 0], [1, 1, 0, 0]) == pytest.approx(1 / 3)
    assert per_distinct([None, None], [1, 0]) == 0.5


def test_the_search_for_duplicates_can_be_stopped() -> None:
    calls = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled

    cell = Structure(Lattice.cubic(4), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(Cancelled):
        duplicates([cell] * 5, on_step=stop)
    assert len(calls) == 3


def test_many_crystals_of_one_formula_are_compared_at_once() -> None:
    """10,000 of them took minutes when each pair was compared in Python."""
    generator = np.random.default_rng(0)
    fingerprints = [Fingerprint(((6, 1),), 50 * generator.random((1, 1, 8))) for _ in range(4000)]
    cell = Structure(Lattice.cubic(4), ["C"], [[0, 0, 0]])
    begun = time.process_time()
    assert duplicates([cell] * 4000, fingerprints) == [None] * 4000
    assert time.process_time() - begun < 10
