"""Interpolation and variations on the page: forms and results."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.service import SRTIO3, Service
from tests.needs import program
from tests.waiting import HANG_SECONDS

from .conftest import Watched
from .looks import colors
from .steps import accessible, cif_file, crystals, finished, submit

BATIO3 = SRTIO3.replace("data_SrTiO3", "data_BaTiO3").replace("Sr1 Sr", "Ba1 Ba")
DROP = """text => {
  const data = new DataTransfer();
  data.items.add(new File([text], "dropped.cif"));
  return data;
}"""


def choose(page: Page, task: str) -> None:
    """Choose a task and a quick sampler in the form."""
    page.get_by_role("radio", name=task, exact=True).check()
    page.get_by_text("Sampler, seed, priority").click()
    page.get_by_label("Function evaluations (NFE)").fill("25")
    page.get_by_label("Seed").fill("7")


def give_both_ends(page: Page) -> None:
    page.get_by_label("From (CIF)", exact=True).set_input_files(cif_file("a.cif", SRTIO3))
    page.get_by_label("To (CIF)", exact=True).set_input_files(cif_file("b.cif", BATIO3))


def test_a_walk_is_shown_in_its_order_between_its_ends(page: Page) -> None:
    choose(page, "Interpolate")
    give_both_ends(page)
    page.get_by_label("Points", exact=True).fill("5")
    submit(page, "Interpolate")
    finished(page)
    expect(page.get_by_role("heading", name="Interpolate from SrTiO₃ to BaTiO₃")).to_be_visible()
    expect(page.locator(".facts-line")).to_contain_text("5 points")
    expect(page.locator(".tile .place")).to_have_text(
        [f"position {place} along the path" for place in ("0.00", "0.25", "0.50", "0.75", "1.00")]
    )
    formulas = page.locator(".tile .formula")
    expect(formulas.first).to_have_text("SrTiO3")
    expect(formulas.last).to_have_text("BaTiO3")

    curves = page.get_by_role("img", name=re.compile("Curve. Predicted"))
    expect(curves).to_have_count(2)  # formation energy and band gap
    energies = [
        float(text.split()[0].replace("−", "-"))
        for text in page.locator(".tile > .number").all_inner_texts()
    ]
    spots = curves.first.locator(".spot")
    expect(spots).to_have_count(5)
    places = [
        (float(spot.get_attribute("cx")), float(spot.get_attribute("cy"))) for spot in spots.all()
    ]
    assert places == sorted(places, key=lambda place: place[0])
    lowest = max(range(5), key=lambda number: places[number][1])  # y points down
    assert energies[lowest] == min(energies)
    headings = curves.first.locator("text").all_text_contents()
    assert {"SrTiO₃", "BaTiO₃"} <= set(headings)

    expect(page.get_by_text("Position 0.00 along the path", exact=True)).to_be_visible()
    crystals(page).first.focus()
    page.keyboard.press("End")
    expect(page.get_by_text("Position 1.00 along the path", exact=True)).to_be_visible()
    captions = page.locator(".views figcaption")
    expect(captions).to_have_text(
        ["Input: SrTiO3", "Position 1.00 along the path", "Input: BaTiO3"]
    )
    for view in page.locator(".view").all():
        expect(view).to_have_attribute("data-ready", re.compile("TiO3"))
        assert colors(view) > 200


def test_one_pasted_cif_may_hold_both_ends(page: Page) -> None:
    choose(page, "Interpolate")
    expect(page.get_by_label("To (CIF)", exact=True)).to_be_visible()
    page.get_by_text("Paste its text").first.click()
    page.get_by_label("From (CIF), as text").fill(SRTIO3 + BATIO3)
    expect(page.get_by_text("2 blocks")).to_be_visible()
    expect(page.get_by_label("To (CIF)", exact=True)).to_be_hidden()
    page.get_by_label("Points", exact=True).fill("2")
    submit(page, "Interpolate")
    finished(page)
    expect(crystals(page)).to_have_count(2)


def test_variations_are_shown_beside_the_given_crystal(page: Page) -> None:
    page.get_by_role("radio", name="Generate", exact=True).focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Vary", exact=True)).to_be_checked()
    choose(page, "Vary")
    data = page.evaluate_handle(DROP, SRTIO3)
    page.locator(".drop").dispatch_event("drop", {"dataTransfer": data})
    expect(page.get_by_text("dropped.cif", exact=True)).to_be_visible()
    page.get_by_label("Strength").fill("0.5")
    page.get_by_text("Kept", exact=True).click()
    page.get_by_label("Crystals", exact=True).fill("4")
    submit(page, "Vary")
    finished(page)
    expect(page.get_by_role("heading", name="Vary SrTiO₃, 4 crystals")).to_be_visible()
    for words in ("strength 0.5", "composition kept", "seed 7"):
        expect(page.locator(".facts-line")).to_contain_text(words)
    expect(page.locator(".tile .formula")).to_have_text(["SrTiO3"] * 4)
    captions = page.locator(".views figcaption")
    expect(captions.first).to_have_text("Input: SrTiO3")
    distance = page.locator(".tile .place").first.inner_text()
    expect(captions.last).to_have_text(f"Varied: {distance}")
    expect(page.get_by_role("img", name=re.compile("Histogram of the density"))).to_be_visible()
    page.get_by_label("Sort by").select_option("distance")
    distances = [float(text.split()[0]) for text in page.locator(".tile .place").all_inner_texts()]
    assert distances == sorted(distances)


def test_a_fault_is_said_at_its_field(page: Page, watched: tuple[BrowserContext, Watched]) -> None:
    watched[1].expected = ["status of 400", "status of 422"]
    choose(page, "Interpolate")
    page.get_by_label("From (CIF)", exact=True).set_input_files(cif_file("a.cif", SRTIO3))
    page.get_by_role("button", name="Interpolate", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()
    missing = page.get_by_label("To (CIF)", exact=True)
    expect(missing).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[data-field=second] .fault")).to_be_visible()
    expect(page.locator("[data-field=first] .fault")).to_be_hidden()
    missing.set_input_files(cif_file("b.cif", BATIO3))
    expect(missing).to_have_attribute("aria-invalid", "false")

    page.get_by_role("radio", name="Vary", exact=True).check()
    both = cif_file("both.cif", SRTIO3 + BATIO3)
    page.get_by_label("Crystal (CIF)", exact=True).set_input_files(both)
    page.get_by_role("button", name="Vary", exact=True).click()
    fault = page.locator("[data-field=cif] .fault")
    expect(fault).to_have_text("/structure/cif: one crystal is needed, not 2")
    page.get_by_label("Strength").fill("2")
    page.get_by_role("button", name="Vary", exact=True).click()
    expect(page.get_by_label("Strength")).to_be_focused()  # the browser reports the error
    expect(page).not_to_have_url(re.compile("jobs"))


@pytest.mark.parametrize("language", ["curl", "Python"])
@pytest.mark.parametrize("task", ["Interpolate", "Vary"])
def test_the_request_as_code_reads_the_files(
    page: Page, service: Service, task: str, language: str, tmp_path: Path
) -> None:
    choose(page, task)
    if task == "Interpolate":
        give_both_ends(page)
        page.get_by_label("Points", exact=True).fill("3")
    else:
        file = cif_file("a.cif", SRTIO3)
        page.get_by_label("Crystal (CIF)", exact=True).set_input_files(file)
        page.get_by_label("Crystals", exact=True).fill("3")
    page.locator(".snippet").get_by_text(language, exact=True).click()
    page.get_by_role("button", name="Copy").click()
    code = page.evaluate("navigator.clipboard.readText()")
    for name, text in (("a.cif", SRTIO3), ("b.cif", BATIO3)):
        (tmp_path / name).write_text(text)
    if language == "curl":
        program("curl", "Debian's curl")
        program("jq", "Debian's jq")
        code += " -H 'Prefer: wait=60' -H 'Accept: chemical/x-cif' -o result.cif"
    command = ["sh", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr
    files = sorted(tmp_path.glob("result.cif" if language == "curl" else "0000*.cif"))
    made = "\n".join(file.read_text() for file in files)
    assert len(re.findall(r"^data_", made, re.MULTILINE)) == 3
    submit(page, task)
    finished(page)
    with page.expect_download() as waited:
        page.get_by_role("button", name="Download CIF").first.click()
    atoms = re.compile(r"^[A-Z]\S* +[A-Z]\S* +.*$", re.MULTILINE)
    assert atoms.findall(Path(waited.value.path()).read_text()) == atoms.findall(made)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_walks_keep_nobody_out(page: Page, service: Service, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    for label, path, body in (
        (
            "Interpolate",
            "/interpolate",
            {"structures": [{"cif": SRTIO3 + BATIO3}], "num_points": 11},
        ),
        ("Vary", "/variations", {"structure": {"cif": SRTIO3}, "num_samples": 8}),
    ):
        page.goto("#/")
        choose(page, label)
        accessible(page)
        job = service.submit(path, body)
        page.goto(f"#/jobs/{job}")
        finished(page)
        expect(page.locator(".view").first).to_have_attribute("data-ready", re.compile("TiO3"))
        accessible(page)
