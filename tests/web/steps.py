"""Common steps of the tests of the page."""

import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, Locator, Page, expect

from .conftest import PATIENCE

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 800}


def cif_file(name: str, text: str) -> FilePayload:
    """Return a file for a field of the form."""
    return {"name": name, "mimeType": "chemical/x-cif", "buffer": text.encode()}


def submit(page: Page, kind: str = "Generate") -> None:
    """Submit the form and wait for the page of the job."""
    page.get_by_role("button", name=kind, exact=True).click()
    expect(page).to_have_url(re.compile(r"#/jobs/\w+$"))


def generate(page: Page, number: int, seed: int = 7) -> None:
    """Submit a quick job for this number of crystals."""
    page.get_by_label("Crystals", exact=True).fill(str(number))
    page.get_by_text("Sampler, seed, priority").click()
    page.get_by_label("Seed").fill(str(seed))
    page.get_by_label("Function evaluations (NFE)").fill(
        "25"
    )  # a quarter of the default: quick, and still crystals
    submit(page)


def finished(page: Page, timeout: float = PATIENCE) -> None:
    """Wait until the visible job has succeeded."""
    expect(page.locator(".job-head .badge")).to_have_text("succeeded", timeout=timeout)
    expect(page.get_by_role("progressbar")).to_be_hidden()


def crystals(page: Page) -> Locator:
    """Return the tiles of the gallery."""
    return page.get_by_role("listbox", name="Crystals").get_by_role("option")


def accessible(page: Page) -> None:
    """Fail if axe-core reports a fault or an element is wider than a phone."""
    faults = Axe().run(page)
    assert faults.violations_count == 0, faults.generate_report()
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], page.url
    page.set_viewport_size(DESKTOP)
