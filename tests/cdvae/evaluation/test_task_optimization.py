"""The success rates of property optimization."""

from typing import Any

import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.evaluation import task_optimization
from cdvae.evaluation.task_optimization import optimization_success, percentiles
from cdvae.testing import perovskites

LIMITS = {"5": 1.0, "10": 2.0, "15": 3.0}


def salt(length: float, anion: str = "F", apart: float = 0.5) -> Structure:
    """Return a crystal of two atoms; the judge returns the length of its cell."""
    return Structure(Lattice.cubic(length), ["Li", anion], [[0] * 3, [apart] * 3])


class Given:
    """A method that returns fixed crystals."""

    properties = ("energy",)

    def __init__(self, decodings: list[list[Structure | None]]) -> None:
        self.decodings = decodings

    def optimize(self, *_: Any) -> list[list[Structure | None]]:
        return self.decodings


@pytest.fixture(autouse=True)
def _judged_by_length(monkeypatch: pytest.MonkeyPatch) -> None:
    def lengths(judge: Any, structures: list[Structure], prop: str) -> list[float]:
        assert prop == "energy"
        return [structure.lattice.a for structure in structures]

    monkeypatch.setattr(task_optimization, "judged", lengths)


def rates(decodings: list[list[Structure | None]]) -> dict[str, Any]:
    data = perovskites(len(decodings))
    return optimization_success(Given(decodings), None, data, "energy", LIMITS, 0)


def test_best_valid_decoding_of_each_start_decides() -> None:
    found = rates(
        [
            [salt(9.0), salt(1.0), salt(5.0)],  # at the limit of 5 %
            [salt(9.0), salt(2.5)],  # within 15 %
            [salt(0.9, "F", apart=0.01), salt(9.0)],  # the best one has overlapping atoms
            [salt(0.9, "He"), salt(1.5)],  # the best one cannot be neutral
        ]
    )
    assert found["success_rate"] == {"5": 0.25, "10": 0.5, "15": 0.75}
    assert found["decodings"] == 9
    assert found["validity"] == pytest.approx(7 / 9)


def test_starts_without_a_valid_decoding_fail() -> None:
    found = rates([[None, None], [salt(1.0)]])
    assert found["success_rate"] == {"5": 0.5, "10": 0.5, "15": 0.5}
    nothing = rates([[None]])
    assert nothing["success_rate"] == {"5": 0.0, "10": 0.0, "15": 0.0}


def test_starts_are_judged_as_they_are() -> None:
    data = perovskites(4)
    lengths = data.crystals.lattice[:, 0].norm(dim=1).tolist()
    middle = sum(sorted(lengths)[1:3]) / 2
    limits = {"5": middle, "10": max(lengths) + 1}
    method = Given([[None]] * 4)
    found = optimization_success(method, None, data, "energy", limits, 0)
    assert found["success_rate_of_starts"] == {"5": 0.5, "10": 1.0}
    assert found["success_rate"] == {"5": 0.0, "10": 0.0}


def card(dataset: str, source: str) -> dict[str, Any]:
    own = {"source": source, "percentiles": {"5": 1.0, "10": 2.0, "15": 3.0}}
    return {"dataset": dataset, "properties": {"energy": own}}


def test_published_percentiles_are_for_the_published_data() -> None:
    """The values are those of the paper's code."""
    mp = percentiles(card("MP-20", "formation_energy_per_atom"), "energy")
    assert mp == {"5": -3.17562208, "10": -2.82196882, "15": -2.52814761}
    carbon = percentiles(card("Carbon-24", "energy_per_atom"), "energy")
    assert carbon == {"5": -154.527093, "10": -154.45865733, "15": -154.44206825}
    perov = percentiles(card("Perov-5", "heat_ref"), "energy")
    assert perov == {"5": 0.43924842, "10": 0.61202443, "15": 0.7364607}
    # Other columns and other data sets use the percentiles of their card.
    assert percentiles(card("Perov-5", "dir_gap"), "energy") == LIMITS
    assert percentiles(card("Ours", "heat_ref"), "energy") == LIMITS
