"""The catalogue keeps the newest crystals, and a slow reader delays no other."""

import asyncio
from pathlib import Path
from typing import Any

import mongomock
import pytest
from fastapi.testclient import TestClient

from app.api_settings import Settings
from app.application import create_app
from app.optimade.catalogue import Catalogue
from app.optimade.optimade_routes import Optimade
from tests.app.conftest import StandInWorker
from tests.app.optimade.test_optimade_routes import PEROVSKITE, finish, of
from tests.waiting import HANG_SECONDS

OWNER = "anonymous"

pytestmark = [
    pytest.mark.filterwarnings("ignore::optimade.warnings.OptimadeWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_fields' attribute on the instance"),
]


def test_newer_jobs_take_the_place_of_the_oldest(client: TestClient, worker: StandInWorker) -> None:
    database = mongomock.MongoClient().structures
    services = client.app.state.services  # type: ignore[attr-defined]
    catalogue = Catalogue(services, database, max_crystals=3)

    def held() -> set[str]:
        assert client.portal is not None
        client.portal.call(catalogue.refresh, OWNER)
        return {document["job"] for document in database[OWNER].find()}

    pair = [of(index, PEROVSKITE) for index in range(2)]
    jobs = [finish(client, worker, pair) for _ in range(2)]
    assert held() == set(jobs)
    jobs.append(finish(client, worker, pair))
    assert held() == set(jobs[1:])
    assert held() == set(jobs[1:])


def test_a_slow_reader_delays_nobody(tmp_path: Path, store: Path, redis_url: str) -> None:
    settings = Settings(home=tmp_path / "home", model_store=str(store), redis_url=redis_url)

    async def race() -> list[int]:
        app = create_app(settings)
        services = app.state.services
        endpoint = Optimade(services)
        never, sending = asyncio.Event(), asyncio.Event()
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            await never.wait()
            return {"type": "http.disconnect"}

        async def stuck(_: Any) -> None:
            sending.set()
            await never.wait()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        def scope() -> dict[str, Any]:
            return {
                "type": "http",
                "http_version": "1.1",
                "method": "GET",
                "path": "/optimade/v1/structures",
                "raw_path": b"/optimade/v1/structures",
                "root_path": "/optimade",
                "query_string": b"",
                "headers": [(b"host", b"localhost")],
                "scheme": "http",
                "server": ("localhost", 80),
                "client": ("127.0.0.1", 1),
                "app": app,
                "state": {},
            }

        slow = asyncio.create_task(endpoint(scope(), receive, stuck))
        first = asyncio.create_task(sending.wait())
        await asyncio.wait([slow, first], timeout=HANG_SECONDS, return_when="FIRST_COMPLETED")
        assert not slow.done(), slow.exception()
        await asyncio.wait_for(endpoint(scope(), receive, send), HANG_SECONDS)
        slow.cancel()
        await asyncio.wait([slow])
        await services.queue.close()
        return statuses

    assert asyncio.run(race()) == [200]
