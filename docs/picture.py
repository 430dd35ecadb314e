"""Take the picture of a report that the README shows: `python docs/picture.py REPORT.html OUT.png`.

Needs playwright (in the extra `test`) and a Chromium: the one on the PATH, else the one playwright installed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

WIDTH, HEIGHT = 1100, 900
MOST_BYTES = 250_000


def picture(page: Path, out: Path) -> int:
    """Write the top of an HTML page as PNG and return its size in bytes."""
    from playwright.sync_api import sync_playwright

    chromium = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=str(out))
        browser.close()
    return out.stat().st_size


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    size = picture(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{sys.argv[2]}: {size:,} bytes")
    if size > MOST_BYTES:
        sys.exit(f"more than {MOST_BYTES:,} bytes: too large for a README")
