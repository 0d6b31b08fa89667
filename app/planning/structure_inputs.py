"""Read and check the input crystals of a request; one invalid crystal rejects the request."""

from collections.abc import Sequence

from app.http.problems import FieldError, invalid, pointer
from app.planning.cif_reader import CifSyntaxError, read_blocks
from app.planning.pymatgen_json import PathError, read_structure
from app.planning.structure_checks import StructureError
from cdvae_schema.cards import ModelCard
from cdvae_schema.crystal_records import CrystalInput
from cdvae_schema.requests import StructureInput


def read_structures(
    given: Sequence[StructureInput], card: ModelCard, where: tuple[str | int, ...]
) -> list[CrystalInput]:
    """Return the crystals of the list at `where` in a JSON body; raise a 422 if one is invalid."""
    _check_structures(len(given), card, where)
    crystals = _read(given, card, [(*where, number) for number in range(len(given))])
    _check_structures(len(crystals), card, where)
    return crystals


def read_one(
    given: StructureInput, card: ModelCard, where: tuple[str | int, ...]
) -> list[CrystalInput]:
    """Return the crystals of one field of a JSON body, whose CIF may hold several blocks."""
    return _read([given], card, [where])


def _read(
    given: Sequence[StructureInput], card: ModelCard, paths: Sequence[tuple[str | int, ...]]
) -> list[CrystalInput]:
    crystals: list[CrystalInput] = []
    errors: list[FieldError] = []
    unreadable = False
    for number, (one, path) in enumerate(zip(given, paths, strict=True)):
        try:
            if one.cif is not None:
                found, faults = _from_cif(one.cif, card, pointer(*path, "cif"))
                crystals += found
                errors += faults
            else:
                crystals.append(read_structure(one.structure or {}, f"{number}", card.limits))
        except StructureError as error:
            unreadable = unreadable or isinstance(error, CifSyntaxError)
            inner = error.path if isinstance(error, PathError) else ()
            kind = "cif" if one.cif is not None else "structure"
            errors.append(_fault(error, pointer(*path, kind, *inner)))
    if errors:
        raise invalid(errors, 400 if unreadable else 422)
    return crystals


def read_cif_body(text: str, card: ModelCard) -> list[CrystalInput]:
    """Return the crystals of a raw CIF body; raise a 400 or 422 if one is invalid."""
    try:
        crystals, errors = _from_cif(text, card, None)
    except StructureError as error:
        status = 400 if isinstance(error, CifSyntaxError) else 422
        raise invalid([_fault(error, None)], status) from error
    if errors:
        raise invalid(errors)
    return crystals


def _from_cif(
    text: str, card: ModelCard, where: str | None
) -> tuple[list[CrystalInput], list[FieldError]]:
    results = read_blocks(text, card.limits)
    crystals = [one.crystal for one in results if one.crystal is not None]
    return crystals, [_fault(one.error, where) for one in results if one.error is not None]


def _fault(error: StructureError, where: str | None) -> FieldError:
    place = ", ".join(
        part
        for part in (
            where,
            f"block {error.block!r}" if error.block is not None else None,
            f"line {error.line}" if error.line is not None else None,
        )
        if part
    )
    detail = f"{place}: {error.detail}" if place else error.detail
    return FieldError(detail=detail, pointer=where, block=error.block, line=error.line)


def _check_structures(count: int, card: ModelCard, where: tuple[str | int, ...]) -> None:
    limit = card.limits.max_structures
    if count > limit:
        path = pointer(*where)
        detail = f"{path}: {count} structures exceed the limit of {card.reference} ({limit})"
        raise invalid([FieldError(detail=detail, pointer=path)])
