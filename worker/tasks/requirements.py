"""From the constraints of a request to those of the science."""

from __future__ import annotations

from dataclasses import replace

import torch
from pymatgen.core.periodic_table import Element

from cdvae.constraints import Constraints, Target
from cdvae.geometry.lattice import from_parameters
from cdvae_schema.crystal_constraints import CompositionConstraints, CrystalConstraints
from cdvae_schema.formula import parse_formula


def constraints_of(request: CompositionConstraints) -> Constraints:
    """Return the constraints of a request that was checked against the model's card."""
    atoms = _atoms(request)
    return _with_the_rest(atoms, request) if isinstance(request, CrystalConstraints) else atoms


def _atoms(request: CompositionConstraints) -> Constraints:
    formula, elements = request.composition, request.elements
    composition = None
    if formula is not None:
        composition = {Element(one).Z: n for one, n in parse_formula(formula).items()}
    return Constraints(
        num_atoms=request.num_atoms,
        composition=composition,
        include=frozenset(Element(one).Z for one in elements.include) if elements else frozenset(),
        exclude=frozenset(Element(one).Z for one in elements.exclude) if elements else frozenset(),
    )


def _with_the_rest(atoms: Constraints, request: CrystalConstraints) -> Constraints:
    target, lattice = request.target, request.lattice
    cell = None
    if lattice is not None:
        lengths = torch.tensor([[lattice.a, lattice.b, lattice.c]], dtype=torch.float64)
        angles = torch.tensor([[lattice.alpha, lattice.beta, lattice.gamma]], dtype=torch.float64)
        cell = from_parameters(lengths, angles)[0]
    return replace(
        atoms,
        lattice=cell,
        spacegroup=request.spacegroup,
        target=None if target is None else Target(target.property, target.value),
    )
