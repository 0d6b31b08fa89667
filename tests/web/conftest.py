"""A real browser in front of a real service with the shipped Perov-5 model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.e2e.service import Service
from tests.needs import program

STORE = Path(__file__).parents[2] / "model_store"
# WebGL without a graphics card; as root, as CI is, Chromium runs without its sandbox only.
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE = 300_000  # ms; bounds the wait for a job


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    chromium = program("chromium", "Debian's chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the shipped models."""
    folder = tmp_path_factory.mktemp("service")
    # One job at a time, so that the next one waits.
    service = Service(
        folder, settings={"CDVAE_MODEL_STORE": str(STORE), "CDVAE_MAX_CONCURRENT_JOBS": "1"}
    )
    service.start()
    yield service
    assert service.stop() == 0, service.log.read_text()


@pytest.fixture(scope="module")
def address(service: Service) -> str:
    """Return the URL of the page."""
    return f"http://127.0.0.1:{service.port}/"


class Watched:
    """Collect errors, failed requests and requests to other hosts of a page."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.faults: list[str] = []
        self.expected: list[str] = []
        context.on("console", lambda message: self._note(message.type, message.text))
        context.on("weberror", lambda error: self._note("error", str(error.error)))
        context.on("request", lambda request: self._check(request.url, base))

    def _note(self, kind: str, text: str) -> None:
        if kind == "error" and not any(part in text for part in self.expected):
            self.faults.append(text)

    def _check(self, url: str, base: str) -> None:
        if not url.startswith((base, "blob:", "data:")):
            self.faults.append(f"a request to {url}")


@pytest.fixture
def watched(browser: Browser, address: str) -> Iterator[tuple[BrowserContext, Watched]]:
    """A fresh profile with the light theme; the test fails if a page has errors."""
    context = browser.new_context(
        base_url=address, viewport={"width": 1280, "height": 900}, color_scheme="light"
    )
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    watch = Watched(context, address)
    yield context, watch
    context.close()
    assert watch.faults == []


@pytest.fixture
def page(watched: tuple[BrowserContext, Watched]) -> Page:
    """The open page."""
    opened = watched[0].new_page()
    opened.goto("")
    return opened
