"""Colors of a part of the page."""

import io

from PIL import Image
from playwright.sync_api import Locator


def colors(part: Locator) -> int:
    """Return the number of colors in a picture of this part."""
    picture = Image.open(io.BytesIO(part.screenshot())).convert("RGB")
    found = picture.getcolors(maxcolors=picture.width * picture.height)
    assert found is not None
    return len(found)
