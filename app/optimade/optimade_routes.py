"""`/optimade/v1/…`: serve the crystals of finished jobs as an OPTIMADE database.

The application of optimade-python-tools is mounted here and handles filters, pages and
responses; this module selects the owner's crystals. The package (extra `optimade`) is optional
and imported at the first request.
"""

import asyncio
import logging
import warnings
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.authentication import limited
from app.dependencies import Services
from app.optimade.catalogue import Catalogue
from app.optimade.optimade_entries import FIELDS, PREFIX

PATH = "/optimade"
HOMEPAGE = "https://arxiv.org/abs/2110.06197"
PAGE_LIMIT, MOST_PAGE_LIMIT = 20, 500

_owner: ContextVar[str] = ContextVar("owner")


class Optimade:
    """ASGI application below `PATH`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # One request at a time: the application stores its warnings and address in globals.
        # The lock is released before the response is sent: a slow reader blocks nobody.
        self._turn = asyncio.Lock()
        self._built: tuple[FastAPI, Catalogue] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the caller's own crystals; earlier errors are problem documents."""
        request = Request(scope, receive)
        caller = await limited(request)
        async with self._turn:
            if self._built is None:
                application, database = await run_sync(_build)
                self._built = application, Catalogue(self._services, database)
            application, catalogue = self._built
            await catalogue.refresh(caller.owner)
            _owner.set(caller.owner)
            url = request.url
            application.state.config.base_url = f"{url.scheme}://{url.netloc}{scope['root_path']}"
            with warnings.catch_warnings():  # the package installs its own hook
                messages = await _answer(application, scope)
        for message in messages:
            await send(message)


async def _answer(application: ASGIApp, scope: Scope) -> list[Message]:
    """Return the complete response to a request without a body; pages bound its size."""
    requested = False
    messages: list[Message] = []

    async def receive() -> Message:
        nonlocal requested
        if requested:
            await asyncio.Event().wait()  # until the application cancels it
        requested = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    await application(scope, receive, send)
    return messages


def install(app: FastAPI, services: Services) -> None:
    """Mount the endpoint if its package is installed."""
    if find_spec("optimade") is not None and find_spec("mongomock") is not None:
        endpoint: ASGIApp = Optimade(services)
        app.mount(PATH, endpoint, name="optimade")


def _build() -> tuple[FastAPI, Any]:
    """Return the application and its database in memory."""
    # Otherwise the package adds handlers that write to stdout and /var/log.
    logging.getLogger("optimade").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a missing configuration file
        import mongomock
        from optimade.models import StructureResource
        from optimade.server.config import ServerConfig
        from optimade.server.create_app import create_app
        from optimade.server.entry_collections.mongo import MongoCollection
        from optimade.server.mappers import StructureMapper

        config = ServerConfig(
            database_backend="mongomock",
            insert_test_data=False,
            page_limit=PAGE_LIMIT,
            page_limit_max=MOST_PAGE_LIMIT,
            provider={
                "prefix": PREFIX,
                "name": "CDVAE service",
                "description": "Crystals of a generative model; none is measured.",
                "homepage": HOMEPAGE,
            },
            provider_fields={"structures": FIELDS},
        )
        application = create_app(config)
    database: Any = mongomock.MongoClient().structures

    class OwnStructures(MongoCollection):  # type: ignore[misc]
        """The structures of the current owner; each owner has a separate collection."""

        @property
        def collection(self) -> Any:
            return database[_owner.get()]

        @collection.setter
        def collection(self, _: Any) -> None:
            """Ignore the shared collection that the package assigns."""

    mapper = StructureMapper(config)
    own = OwnStructures("structures", StructureResource, mapper, config)
    application.state.entry_collections["structures"] = own
    # The documentation pages load scripts from other hosts.
    hidden = {
        application.docs_url,
        application.redoc_url,
        application.swagger_ui_oauth2_redirect_url,
    }
    application.router.routes[:] = [
        route for route in application.router.routes if getattr(route, "path", "") not in hidden
    ]
    return application, database
