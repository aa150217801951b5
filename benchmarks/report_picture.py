"""`make report-picture`: docs/report.png, the top of the report of a real run in Chromium.

A fresh service on this machine runs the built-in model through the gate, in a folder that is
removed afterwards.
"""

import argparse
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

import greenlight
from tests.browser import CHROMIUM, visit

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 1200, 1960  # pixels of the picture
COLORS = 256
DRAWN = "document.documentElement.classList.contains('drawn')"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gate", default="default", help="Gate that judges the run.")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "report.png")
    parser.add_argument("--port", type=int, default=8097, help="Port of the stable endpoint.")
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("Chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        report = run_once(Path(folder), options.gate, options.port)
        options.output.write_bytes(take_picture(report))
    print(options.output)


def run_once(home: Path, gate: str, port: int) -> Path:
    """The report of a run that promoted, on a service of its own that is stopped afterwards."""
    try:
        outcome = greenlight.run(
            gate=gate,
            home=str(home),
            port=port,
            listener=lambda event: print(event.step, event.event, event.figure, flush=True),
        )
    finally:
        stop_service(home)
    if outcome.verdict != "promote":
        sys.exit(f"the run was not promoted, so it makes no picture: {outcome.reason}")
    return Path(outcome.report)


def stop_service(home: Path) -> None:
    command = [sys.executable, "-m", "greenlight.cli.main", "down", "--home", str(home)]
    subprocess.run(command, check=False)


def take_picture(report: Path) -> bytes:
    """The top of the page as a PNG of WIDTH by HEIGHT pixels, with a palette of 256 colors."""
    page = Image.open(BytesIO(visit(report, DRAWN, width=WIDTH).screenshot))
    top = page.crop((0, 0, WIDTH, min(HEIGHT, page.height))).convert("RGB")
    png = BytesIO()
    top.quantize(COLORS).save(png, "PNG", optimize=True)
    return png.getvalue()


if __name__ == "__main__":
    main()
