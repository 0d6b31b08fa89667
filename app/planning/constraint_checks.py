"""What a request requires of its crystals, checked against the model before it is queued."""

from collections.abc import Iterator

from app.http.bodies import quoted
from app.http.problems import FieldError
from app.planning.structure_checks import Cell, StructureError, atomic_number, cell_from_parameters
from cdvae.symmetry.site_solver import (
    cell_setting,
    group_has_room,
    group_has_sites,
    primitive_cells,
)
from cdvae_schema.cards import Limits, ModelCard
from cdvae_schema.crystal_constraints import CompositionConstraints, CrystalConstraints
from cdvae_schema.formula import FormulaError, parse_formula

VOLUME_PER_ATOM = (4.0, 150.0)  # Å³: diamond has 5.7, solid caesium 115


def composition_faults(request: CompositionConstraints, card: ModelCard) -> list[FieldError]:
    """What is wrong with the atoms that are asked for; elements, their number, or both."""
    return list(_composition_faults(request, card))


def crystal_faults(request: CrystalConstraints, card: ModelCard) -> list[FieldError]:
    """What is wrong with the crystals that are asked for."""
    faults = composition_faults(request, card)
    target = request.target
    if target is not None and target.property not in card.properties:
        known = ", ".join(card.properties) or "none"
        text = f"{card.reference} has no property {quoted(target.property)}; it has: {known}"
        faults.append(_fault("/target/property", text))
    cell = None
    if request.lattice is not None:
        try:
            cell = _cell(request)
        except StructureError as error:
            faults.append(_fault("/lattice", error.detail))
    if not faults:
        faults += _sizes_faults(request, card, cell)
    return faults


def _composition_faults(request: CompositionConstraints, card: ModelCard) -> Iterator[FieldError]:
    limits, wanted = card.limits, request.num_atoms
    low, high = limits.min_atoms, limits.max_atoms
    if wanted is not None and not low <= wanted <= high:
        yield _fault("/num_atoms", f"{wanted} atoms; {card.reference} makes {_sizes(limits)}")
    include = request.elements.include if request.elements else []
    exclude = request.elements.exclude if request.elements else []
    for name, symbols in (("include", include), ("exclude", exclude)):
        for place, symbol in enumerate(symbols):
            if atomic_number(symbol) == 0:
                yield _fault(f"/elements/{name}/{place}", f"{quoted(symbol)} is no element")
            elif name == "include" and symbol not in limits.elements:
                yield _fault(f"/elements/include/{place}", _unknown(symbol, card))
    both = sorted(set(include) & set(exclude))
    if both:
        yield _fault("/elements", f"{', '.join(both)} cannot be both in and out")
    if set(limits.elements) <= set(exclude):
        yield _fault("/elements/exclude", f"no element is left of those of {card.reference}")
    if len(set(include)) > (wanted or high):
        text = f"{len(set(include))} elements need more than {wanted or high} atoms"
        yield _fault("/elements/include", text)
    if request.composition is None:
        return
    try:
        formula = parse_formula(request.composition)
    except FormulaError as error:
        yield _fault("/composition", f"{quoted(request.composition)}: {error}")
        return
    for symbol in formula:
        if symbol not in limits.elements:
            yield _fault("/composition", _unknown(symbol, card))
    for symbol in sorted(set(include) - set(formula)):
        yield _fault("/elements/include", f"{symbol} is not in {request.composition}")
    for symbol in sorted(set(exclude) & set(formula)):
        yield _fault("/elements/exclude", f"{symbol} is in {request.composition}")
    size = sum(formula.values())
    if wanted is not None and wanted % size:
        text = f"{wanted} atoms are no multiple of {request.composition}, which has {size}"
        yield _fault("/num_atoms", text)
    elif not any(n % size == 0 for n in range(low, high + 1)):
        text = f"{request.composition} has {size} atoms; {card.reference} makes {_sizes(limits)}"
        yield _fault("/composition", text)


def _sizes_faults(
    request: CrystalConstraints, card: ModelCard, cell: Cell | None
) -> Iterator[FieldError]:
    """Whether there is a number of atoms that suits composition, cell and space group at once."""
    limits, wanted, number = card.limits, request.num_atoms, request.spacegroup
    sizes = [wanted] if wanted else list(range(limits.min_atoms, limits.max_atoms + 1))
    formula = parse_formula(request.composition) if request.composition else {}
    unit = sum(formula.values()) or 1
    sizes = [n for n in sizes if n % unit == 0]
    if cell is not None:
        low, high = VOLUME_PER_ATOM
        fitting = [n for n in sizes if low <= cell.volume / n <= high]
        if not fitting:
            listed = f"{sizes[0]} atoms" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} atoms"
            text = f"{cell.volume:.4g} Å³ for {listed}; an atom takes {low:g} to {high:g} Å³"
            yield _fault("/lattice", text)
            return
        sizes = fitting
    if number is None:
        return
    cells = 1
    if cell is not None:
        setting = cell_setting(number, cell.matrix)
        if setting is None:
            text = f"neither a conventional nor a primitive cell of space group {number}"
            yield _fault("/lattice", text)
            return
        cells = primitive_cells(number, setting)
    if formula:
        if unit in sizes and cell is None:
            sizes = [unit]
        shares = [[count * n // unit for count in formula.values()] for n in sizes]
        if not any(group_has_sites(number, counts, cells) for counts in shares):
            text = f"{request.composition} has no sites in space group {number} with "
            yield _fault("/spacegroup", text + _listed(sizes))
    else:
        least = max(1, len(set(request.elements.include)) if request.elements else 1)
        if not any(group_has_room(number, n, least, cells) for n in sizes):
            text = f"space group {number} has no cell with {_listed(sizes)}"
            yield _fault("/spacegroup", f"{text} of {least} elements" if least > 1 else text)


def _cell(request: CrystalConstraints) -> Cell:
    assert request.lattice is not None
    a, b, c, *angles = request.lattice.model_dump().values()
    return cell_from_parameters((a, b, c), angles)


def _unknown(symbol: str, card: ModelCard) -> str:
    if atomic_number(symbol) == 0:
        return f"{quoted(symbol)} is no element"
    return f"{card.reference} does not know {symbol}; its card lists the elements it knows"


def _sizes(limits: Limits) -> str:
    return _listed(list(range(limits.min_atoms, limits.max_atoms + 1)))


def _listed(sizes: list[int]) -> str:
    whole = len(sizes) > 2 and sizes == list(range(sizes[0], sizes[-1] + 1))
    listed = f"{sizes[0]} to {sizes[-1]}" if whole else ", ".join(map(str, sizes))
    return f"{listed} atoms"


def _fault(where: str, text: str) -> FieldError:
    return FieldError(detail=f"{where}: {text}", pointer=where)
