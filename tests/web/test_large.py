"""A job of many crystals: the page stays usable while they arrive and afterwards."""

import re

from playwright.sync_api import Page, expect

from tests.e2e.service import Service

from .conftest import PATIENCE
from .steps import crystals, finished

MANY = 600
PAGE = 60
FROZEN = 5000  # ms between two frames, on a machine that is busy with other things too
FRAMES = """
window.longest = 0;
let last = performance.now();
const next = (now) => {
  longest = Math.max(longest, now - last);
  last = now;
  requestAnimationFrame(next);
};
requestAnimationFrame(next);
"""


def longest_frame(page: Page) -> float:
    """Return the longest frame since the last call, ms."""
    return float(page.evaluate("() => { const found = longest; longest = 0; return found; }"))


def test_hundreds_of_crystals_do_not_freeze_the_page(page: Page, service: Service) -> None:
    sampler = {"name": "ancestral", "nfe": 10}
    job = service.submit("/generate", {"num_samples": MANY, "seed": 1, "sampler": sampler})
    page.goto(f"#/jobs/{job}")
    page.evaluate(FRAMES)
    order = page.get_by_label("Sort by")
    order.focus()  # with the first crystals
    expect(page.locator(".job-head .badge")).to_have_text("running")
    finished(page, timeout=2 * PATIENCE)
    expect(page.get_by_text(f"{MANY} crystals", exact=True)).to_be_visible()
    expect(order).to_be_focused()
    expect(crystals(page)).to_have_count(PAGE)
    assert page.locator(".picture svg").count() < PAGE  # only tiles near the window
    expect(page.locator("canvas")).to_have_count(1)

    order.select_option("formation_energy")
    page.get_by_role("button", name="Show more").click()
    expect(crystals(page)).to_have_count(2 * PAGE)
    numbers = page.locator(".tile > .number").all_inner_texts()
    values = [float(text.split()[0].replace("−", "-")) for text in numbers]
    assert values == sorted(values)
    crystals(page).first.focus()
    page.keyboard.press("End")
    expect(crystals(page).last).to_have_attribute("aria-selected", "true")
    expect(crystals(page).last.locator("svg")).to_be_visible()
    expect(page.locator(".view")).to_have_attribute("data-ready", re.compile(r"\w"))
    assert longest_frame(page) < FROZEN
