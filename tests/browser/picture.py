"""Makes the picture of the viewer that the documentation shows.

    python tests/browser/picture.py [FILE]      (default: docs/images/viewer.png)

A synthetic cohort is drawn, embedded and learned from; a synthetic slide that no model has
seen is predicted through the API and opened in Chromium. Takes a few minutes.
"""

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Route, sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from seeing import painted
from service import running

from jobs.cli import main as pathray
from jobs.cluster import connected
from pathray.slides.pyramid import write_pyramid
from pathray.synthetic import DENSITY, GLAND_SHARE, make_cohort
from pathray.synthetic_slide import MPP, SlideRecipe, draw_slide

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "viewer.png"
WINDOW: Any = {"width": 1400, "height": 900}
SLIDE = SlideRecipe(
    7200, 5400, density=DENSITY["glandular"], gland_share=GLAND_SHARE["glandular"], tissue_share=0.5
)


def learn(folder: Path) -> Path:
    """A small ensemble of subtype models over mean colours; returns its directory."""
    cohort, tiles, vectors, run = (folder / name for name in ("cohort", "tiles", "vectors", "run"))
    make_cohort(cohort, patients=20)
    table = cohort / "cohort.csv"
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    with connected():
        do("tile", slides=table, out=tiles, mpp=0.5)
        do("embed", tiles=tiles, out=vectors, encoder="mean_rgb")
        brief = {"aggregator": "abmil", "folds": 5, "lr": 1e-3, "epochs": 40}
        do("finetune", embeddings=vectors, cohort=table, target="subtype", out=run, **brief)
    return run / "model"


def do(job: str, **flags: object) -> None:
    """`pathray JOB`; ends the program where it fails."""
    given = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    if pathray([job, *given]):
        sys.exit(f"pathray {job} failed")


def take(folder: Path, model: Path, file: Path) -> None:
    """Predict the slide, open its page, keep what is seen."""
    pixels, _ = draw_slide(SLIDE, np.random.default_rng(1))
    with (
        running(folder, models={"subtype": str(model)}) as service,
        sync_playwright() as playwright,
    ):
        write_pyramid(service.slides / "PX-01.tif", pixels, MPP)
        record = service.predict("PX-01", "subtype")
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW, locale="en-GB", timezone_id="UTC")

        def without_folder(route: Route) -> None:
            """The record as if all lay in /data: a temporary folder's name is nobody's matter."""
            answer = route.fetch()
            route.fulfill(response=answer, body=answer.text().replace(str(folder), "/data"))

        page.route(f"**/v1/predictions/{record['id']}", without_folder)
        page.goto(service.page_of("PX-01", "subtype"))
        painted(page)
        seen = Image.open(io.BytesIO(page.screenshot()))
        # 256 colours are a third of the bytes, and nothing that one would see.
        seen.convert("RGB").quantize(256).save(file, optimize=True)
        browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        take(
            Path(temporary), learn(Path(temporary)), Path(sys.argv[1]) if sys.argv[1:] else PICTURE
        )
