"""The page in Chromium: submit jobs, follow them, view and download crystals, errors."""

import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from pymatgen.core.structure import Structure

from app.auth.key_file import key_file
from tests.e2e.service import SRTIO3, Service
from tests.needs import program
from tests.waiting import HANG_SECONDS

from .conftest import PATIENCE, Watched
from .looks import colors
from .steps import accessible, crystals, finished, generate, submit

LONG = {"num_samples": 5000, "sampler": {"name": "langevin", "nfe": 5000}}
WITHOUT_WEBGL = """
const all = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  return kind.startsWith("webgl") ? null : all.call(this, kind, ...more);
};
"""


def test_from_a_request_to_crystals_on_the_disk(page: Page, tmp_path: Path) -> None:
    expect(page.get_by_role("status").filter(has_text="1 worker ready")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^56 supported elements"))).to_be_visible()
    generate(page, 12)
    finished(page)
    expect(crystals(page)).to_have_count(12)
    expect(page.get_by_role("img", name=re.compile("Histogram of the density"))).to_be_visible()
    energies = page.get_by_role("img", name=re.compile("Histogram of the predicted formation"))
    assert energies.locator(".line-known").count() == 1

    view = page.locator(".view")
    expect(view).to_have_attribute("data-ready", re.compile(r"\w+"))
    assert colors(view) > 200  # shaded spheres, not an empty stage
    one_cell = view.screenshot()
    page.get_by_text("2×2×2").click()
    expect(view.locator("canvas")).to_have_count(1)
    assert view.screenshot() != one_cell

    for form in ("CIF", "Zip", "JSON"):
        with page.expect_download() as waited:
            page.get_by_role("button", name=f"Download {form}").first.click()
        waited.value.save_as(tmp_path / form)
    archive = zipfile.ZipFile(io.BytesIO((tmp_path / "Zip").read_bytes()))
    assert sum(name.endswith(".cif") for name in archive.namelist()) == 12
    assert (tmp_path / "CIF").read_text().count("data_") == 12
    result = json.loads((tmp_path / "JSON").read_text())
    assert result["provenance"]["seed"] == 7

    with page.expect_download() as waited:
        page.locator(".inspector").get_by_role("button", name="Download CIF").click()
    waited.value.save_as(tmp_path / "one.cif")
    one = Structure.from_file(tmp_path / "one.cif")
    assert one.composition.reduced_formula == result["crystals"][0]["reduced_formula"]


def test_crystals_are_made_as_they_are_required_to_be(
    page: Page, watched: tuple[BrowserContext, Watched]
) -> None:
    watched[1].expected = ["status of 422"]
    page.get_by_text("Constraints").click()
    page.get_by_label("Formula").fill("SrTiO")
    page.get_by_label("Without elements").fill("Pb, Sr")
    submitted = page.get_by_role("button", name="Generate", exact=True)
    submitted.click()
    expect(page.get_by_role("alert")).to_contain_text("SrTiO")
    expect(page.get_by_label("Formula")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Without elements")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Formula").fill("SrTiO3")
    page.get_by_label("Without elements").fill("Pb")
    page.get_by_label("Space group").fill("221")
    page.get_by_label("Cell", exact=True).fill("3.9 3.9 3.9 90 90 90")
    expect(page.locator("pre").first).to_contain_text("SrTiO3")
    generate(page, 3)
    finished(page)
    facts = page.locator(".facts-line")
    for text in ("SrTiO3", "without Pb", "space group 221", "cell 3.9 3.9 3.9 90 90 90"):
        expect(facts).to_contain_text(text)
    expect(page.locator(".tile .formula")).to_have_text(["SrTiO3"] * 3)


def test_crystals_are_sorted_filtered_and_walked_through_by_keyboard(page: Page) -> None:
    generate(page, 12)
    finished(page)
    page.get_by_label("Sort by").select_option("formation_energy")
    numbers = page.locator(".tile > .number")
    values = [float(text.split()[0].replace("−", "-")) for text in numbers.all_inner_texts()]
    assert values == sorted(values)
    page.get_by_role("button", name="Largest first").click()
    values = [float(text.split()[0].replace("−", "-")) for text in numbers.all_inner_texts()]
    assert values == sorted(values, reverse=True)

    tiles = crystals(page)
    group = page.get_by_label("Space group").locator("option").nth(1)
    name, count = re.fullmatch(r"(.*) \((\d+)\)", group.inner_text()).groups()
    page.get_by_label("Space group").select_option(group.get_attribute("value"))
    expect(tiles).to_have_count(int(count))
    labels = page.locator(".tile .group").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert {label.split(",")[0] for label in labels} == {name}
    page.get_by_label("Space group").select_option("all")
    page.get_by_label("Range of").select_option("density")
    page.get_by_label("from").fill("1000")
    expect(page.get_by_text("No crystal matches these filters.")).to_be_visible()
    page.get_by_label("from").fill("")

    tiles.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(1)).to_be_focused()
    expect(tiles.nth(1)).to_have_attribute("aria-selected", "true")
    formula = tiles.nth(1).locator(".formula").inner_text().replace("\n", "")
    expect(page.locator(".view")).to_have_attribute("data-ready", formula)
    before = page.locator(".view").screenshot()
    page.locator(".view").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".view").screenshot() != before


def test_a_dropped_cif_comes_back_beside_its_input(page: Page) -> None:
    page.get_by_text("Reconstruct", exact=True).click()
    file = {"name": "two.cif", "mimeType": "chemical/x-cif", "buffer": SRTIO3.encode()}
    page.get_by_label("Crystals (CIF)", exact=True).set_input_files(file)
    expect(page.get_by_text("two.cif", exact=True)).to_be_visible()
    submit(page, "Reconstruct")
    finished(page)
    expect(page.get_by_text("Input: SrTiO3")).to_be_visible()
    expect(page.get_by_text("Reconstructed: matches")).to_be_visible()
    views = page.locator(".view")
    expect(views).to_have_count(2)
    for view in views.all():
        expect(view).to_have_attribute("data-ready", re.compile("SrTiO"))
        assert colors(view) > 200


def test_an_optimization_is_a_curve(page: Page) -> None:
    page.get_by_text("Optimize", exact=True).click()
    page.get_by_label("Crystals", exact=True).fill("2")
    page.get_by_text("Constraints").click()
    page.get_by_label("Without elements").fill("S, F")
    page.get_by_text("Sampler, seed, priority").click()
    page.get_by_label("Function evaluations (NFE)").fill("10")
    page.get_by_label("Seed").fill("1")
    submit(page, "Optimize")
    finished(page, timeout=4 * PATIENCE)
    expect(page.get_by_text("without S, F")).to_be_visible()
    curve = page.get_by_role("img", name=re.compile("Curve. Median formation energy"))
    expect(curve.locator(".path")).to_have_count(3)  # two searches and their median
    start, end = re.search(r"from (\S+) to (\S+) eV", curve.get_attribute("aria-label")).groups()
    assert float(end.replace("−", "-")) < float(start.replace("−", "-"))


def test_a_bad_file_is_refused_with_the_reason(
    page: Page, watched: tuple[BrowserContext, Watched]
) -> None:
    watched[1].expected = ["status of 400", "status of 422"]
    page.get_by_text("Reconstruct", exact=True).click()
    bad = SRTIO3.replace("3.905", "wide", 1).encode()
    file = {"name": "bad.cif", "mimeType": "chemical/x-cif", "buffer": bad}
    page.get_by_label("Crystals (CIF)", exact=True).set_input_files(file)
    page.get_by_role("button", name="Reconstruct", exact=True).click()
    alert = page.get_by_role("alert").filter(has_text="_cell_length_a is wide")
    expect(alert).to_be_visible()
    expect(page).not_to_have_url(re.compile("jobs"))


def test_an_unknown_job_says_so(page: Page, watched: tuple[BrowserContext, Watched]) -> None:
    watched[1].expected = ["status of 404"]
    page.goto("#/jobs/nothing")
    expect(page.get_by_role("alert")).to_contain_text("no job 'nothing'")


def test_a_running_job_is_cancelled_and_the_list_knows(page: Page, service: Service) -> None:
    job, waiting = (service.submit("/generate", LONG) for _ in range(2))
    page.goto(f"#/jobs/{job}")
    main = page.locator("main")
    expect(main.get_by_text(re.compile(r"0 of 5,000 crystals"))).to_be_visible()
    page.get_by_role("link", name="Jobs", exact=True).first.click()
    expect(main.get_by_text("number 1 in the queue")).to_be_visible()
    main.get_by_role("button", name="Cancel").first.click()  # the newest is the waiting one
    expect(page.locator(".badge", has_text="cancelled")).to_be_visible()
    assert service.status(waiting)["state"] == "cancelled"
    page.goto(f"#/jobs/{job}")
    main.get_by_role("button", name="Cancel").click()
    expect(page.locator(".job-head .badge")).to_have_text("cancelled")
    expect(page.get_by_role("heading", name="No crystals")).to_be_visible()
    assert service.status(job)["state"] == "cancelled"


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_the_request_as_code_does_what_the_form_does(
    page: Page, service: Service, language: str, tmp_path: Path
) -> None:
    page.get_by_label("Crystals", exact=True).fill("2")
    page.locator(".snippet").get_by_text(language, exact=True).click()
    page.get_by_role("button", name="Copy").click()
    code = page.evaluate("navigator.clipboard.readText()")
    if language == "curl":
        program("curl", "Debian's curl")
    command = ["sh", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr
    if language == "curl":
        assert service.wait(json.loads(done.stdout)["id"])["progress"]["samples_done"] == 2
    else:
        assert len(list(tmp_path.glob("0000*.cif"))) == 2


def test_with_keys_the_page_asks_for_one(
    page: Page, service: Service, watched: tuple[BrowserContext, Watched]
) -> None:
    watched[1].expected = ["status of 401"]
    keys = key_file(service.folder / "home")
    token, _ = keys.create("browser")
    try:
        page.reload()
        field = page.get_by_label("Key", exact=True)
        field.fill("wrong")
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_text("The service does not know this key.")).to_be_visible()
        field.fill(token)
        page.get_by_role("button", name="Use this key").click()
        generate(page, 2)
        finished(page)  # so the stream of events had the key
        with page.expect_download() as waited:
            page.get_by_role("button", name="Download CIF").first.click()
        assert Path(waited.value.path()).read_text().count("data_") == 2
        stored = page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
        assert token not in stored[0]
        assert token in stored[1]
        page.goto("")
        code = page.locator(".snippet code")
        expect(code).to_contain_text("$CDVAE_API_KEY")
        assert token not in code.inner_text()
    finally:
        keys.path.unlink()


def test_without_webgl_crystals_are_drawn_flat(watched: tuple[BrowserContext, Watched]) -> None:
    context, _ = watched
    context.add_init_script(WITHOUT_WEBGL)
    page = context.new_page()
    page.goto("")
    generate(page, 1)
    finished(page)
    expect(page.get_by_text("WebGL is not available")).to_be_visible()
    assert colors(page.locator(".view")) > 20


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_keeps_anybody_out(page: Page, service: Service, theme: str) -> None:
    """Check accessibility, the width on a phone, and the theme."""
    page.emulate_media(color_scheme=theme)
    job = service.submit("/generate", {"num_samples": 8, "seed": 7})
    assert service.wait(job)["state"] == "succeeded"
    for address, ready in (
        ("#/", "As code"),
        ("#/jobs", "Generate 8 crystals"),
        (f"#/jobs/{job}", "Density"),
    ):
        page.goto(address)
        expect(page.get_by_text(ready).first).to_be_visible()
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        accessible(page)


def test_the_theme_can_be_chosen_and_stays(page: Page) -> None:
    page.get_by_role("button", name="Use the dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
