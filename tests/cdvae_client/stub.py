"""Responses of the service for tests of the client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2

from cdvae_client.call_driver import Flow, Pause

URL = "http://service.test"
CELL = {"a": 4.0, "b": 4.0, "c": 4.0, "alpha": 90.0, "beta": 90.0, "gamma": 90.0}
MATRIX = [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]


def status(state: str = "running", **changes: Any) -> dict[str, Any]:
    """Return a JobStatus as JSON."""
    return {
        "id": "job-1",
        "kind": "generate",
        "state": state,
        "created_at": "2026-01-02T03:04:05Z",
        "started_at": None,
        "finished_at": None,
        "progress": {
            "fraction": 0.5,
            "stage": "sampling",
            "samples_done": 1,
            "samples_total": 3,
            "eta_seconds": 2.0,
        },
        "queue_position": None,
        "error": None,
        "links": {"self": "/jobs/job-1", "result": None, "events": "/jobs/job-1/events"},
        "request": {
            "kind": "generate",
            "model": "tiny@1",
            "seed": 7,
            "sampler": {"name": "ancestral", "nfe": 50},
            "priority": "normal",
            "num_samples": 3,
        },
        **changes,
    }


def crystal(index: int, **changes: Any) -> dict[str, Any]:
    """Return a CrystalRecord as JSON."""
    return {
        "index": index,
        "formula": "Po1",
        "reduced_formula": "Po",
        "num_atoms": 1,
        "cif": "data_Po\n",
        "lattice": {**CELL, "matrix": MATRIX},
        "volume": 64.0,
        "density": 5.4,
        "spacegroup": None,
        "min_distance": 4.0,
        "valid": {"structure": True, "composition": True},
        "predicted": {},
        "novel": None,
        "duplicate_of": None,
        **changes,
    }


def result(*crystals: dict[str, Any], state: str = "succeeded") -> dict[str, Any]:
    """Return a JobResult as JSON."""
    return {"job": status(state), "crystals": crystals, "metrics": None, "provenance": None}


def problem(code: int, detail: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    """Return an error response of the service."""
    content = {"type": "urn:x", "title": "No", "status": code, "detail": detail, "instance": "/"}
    kind = {"Content-Type": "application/problem+json", **(headers or {})}
    return httpx2.Response(code, content=json.dumps(content), headers=kind)


def event(name: str, data: Any, number: int | str) -> bytes:
    """Return a server-sent event."""
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


def stream(*events: bytes) -> httpx2.Response:
    """Return an event stream that ends after these events."""
    kind = {"Content-Type": "text/event-stream; charset=utf-8"}
    return httpx2.Response(200, content=b"".join(events), headers=kind)


class Script:
    """Transport that returns prepared responses in turn and keeps the requests."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def played(
    flow: Flow[Any], answer: Callable[[httpx2.Request], httpx2.Response]
) -> tuple[Any, list[float]]:
    """Return the result of a flow and its pauses, without waiting."""
    pauses: list[float] = []
    reply: Any = None
    while True:
        try:
            step = flow.send(reply)
        except StopIteration as end:
            return end.value, pauses
        if isinstance(step, Pause):
            pauses.append(step.seconds)
            reply = None
            continue
        try:
            reply = answer(step)
        except httpx2.TransportError as error:
            reply = error
