"""What the front end knows of space groups: ``python -m cdvae.symmetry.site_table``.

For each group the number of Wyckoff positions of its primitive cell that hold their atoms once, by
how many these are, and the multiplicities of those where any number of such sets has room.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

from cdvae.symmetry.operations import primitive
from cdvae.symmetry.wyckoff import positions


def sites_of(number: int) -> dict[str, Any]:
    """``fixed``: {multiplicity: positions}, ``free``: [multiplicity, …]."""
    found = positions(primitive(number))
    fixed = Counter(one.multiplicity for one in found if not one.free)
    return {
        "fixed": {str(size): fixed[size] for size in sorted(fixed)},
        "free": sorted({one.multiplicity for one in found if one.free}),
    }


if __name__ == "__main__":
    lines = [f' "{number}": {json.dumps(sites_of(number))}' for number in range(1, 231)]
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")
