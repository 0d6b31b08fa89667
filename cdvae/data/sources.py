"""Read crystals from a CSV file (also gzipped) with a `cif` column, or a folder of CIF files."""

import csv
import gzip
import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cdvae.errors import DataError

MAX_CIF_CHARACTERS = 50_000_000


@dataclass(frozen=True)
class Row:
    """One crystal of a source."""

    where: str  # file, row and material id, for messages
    material_id: str
    cif: str
    values: tuple[float, ...]  # one per property, NaN where the source is blank


@dataclass(frozen=True)
class Source:
    """All crystals of a file or folder."""

    rows: tuple[Row, ...]
    name: str  # file or folder name without its path
    sha256: str


def read_source(path: Path, properties: Mapping[str, str]) -> Source:
    """Return all rows of `path`; `properties` maps a property name to its source column.

    Raises:
        DataError: the file or a column is missing, a value is not a number, or there are no rows.
    """
    if path.is_dir():
        return _read_folder(path, properties)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    raw = path.read_bytes()
    return Source(_read_csv(path.name, _text(path, raw), properties), path.name, _sha256(raw))


def csv_columns(path: Path) -> tuple[str, ...]:
    """Return the column names of a CSV file, none for a folder; DataError if it cannot be read."""
    if path.is_dir():
        return ()
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    return tuple(next(csv.reader(io.StringIO(_text(path, path.read_bytes()), newline="")), ()))


def _text(path: Path, raw: bytes) -> str:
    try:
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name}: not a readable CSV file: {error}") from error


def _read_csv(name: str, text: str, properties: Mapping[str, str]) -> tuple[Row, ...]:
    limit = csv.field_size_limit(MAX_CIF_CHARACTERS)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = reader.fieldnames or []
        missing = [c for c in ("cif", *properties.values()) if c not in columns]
        if missing:
            raise DataError(f"{name}: no column {', '.join(missing)}; it has {', '.join(columns)}")
        records = list(reader)
    except csv.Error as error:
        raise DataError(f"{name}: not a readable CSV file: {error}") from error
    finally:
        csv.field_size_limit(limit)
    if not records:
        raise DataError(f"{name}: no rows")
    rows, problems = [], []
    for number, record in enumerate(records, start=1):
        material_id = record.get("material_id") or str(number)
        where = f"{name}, row {number}, material {material_id}"
        try:
            values = tuple(_number(column, record[column]) for column in properties.values())
        except ValueError as error:
            problems.append(f"{where}: {error}")
        else:
            rows.append(Row(where, material_id, record["cif"] or "", values))
    if problems:
        raise DataError(f"{name}: {len(problems)} of {len(records)} rows are bad", problems)
    return tuple(rows)


def _read_folder(path: Path, properties: Mapping[str, str]) -> Source:
    if properties:
        raise DataError(f"{path.name}: a folder of CIF files has no properties; use a CSV file")
    files = sorted(path.glob("*.cif"))
    if not files:
        raise DataError(f"{path.name}: no .cif files")
    rows, digest = [], hashlib.sha256()
    for file in files:
        raw = file.read_bytes()
        digest.update(f"{file.name}\0{_sha256(raw)}\n".encode())
        rows.append(Row(file.name, file.stem, raw.decode(errors="replace"), ()))
    return Source(tuple(rows), path.name, digest.hexdigest())


def _number(column: str, text: str | None) -> float:
    if text is None or not text.strip():
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column} is {text!r}, not a number") from None
    if math.isinf(value):
        raise ValueError(f"{column} is {text!r}, not a finite number")
    return value


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
