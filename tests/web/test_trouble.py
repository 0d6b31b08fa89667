"""Messages of the page for failed jobs."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.faults.site import open_site

from .steps import accessible, submit

REASONS = {
    "raises": ("internal_error", "an error in the service; its log has the reason."),
    "nan": ("non_finite_sample", "Another seed or more steps may help."),
    "no_memory": ("out_of_memory", "The job needs a larger device or fewer atoms."),
    "exits": ("worker_lost", "The last one: "),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A front end with one worker whose models misbehave."""
    with open_site(tmp_path_factory.mktemp("site")) as site:
        site.lab.start_worker()
        yield str(site.start_api().base_url) + "/"


@pytest.mark.parametrize("model", REASONS)
def test_a_failed_job_says_why(page: Page, model: str) -> None:
    code, detail = REASONS[model]
    page.get_by_role("radio", name=model).first.check()
    page.get_by_label("Crystals", exact=True).fill("3")
    submit(page)
    address = page.url
    for is_later in (False, True):  # immediately, and after a reload
        if is_later:
            page.reload()
        expect(page.locator(".job-head .badge")).to_have_text("failed")
        notice = page.get_by_role("alert")
        expect(notice).to_contain_text("The job failed")
        expect(notice).to_contain_text(detail)
        expect(notice).to_contain_text(code)
        expect(notice).not_to_contain_text("secret")
        expect(page.get_by_role("progressbar")).to_be_hidden()
        expect(page.get_by_role("button", name="Download")).to_have_count(0)
    accessible(page)
    page.goto("#/jobs")
    row = page.get_by_role("row").nth(1)
    expect(row.locator(".badge")).to_have_text("failed")
    row.get_by_role("link").click()
    expect(page).to_have_url(address)
