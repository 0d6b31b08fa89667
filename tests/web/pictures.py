"""Make the pictures of docs/web with the shipped models: `python -m tests.web.pictures`."""

import io
import re
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.service import SRTIO3, Service
from tests.needs import program

from .conftest import ARGUMENTS, STORE
from .steps import PHONE, cif_file, crystals

FOLDER = Path(__file__).parents[2] / "docs/web"
SIZE = {"width": 1280, "height": 860}
COLOURS = 255
SEEN = 400  # ms until the visible tiles are drawn
BATIO3 = SRTIO3.replace("data_SrTiO3", "data_BaTiO3").replace("Sr1 Sr", "Ba1 Ba")
BAZRO3 = BATIO3.replace("BaTiO3", "BaZrO3").replace("Ti1 Ti", "Zr1 Zr").replace("3.905", "4.193")


class Photographer:
    """Take pictures of one service."""

    def __init__(self, browser: Browser, service: Service) -> None:
        self.browser = browser
        self.service = service

    def open(self, address: str, theme: str = "light", **size: int) -> Page:
        """Return the page at this address, in a window of this size."""
        context = self.browser.new_context(
            base_url=f"http://127.0.0.1:{self.service.port}/",
            viewport={**SIZE, **size},  # type: ignore[typeddict-item]
            color_scheme=theme,  # type: ignore[arg-type]
        )
        page = context.new_page()
        page.goto(address)
        expect(page.get_by_text("1 worker ready")).to_be_attached()
        return page

    def job(self, path: str, body: Any, theme: str = "light", **size: int) -> Page:
        """Return the page of a finished job."""
        job = self.service.submit(path, body)
        assert self.service.wait(job, timeout=900)["state"] == "succeeded"
        page = self.open(f"#/jobs/{job}", theme, **size)
        crystals(page).first.wait_for()
        return page

    def take(self, page: Page, name: str) -> None:
        """Write a screenshot with a palette, which takes a third of the bytes."""
        for view in page.locator(".view").all():
            expect(view).to_have_attribute("data-ready", re.compile("."))
        page.wait_for_timeout(SEEN)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / name, optimize=True)
        page.context.close()


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        service = Service(Path(folder), settings={"CDVAE_MODEL_STORE": str(STORE)})
        service.start()
        chromium = program("chromium", "Debian's chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        camera = Photographer(browser, service)

        camera.take(camera.open(""), "request.png")
        page = camera.open("", height=1000)
        page.get_by_role("radio", name="Interpolate").check()
        for field, text in (("From", SRTIO3), ("To", BAZRO3)):
            file = cif_file(f"{text[5:11]}.cif", text)
            page.get_by_label(f"{field} (CIF)", exact=True).set_input_files(file)
        camera.take(page, "walk-request.png")
        camera.take(camera.open("", **PHONE), "phone-request.png")

        sample = {"num_samples": 64, "seed": 7}
        camera.take(camera.job("/generate", sample, height=1300), "result.png")
        page = camera.job("/generate", sample, "dark", **PHONE)
        page.locator(".inspector").evaluate("part => scrollTo(0, part.offsetTop - 76)")
        camera.take(page, "phone-result.png")
        given = {"structures": [{"cif": SRTIO3 + BATIO3}], "seed": 7}
        camera.take(camera.job("/reconstruct", given, "dark"), "reconstruction.png")
        goal = {"num_samples": 12, "seed": 1}
        page = camera.job("/optimize?property=formation_energy", goal, height=760)
        camera.take(page, "optimization.png")
        walk = {"structures": [{"cif": SRTIO3}, {"cif": BAZRO3}], "num_points": 21, "seed": 7}
        page = camera.job("/interpolate", walk, height=1260)
        crystals(page).nth(10).click()
        page.evaluate("scrollTo(0, 0)")
        camera.take(page, "walk.png")
        browser.close()
        service.stop()


if __name__ == "__main__":
    main()
