"""Summaries of a job's crystals, for its result and for the metrics of the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cdvae.metrics.crystal_report import CrystalReport, summarize
from cdvae_schema.crystal_records import CrystalRecord
from worker.executor_protocol import Message
from worker.model.engine import Engine
from worker.results.records import is_valid
from worker.results.result_writer import Chunk


def metrics_of(
    records: Sequence[CrystalRecord],
    reports: Sequence[CrystalReport],
    equal: Sequence[int | None] | None,
    statistics: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the metrics of the records, compared with the `statistics` of the training data.

    reports: of each record. equal: for each duplicate, the index of the first record that it
    repeats; without it the uniqueness is null.
    """
    if not records:
        return {"num_samples": 0}
    predicted = {
        name: [record.predicted[name] for record in records] for name in records[0].predicted
    }
    novel = [record.novel for record in records]
    known = [None] * len(records) if equal is None else equal
    metrics = dict(summarize(reports, known, novel, predicted, statistics))
    return metrics if equal is not None else {**metrics, "uniqueness": None}


def evaluations_of(chunks: Sequence[Chunk]) -> float:
    """Return the mean number of function evaluations of a crystal."""
    crystals = sum(len(chunk.records) for chunk in chunks)
    return sum(sum(chunk.nfe) for chunk in chunks) / max(crystals, 1)


def chunk_message(engine: Engine, chunk: Chunk) -> Message:
    """Return the message from which the supervisor updates its metrics."""
    device = engine.model.device
    cuda = device.type == "cuda"
    return {
        "event": "chunk",
        "model": engine.reference,
        "crystals": len(chunk.records),
        "valid": sum(is_valid(record) for record in chunk.records),
        "nfe": sum(chunk.nfe),
        "gpu_memory_bytes": torch.cuda.max_memory_allocated(device) if cuda else 0,
        "gpu_memory_total_bytes": torch.cuda.mem_get_info(device)[1] if cuda else 0,
    }
