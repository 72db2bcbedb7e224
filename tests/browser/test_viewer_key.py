"""The viewer of a service that wants a key."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect
from seeing import difference, fitted, painted
from service import RECIPE, Service, pixels_to, running, slide_pixels

pytestmark = pytest.mark.slow
KEY = "pathray_a-key-of-the-tests"
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that wants `KEY`, with one prediction."""
    with running(tmp_path_factory.mktemp("locked"), KEY) as served:
        pixels_to(served.slides / "case.tif")
        served.predict("case", "subtype")
        yield served


def give(page: Page, key: str) -> None:
    page.get_by_role("textbox", name="Key").fill(key)
    page.get_by_role("button", name="Continue").click()


def test_a_wrong_key_is_told_and_the_right_one_lets_in(open_page: Open, locked: Service) -> None:
    page = open_page(locked.url, "status of 401")
    give(page, "a-guess")
    expect(page.locator("#key-refused")).to_have_text(
        "This key was not accepted. It may be mistyped or revoked."
    )
    expect(page.locator("tbody tr")).to_have_count(0)
    give(page, KEY)
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("link", name="case")).to_be_visible()


def test_the_slide_is_painted_with_the_key_which_no_address_holds(
    open_page: Open, locked: Service
) -> None:
    page = open_page(locked.page_of("case", "subtype"), "status of 401")
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    give(page, KEY)
    page.get_by_label("Opacity of attention").fill("0")
    assert difference(fitted(painted(page), RECIPE.width, RECIPE.height), slide_pixels()) < 4
    assert page.locator(".tile img").first.evaluate("image => image.naturalWidth") > 0
    assert any("slide_files" in address for address in addresses)
    assert not any(KEY in address for address in addresses)
    assert page.evaluate("JSON.stringify(localStorage) + document.cookie") == "{}"


def test_a_key_is_asked_for_once_and_forgotten_on_request(open_page: Open, locked: Service) -> None:
    page = open_page(locked.url, "status of 401")
    give(page, KEY)
    expect(page.get_by_role("link", name="case")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="case")).to_be_visible()
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_role("dialog")).to_be_visible()
