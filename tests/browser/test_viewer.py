"""The viewer in a real browser, against the real application."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from playwright.sync_api import Page, Route, expect
from seeing import centre, difference, fitted, microns_a_pixel, painted, picture
from service import BROKEN, HOSTILE, RECIPE, Service, pixels_to, running, slide_pixels

from pathray.synthetic_slide import MPP
from serve.results import Job, Lease

pytestmark = pytest.mark.slow
Open = Callable[..., Page]
TABLET = {"width": 820, "height": 1180}


def whole_slide(page: Page) -> np.ndarray:
    return fitted(painted(page), RECIPE.width, RECIPE.height)


def test_the_list_shows_every_prediction_with_its_result(open_page: Open, service: Service) -> None:
    page = open_page(service.url)
    expect(page.locator("tbody tr")).to_have_count(len(service.records))
    found = service.records["case", "subtype"]["result"]["classification"]
    row = page.get_by_role("row", name="case").filter(has_text="subtype")
    probability = max(each["probability"] for each in found["classes"])
    expect(row).to_contain_text(f"{found['predicted']}, {probability * 100:.1f} %")


def test_the_filter_leaves_what_was_asked_for(open_page: Open, service: Service) -> None:
    page = open_page(service.url)
    page.get_by_label("Filter").fill("survival")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text(f"1 of the {len(service.records)} predictions")


def test_older_predictions_are_shown_when_asked_for(
    open_page: Open, service: Service, tmp_path: Path
) -> None:
    with running(tmp_path) as many:
        record = service.records["case", "subtype"]
        for number in range(120):
            slide = record["slide"] | {"slide_id": f"slide-{number}"}
            id = f"{number:032x}"
            many.results.finish(id, record | {"id": id, "slide": slide})
        page = open_page(many.url)
        expect(page.get_by_role("status")).to_have_text("50 newest predictions")
        page.get_by_role("button", name="Show older predictions").click()
        expect(page.get_by_role("status")).to_have_text("100 newest predictions")
        page.get_by_label("Filter").fill("slide-1")
        page.get_by_role("button", name="Search older predictions").click()
        expect(page.get_by_role("status")).to_have_text("31 of the 120 predictions")
        expect(page.locator("tbody tr")).to_have_count(31)
        page.close()  # before its service


def test_the_command_of_an_empty_page_makes_a_prediction(open_page: Open, tmp_path: Path) -> None:
    with running(tmp_path) as empty:
        page = open_page(empty.url)
        expect(page.locator("pre")).to_contain_text('"model": "subtype"')
        words = shlex.split(page.locator("pre").inner_text().replace("\\\n", " "))
        pixels_to(empty.slides / "first.tif")
        body = json.loads(words[words.index("-d") + 1]) | {"slide": str(empty.slides / "first.tif")}
        kind = dict([words[words.index("-H") + 1].split(": ")])
        assert requests.post(words[1], json=body, headers=kind).status_code == 202
        page.reload()
        expect(page.get_by_role("link", name="first")).to_be_visible()
        expect(page.locator("tbody tr")).to_contain_text("%", timeout=60_000)
        page.close()  # before its service


def test_the_whole_slide_is_painted_and_attention_stays_off_that_was_put_off_meanwhile(
    open_page: Open, service: Service
) -> None:
    page = open_page(service.page_of("case", "subtype"))
    page.get_by_role("checkbox").uncheck()
    assert difference(whole_slide(page), slide_pixels()) < 4


def test_attention_lies_where_the_heatmap_says_and_h_takes_it_off(
    open_page: Open, service: Service
) -> None:
    record = service.records["case", "subtype"]
    page = open_page(service.page_of("case", "subtype"))
    page.get_by_label("Opacity of attention").fill("100")
    heatmap = picture(requests.get(f"{service.url}/{record['links']['heatmap']}").content)
    seen = whole_slide(page)
    size = (seen.shape[1], seen.shape[0])
    heatmap = cv2.resize(heatmap, size, interpolation=cv2.INTER_NEAREST)
    inside = cv2.erode(heatmap.max(axis=2), np.ones((5, 5))) > 0
    # Where colours meet, the screen's pixels are mixed.
    assert np.median(np.abs(seen[inside].astype(int) - heatmap[inside])) <= 2
    plain = cv2.resize(slide_pixels(), size, interpolation=cv2.INTER_AREA)
    covered = np.abs(seen[inside].astype(int) - plain[inside]).mean()
    page.keyboard.press("h")
    bare = whole_slide(page)
    assert difference(bare, slide_pixels()) < 4 < covered
    page.keyboard.press("h")
    assert (whole_slide(page) == seen).mean() > 0.99


def test_opacity_mixes_slide_and_attention(open_page: Open, service: Service) -> None:
    page = open_page(service.page_of("case", "subtype"))
    seen = {}
    for opacity in (0, 50, 100):
        page.get_by_label("Opacity of attention").fill(str(opacity))
        seen[opacity] = whole_slide(page).astype(float)
    assert np.abs(seen[50] - (seen[0] + seen[100]) / 2).mean() < 1.5


def test_the_legend_has_the_colours_of_the_heatmap(open_page: Open, service: Service) -> None:
    page = open_page(service.page_of("case", "subtype"))
    shown = picture(page.locator(".colours").screenshot())[6]
    ranks = np.linspace(0, 255, len(shown)).round().astype(np.uint8)[None]
    turbo = cv2.applyColorMap(ranks, cv2.COLORMAP_TURBO)[0, :, ::-1]
    assert np.abs(shown[4:-4].astype(int) - turbo[4:-4]).max() < 16


@pytest.mark.parametrize("rank", [0, 5])
def test_a_top_tile_is_shown_where_it_lies(open_page: Open, service: Service, rank: int) -> None:
    record = service.records["case", "subtype"]
    tile = record["result"]["top_tiles"][rank]
    page = open_page(service.page_of("case", "subtype"))
    page.get_by_role("checkbox").uncheck()
    page.locator(".tile").nth(rank).click()
    canvas = painted(page)
    middle = (tile["x"] + tile["side"] / 2, tile["y"] + tile["side"] / 2)
    assert np.abs(np.subtract(centre(page), middle)).max() <= 2
    outline = page.locator(".tile-outline.chosen").bounding_box()
    frame = page.locator(".stage").bounding_box()
    assert outline is not None
    assert frame is not None
    left, top = round(outline["x"] - frame["x"]), round(outline["y"] - frame["y"])
    side = round(outline["width"])
    part = canvas[top : top + side, left : left + side]
    image = picture(requests.get(f"{service.url}/{tile['image']}").content)
    assert difference(cv2.resize(image, (side, side)), part) < 5
    expect(page.locator(".tile[aria-pressed=true]")).to_have_count(1)


def test_the_scale_bar_measures_what_it_says(open_page: Open, service: Service) -> None:
    page = open_page(service.page_of("case", "subtype"))
    for objective in (2, 10):
        page.get_by_role("button", name=f"As under a {objective}× objective").click()
        painted(page)
        assert page.locator(".magnification").inner_text() == f"{objective}×"
        assert microns_a_pixel(page) == pytest.approx(10 / objective, rel=0.02)
    side = service.records["case", "subtype"]["slide"]["side"]
    outline = page.locator(".tile-outline").first.bounding_box()
    assert outline is not None
    assert outline["width"] * microns_a_pixel(page) == pytest.approx(side * MPP, rel=0.02)


def test_class_probabilities_are_told_with_the_range_of_the_models(
    open_page: Open, service: Service
) -> None:
    found = service.records["case", "subtype"]["result"]["classification"]
    page = open_page(service.page_of("case", "subtype"))
    section = page.get_by_role("region", name="Class probabilities")
    for each in found["classes"]:
        row = section.locator(".class").filter(has_text=each["name"])
        expect(row).to_contain_text(f"{each['probability'] * 100:.1f} %")
        expect(row).to_contain_text(f"{each['low'] * 100:.1f} % to {each['high'] * 100:.1f} %")
        expect(row.locator("circle")).to_have_count(len(found["heads"]))


def test_a_survival_prediction_shows_risk_and_curve(open_page: Open, service: Service) -> None:
    found = service.records["case", "survival"]["result"]["survival"]
    curve = found["curve"]
    page = open_page(service.page_of("case", "survival"))
    expect(page.locator(".answer")).to_contain_text(f"{abs(found['risk']):#.3g}".rstrip("0"))
    expect(page.locator(".curve")).to_contain_text("Time (days)")
    steps = page.locator(".curve-line").get_attribute("d") or ""
    heights = [float(point.split()[1]) for point in steps.strip("M").split("L")]
    top, bottom = heights[0], 166.0
    drawn = [(bottom - height) / (bottom - top) for height in heights]
    assert drawn[2::2] == pytest.approx(curve["survival"], abs=0.005)
    row = page.get_by_role("row", name="200")
    mean, low, high = (curve[name][at(curve["time"], 200)] for name in ("survival", "low", "high"))
    expect(row).to_contain_text(f"{mean * 100:.1f} %")
    expect(row).to_contain_text(f"{low * 100:.1f} % to {high * 100:.1f} %")


@pytest.mark.parametrize("model", ["subtype", "survival"])
def test_one_model_alone_is_given_no_range(
    open_page: Open, service: Service, tmp_path: Path, model: str
) -> None:
    with running(tmp_path) as served:
        record = json.loads(json.dumps(service.records["case", model]))
        answer = record["result"]["classification"] or record["result"]["survival"]
        answer["heads"] = answer["heads"][:1]
        served.results.finish(record["id"], record)
        # The record alone is there, without its pictures.
        page = open_page(f"{served.url}/#/{record['id']}", "status of 404")
        expect(page.locator(".panel")).to_contain_text("One model; its range is not known.")
        assert "false" not in page.locator(".result").inner_text()
        expect(page.locator(".range, .curve-band, .bar-range")).to_have_count(0)
        page.close()  # before its service


def at(times: list[float], when: float) -> int:
    """The step of the curve that holds at a time."""
    return int(np.searchsorted(times, when, side="right")) - 1


def test_versions_and_the_caution_are_told(open_page: Open, service: Service) -> None:
    record = service.records["case", "subtype"]
    page = open_page(service.page_of("case", "subtype"))
    panel = page.get_by_role("complementary", name="Prediction")
    for told in (
        record["result"]["model"]["uri"],
        record["result"]["model"]["digest"][:12],
        record["result"]["encoder"]["digest"][:12],
        record["result"]["software_version"],
        "For research use only. Not for diagnosis",
    ):
        expect(panel).to_contain_text(told)


def test_a_failed_prediction_tells_why(open_page: Open, service: Service) -> None:
    page = open_page(service.page_of(BROKEN, "subtype"))
    expect(page.locator(".failed")).to_contain_text(service.records[BROKEN, "subtype"]["error"])


def test_a_prediction_that_is_not_there_yet_is_read_from_the_top(
    open_page: Open, tmp_path: Path
) -> None:
    with running(tmp_path) as served:
        job = Job("1" * 32, "/a/b.svs", "b", 1, "v", "subtype", "/m", "d", "2026-01-02T03:04:05Z")
        served.results.enqueue(job)
        served.results.put_lease(job.id, Lease("another", 1, 0, "embedding", 512, 2048))
        page = open_page(f"{served.url}/#/{job.id}")
        expect(page.locator(".unfinished")).to_contain_text("Embedding tiles: 512 of 2,048")
        expect(page.locator(".unfinished")).to_contain_text("2 Jan 2026, 03:04")
        box = page.locator(".unfinished .under-way").bounding_box()
        assert box is not None
        assert box["y"] < 250
        page.close()  # before its service


def test_the_slide_is_announced_until_its_first_square_is_there(
    open_page: Open, service: Service
) -> None:
    page = open_page(service.url)
    held: list[Route] = []
    page.route("**/slide_files/**", lambda route: held.append(route))
    page.goto(service.page_of("case", "subtype"))
    expect(page.locator(".opening")).to_have_text("Opening the slide…")
    page.unroute("**/slide_files/**")
    for route in held:
        route.continue_()
    painted(page)
    expect(page.locator(".opening")).to_have_count(0)


@pytest.mark.parametrize("width", [1400, 390])
def test_names_are_whole_in_the_list_however_long_a_slides_name_is(
    open_page: Open, service: Service, tmp_path: Path, width: int
) -> None:
    with running(tmp_path) as served:
        record = service.records["case", "subtype"]
        slide = record["slide"] | {"slide_id": "TCGA-OR-A5J1-01Z-00-DX1." + "600C7D8C-" * 10}
        served.results.finish(record["id"], record | {"slide": slide})
        page = open_page(served.url)
        page.set_viewport_size({"width": width, "height": 844})
        expect(page.locator("tbody tr")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for cell in (".model", ".when"):
            lines = """cell => {
                const range = document.createRange();
                range.selectNodeContents(cell);
                return range.getClientRects().length;
            }"""
            assert page.locator(f"tbody {cell}").evaluate(lines) == 1
        page.close()  # before its service


def test_an_unknown_prediction_is_told(open_page: Open, service: Service) -> None:
    page = open_page(f"{service.url}/#/{'0' * 32}", "status of 404")
    expect(page.locator("#notice")).to_have_text("There is no such prediction.")


def test_a_page_goes_on_when_the_service_is_back(open_page: Open, service: Service) -> None:
    page = open_page(service.url, "ERR_INTERNET_DISCONNECTED")
    expect(page.get_by_role("link", name="case").first).to_be_visible()
    page.context.set_offline(True)
    page.get_by_role("link", name="case").first.click()
    expect(page.locator("#notice")).to_contain_text("The service does not answer.")
    page.context.set_offline(False)
    painted(page)
    expect(page.locator("#notice")).to_be_hidden()


def test_leaving_a_slide_while_it_loads_is_no_failure(open_page: Open, service: Service) -> None:
    page = open_page(service.url)
    for wait in (0, 50, 150, 400):
        page.get_by_role("link", name="case").first.click()
        page.wait_for_timeout(wait)
        page.get_by_role("link", name="Predictions").click()
    expect(page.locator("tbody tr").first).to_be_visible()
    expect(page.locator("#notice")).to_be_hidden()


def test_a_slide_that_is_gone_is_told_and_its_prediction_still_shown(
    open_page: Open, tmp_path: Path
) -> None:
    with running(tmp_path) as served:
        pixels_to(served.slides / "case.tif")
        served.predict("case", "subtype")
        (served.slides / "case.tif").unlink()
        page = open_page(
            served.page_of("case", "subtype"), "Failed to load resource", "failed to load: "
        )
        expect(page.locator("#notice")).to_contain_text("could not be read", timeout=60_000)
        expect(page.locator(".answer")).to_be_visible()
        page.close()  # before its service


def test_the_name_of_a_slide_is_text_and_nothing_else(open_page: Open, service: Service) -> None:
    page = open_page(service.url)
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.locator(".panel h1")).to_have_text(HOSTILE)
    assert page.locator("img[onerror]").count() == 0


def test_a_keyboard_is_enough(open_page: Open, service: Service) -> None:
    page = open_page(service.url)
    page.get_by_role("link", name="case").first.focus()
    page.keyboard.press("Enter")
    painted(page)
    slide = page.get_by_role("application")
    slide.focus()
    before = centre(page), page.locator(".magnification").inner_text()
    page.keyboard.press("Equal")
    painted(page)
    page.keyboard.press("ArrowRight")
    painted(page)
    assert centre(page)[0] > before[0][0]
    assert page.locator(".magnification").inner_text() != before[1]
    upright = painted(page)
    page.keyboard.press("f")
    page.keyboard.press("r")
    assert (painted(page) == upright).all()
    page.locator(".tile").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".tile-outline.chosen")).to_have_count(1)


def test_everything_fits_on_a_tablet(open_page: Open, service: Service) -> None:
    page = open_page(service.page_of("case", "survival"))
    page.set_viewport_size(TABLET)  # type: ignore[arg-type]
    painted(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator(".curve")).to_be_visible()
    frame = page.locator(".stage").bounding_box()
    assert frame is not None
    assert frame["height"] > 400


def test_the_page_allows_no_other_scripts(service: Service) -> None:
    for path in ("/", "/main.js", "/openseadragon/openseadragon.min.js"):
        policy = requests.get(service.url + path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
