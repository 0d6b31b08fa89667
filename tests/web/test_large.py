"""A job of many crystals: the page draws only what is in view."""

import re

from playwright.sync_api import Page, expect

from tests.e2e.service import Service

from .conftest import PATIENCE
from .steps import crystals, finished

MANY = 600
PAGE = 60


def test_the_page_draws_only_the_crystals_in_view(page: Page, service: Service) -> None:
    sampler = {"name": "ancestral", "nfe": 10}
    job = service.submit("/generate", {"num_samples": MANY, "seed": 1, "sampler": sampler})
    page.goto(f"#/jobs/{job}")
    order = page.get_by_label("Sort by")
    order.focus()  # with the first crystals
    expect(page.locator(".job-head .badge")).to_have_text(re.compile("running|succeeded"))
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
