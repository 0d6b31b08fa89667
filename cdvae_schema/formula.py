"""Parser of chemical formulas: SrTiO3, Ca(OH)2, Sr1 Ti1 O3."""

import re

_TOKEN = re.compile(r"([A-Z][a-z]?)(\d*)|(\()|\)(\d*)|(\s+)")
LARGEST = 1000


class FormulaError(ValueError):
    """The text is not a formula; the message has the reason."""


def parse_formula(text: str) -> dict[str, int]:
    """Return the number of atoms by symbol, in order of appearance; raises FormulaError.

    The caller checks whether the symbols are elements.
    """
    groups: list[dict[str, int]] = [{}]
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise FormulaError(f"{text[place]!r} at position {place + 1} belongs to no formula")
        place = match.end()
        symbol, number, opening, factor, space = match.groups()
        if symbol is not None:
            _add(groups[-1], {symbol: 1}, _number(number))
        elif opening is not None:
            groups.append({})
        elif space is None:
            inner = groups.pop()
            if not groups:
                raise FormulaError("a bracket closes that was not opened")
            _add(groups[-1], inner, _number(factor))
    if len(groups) > 1:
        raise FormulaError("a bracket is not closed")
    if not groups[0]:
        raise FormulaError("it names no element")
    return groups[0]


def _number(digits: str) -> int:
    number = int(digits[:9] or 1)
    if not 1 <= number <= LARGEST:
        raise FormulaError(f"{digits[:9]} is no number of atoms from 1 to {LARGEST}")
    return number


def _add(total: dict[str, int], part: dict[str, int], factor: int) -> None:
    for symbol, count in part.items():
        total[symbol] = total.get(symbol, 0) + factor * count
        if total[symbol] > LARGEST:
            raise FormulaError(f"more than {LARGEST} atoms of {symbol}")
