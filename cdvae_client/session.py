# Generated from async_session.py by `make client`; change that file instead.
"""Run the steps of flows (see `call_driver`) over one connection."""

from __future__ import annotations

from typing import TypeVar

import httpx2

from cdvae_client.blocking import sleep
from cdvae_client.call_driver import Flow, Pause, Reply, Retries
from cdvae_client.calls import Calls

T = TypeVar("T")


class Session:
    """Connection of a client and its jobs."""

    def __init__(self, http: httpx2.Client, retries: Retries) -> None:
        self.http, self.calls = http, Calls(http, retries)

    def run(self, flow: Flow[T]) -> T:
        """Run the steps of a flow and return its result."""
        reply: Reply = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                sleep(step.seconds)
                reply = None
                continue
            try:
                reply = self.http.send(step)
            except httpx2.TransportError as error:
                reply = error
