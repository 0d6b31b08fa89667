"""Convert a source of crystals to a tensor cache, the one safetensors file that training reads.

Tensors: `frac_coords` (A, 3) float32 in [0, 1), `atomic_numbers` (A,) uint8, `lattice` (N, 3, 3)
float32, rows in Å, `num_atoms` (N,) int32, `properties` (N, P) float32, NaN where blank.
Metadata `cdvae`: JSON with the version of the format, names, counts and the origin.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from cdvae.data.cell_reduction import CrystalArrays, parse_cif, reduce, wrap
from cdvae.data.process_map import Progress, parallel_map
from cdvae.data.sources import Row, read_source
from cdvae.errors import DataError

FORMAT = 1


def prepare(
    source: Path,
    out: Path,
    properties: Mapping[str, str],
    workers: int = 1,
    progress: Progress | None = None,
    limit: int | None = None,
) -> dict[str, object]:
    """Write the tensor cache of `source` to `out` and return its metadata.

    `properties` maps property names to source columns. `progress(done, total)` counts rows. `limit`
    is the number of rows to read; None: all.

    Raises:
        DataError: the source cannot be read, or some rows, which are all named, cannot be used;
            then nothing is written.
    """
    data = read_source(source, properties)
    crystals, problems = [], []
    rows = data.rows[:limit]
    for crystal in parallel_map(_reduce_row, rows, workers, progress):
        if isinstance(crystal, str):
            problems.append(crystal)
        else:
            crystals.append(crystal)
    if problems:
        raise DataError(f"{data.name}: {len(problems)} of {len(rows)} rows are bad", problems)
    tensors = _tensors(crystals, rows)
    metadata: dict[str, object] = {
        "format": FORMAT,
        "property_names": list(properties),
        "property_columns": list(properties.values()),
        "source": data.name,
        "source_sha256": data.sha256,
        "num_crystals": len(crystals),
        "num_atoms": int(tensors["atomic_numbers"].size),
        "max_atoms": int(tensors["num_atoms"].max()),
        "elements": np.unique(tensors["atomic_numbers"]).tolist(),
        "material_ids": [row.material_id for row in rows],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial_file = out.with_name(out.name + ".part")
    partial_file.write_bytes(save(tensors, {"cdvae": json.dumps(metadata)}))
    os.replace(partial_file, out)  # a reader never sees half a file
    return metadata


def _reduce_row(row: Row) -> CrystalArrays | str:
    """Return the reduced crystal, or the reason why the row cannot be used."""
    try:
        return reduce(parse_cif(row.cif))
    except Exception as error:  # parsers raise many types; each becomes a bad row
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{row.where}: {reason}"


def _tensors(crystals: list[CrystalArrays], rows: tuple[Row, ...]) -> dict[str, np.ndarray]:
    return {
        "frac_coords": wrap(np.concatenate([c.frac_coords for c in crystals])),
        "atomic_numbers": np.concatenate([c.atomic_numbers for c in crystals]).astype(np.uint8),
        "lattice": np.stack([c.lattice for c in crystals]).astype(np.float32),
        "num_atoms": np.array([len(c.atomic_numbers) for c in crystals], dtype=np.int32),
        "properties": np.array([row.values for row in rows], dtype=np.float32),
    }
