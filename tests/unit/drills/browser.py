"""A page in a real browser, in a window of the width that is asked for: chromium's own is never narrower than 500 px, a frame's is."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
HEIGHT = 2400
PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}
ASK = """<script>addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, window = page.defaultView;
  document.body.innerHTML = "<pre>" + JSON.stringify({
    paper: window.getComputedStyle(page.body).backgroundColor, window: window.innerWidth,
    sticks_out: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    drawn: [...page.querySelectorAll("svg[role=img]")].filter(svg => svg.getBoundingClientRect().height > 60).length
  }) + "</pre>" })</script>"""


class Browser:
    """`folder` is for what it is shown. `mode`: light or dark."""

    def __init__(self, folder: Path, width: int, mode: str) -> None:
        self.folder, self.width = folder, width
        self._dark = ["--force-dark-mode"] if mode == "dark" else []

    def measure(self, page: str) -> dict[str, Any]:
        """`window` is the width that the page really had; `sticks_out`: pixels that nobody sees who does not scroll sideways; `drawn`:
        how many timelines can be seen.
        """
        answer = self._browse(page, ASK, "--dump-dom").partition("<pre>")[2].partition("</pre>")[0]
        found: dict[str, Any] = json.loads(answer)
        return found

    def picture(self, page: str) -> Path:
        self._browse(page, "", f"--screenshot={self.folder / 'page.png'}")
        return self.folder / "page.png"

    def _browse(self, page: str, script: str, *more: str) -> str:
        frame = (
            f'<iframe style="border: 0" width="{self.width}" height="{HEIGHT}" srcdoc="{html.escape(page)}"></iframe>'
        )
        shown = self.folder / "shown.html"
        shown.write_text(f'<!doctype html><meta name="color-scheme" content="light dark"><body>{frame}{script}')
        size = f"--window-size={self.width + 100},{HEIGHT}"
        command = [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            size,
            *self._dark,
            *more,
            shown.as_uri(),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
