"""The site and the notebooks are whole in headless Chromium; screenshots are written to build/screenshots."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs Playwright")

from browsing import CHROMIUM, ROOT, SCREENSHOTS, SITE, chromium, jupyter_lab, serve, site_is_built

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
needs_site = pytest.mark.skipif(not site_is_built(), reason="needs a site that is newer than the notebooks: make docs")

PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)

LARGEST_PAGE = 1_000_000
"""Bytes of a page with its pictures, without what all pages share: the theme and MathJax."""

LOOK = (Path(__file__).parent / "look.js").read_text()
"""A function that returns what is wrong with the page, as it is shown now, in a list of sentences."""


WEIGHT = """
() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter((entry) => !entry.name.includes("/_static/"))
  .reduce((sum, entry) => sum + entry.decodedBodySize, 0)
"""

SLIDERS_WORK = "() => [...document.querySelectorAll('.live-picture')].every((live) => !live.firstElementChild.hidden)"

PAINTED = """
(figure) => [...figure.querySelectorAll("svg rect")].map((cell) => {
  const { fill, stroke, strokeWidth, opacity, filter } = getComputedStyle(cell);
  return [fill, stroke, strokeWidth, opacity, filter].join();
})
"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site():
    with serve(SITE) as address:
        yield address


@pytest.fixture
def open_page(browser):
    """Return a function that opens a page and collects its errors and its requests to other hosts."""
    contexts = []

    def open_it(address, width=1280, height=900, host="http://127.0.0.1", **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page, trouble = context.new_page(), []
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("console", lambda line: trouble.append(f"console: {line.text}") if line.type == "error" else None)
        page.on(
            "response", lambda answer: trouble.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
        )
        page.on(
            "request", lambda ask: None if ask.url.startswith((host, "data:", "blob:")) else trouble.append(ask.url)
        )
        page.goto(address, wait_until="load")
        return page, trouble

    yield open_it
    for context in contexts:
        context.close()


def screenshot(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.jpg", quality=70)


@needs_site
@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_the_site_is_whole(path, site, open_page):
    """A page is whole at both widths, light and dark: see look.js. It loads nothing from other hosts, and little."""
    page, trouble = open_page(f"{site}/{path}", height=1200)  # screenshots are of the window: whole pages take seconds
    page.evaluate("() => window.MathJax && window.MathJax.startup && window.MathJax.startup.promise")
    for details in page.query_selector_all("article details"):
        details.evaluate("(element) => { element.open = true; }")
    found = {}
    for width, device in ((1280, "desk"), (390, "phone")):
        page.set_viewport_size({"width": width, "height": 1200})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            screenshot(page, f"site-{path.replace('/', '-').removesuffix('.html')}-{device}-{scheme}")
            smallest = 7 if width > 800 else 0  # readers zoom in on a phone
            found[device, scheme] = page.evaluate(LOOK, smallest)
    assert {place: words for place, words in found.items() if words} == {}
    for width in (1090, 1200, 1330, 1480):  # with the menu beside the text, and with the contents as well
        page.set_viewport_size({"width": width, "height": 1200})
        assert page.evaluate("document.querySelector('article').getBoundingClientRect().right") <= width, width
    assert trouble == []
    assert page.evaluate(WEIGHT) < LARGEST_PAGE


@needs_site
@pytest.mark.parametrize("path", [path for path in PAGES if 'data-pictures="' in (SITE / path).read_text()])
def test_each_slider_of_a_page_is_moved_by_the_keyboard_and_changes_its_picture(path, site, open_page):
    page, trouble = open_page(f"{site}/{path}")
    page.wait_for_function(SLIDERS_WORK)
    for slider in page.locator(".live-picture input").all():
        value = slider.locator("xpath=following-sibling::output")
        picture = slider.locator("xpath=ancestor::*[@class='live-picture']/div[2]")
        before, last = picture.inner_html(), value.inner_text()
        slider.focus()
        there, back = ["ArrowRight", "ArrowLeft"][:: -1 if slider.input_value() == slider.get_attribute("max") else 1]
        steps = 0
        while picture.inner_html() == before:  # neighbouring settings may have the same picture
            page.keyboard.press(there)
            assert value.inner_text() == slider.get_attribute("aria-valuetext") != last, "a slider is at its end"
            last, steps = value.inner_text(), steps + 1
        assert picture.locator("svg[role=img]").count() == 1
        for _ in range(steps):
            page.keyboard.press(back)
        assert picture.inner_html() == before
    screenshot(page, f"sliders-{path.replace('/', '-').removesuffix('.html')}")
    assert trouble == []


@needs_site
def test_a_tap_moves_a_slider_and_says_what_a_cell_is(site, open_page):
    page, trouble = open_page(f"{site}/explore.html", width=390, has_touch=True, is_mobile=True)
    page.wait_for_function(SLIDERS_WORK)
    figure = page.locator(".live-picture").first
    slider = figure.locator("input").first
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box["height"] >= 24  # the smallest target of WCAG 2.2
    page.touchscreen.tap(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    assert slider.input_value() == slider.get_attribute("max")
    before = figure.evaluate(PAINTED)
    pixel = figure.locator("rect", has=page.locator("title", has_text="pixel 0, 3")).first
    pixel.tap()
    assert figure.evaluate(PAINTED) != before, "what reads the pixel lights up"
    assert figure.locator(".tapped").inner_text() == "pixel 0, 3 (entry 3 of x): 3"
    assert trouble == []


@needs_site
def test_without_javascript_a_page_shows_the_first_picture_of_each_slider(site, open_page):
    page, _ = open_page(f"{site}/explore.html", java_script_enabled=False)
    for figure in page.locator(".live-picture").all():
        assert not figure.locator("input").first.is_visible()
        assert figure.locator("svg[role=img]").is_visible()
        assert figure.locator("noscript").is_visible()


@needs_site
def test_the_site_has_every_notebook_with_its_pictures():
    front = (SITE / "index.html").read_text()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f'href="notebooks/{path.stem}.html"' in front
        assert '<svg xmlns="http://www.w3.org/2000/svg"' in (SITE / "notebooks" / f"{path.stem}.html").read_text()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Return the addresses of notebooks in a JupyterLab that runs on a copy of them, into which outputs are written."""
    scratch = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", scratch / "project" / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copytree(ROOT / "docs" / "records", scratch / "project" / "docs" / "records")
    with jupyter_lab(scratch / "project" / "notebooks", scratch) as address:
        yield address


FINISHED = """
() => {
  const cells = window.jupyterapp.shell.currentWidget.content.widgets.filter((cell) => cell.model.type === "code");
  return cells.every((cell) => cell.model.sharedModel.source.trim() === "" || cell.model.executionCount !== null);
}
"""


PICTURES = "(cell) => [...cell.querySelectorAll('svg[role=img]')].map((svg) => svg.outerHTML)"

TOO_WIDE = """
(cell) => {
  const right = cell.querySelector(".jp-Cell-outputArea").getBoundingClientRect().right + 1;
  const svgs = [...cell.querySelectorAll("svg[role=img]")];
  return svgs.filter((svg) => svg.getBoundingClientRect().right > right).map((svg) => svg.getAttribute("aria-label"));
}
"""


@pytest.mark.parametrize(
    "stem",
    [
        "01_convolution_is_a_matrix",
        "03_skip_connections",
        pytest.param("04_a_trained_network", marks=pytest.mark.sweep),  # it trains: half a minute for the same sliders
    ],
)
def test_a_notebook_runs_in_jupyterlab_and_its_sliders_change_the_picture(stem, lab, open_page):
    page, _ = open_page(lab(f"{stem}.ipynb"), height=1400)
    page.wait_for_function(
        "() => window.jupyterapp && window.jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel",
        timeout=180_000,
    )
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(FINISHED, timeout=300_000)
    page.wait_for_timeout(500)
    bad = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"
    assert [output.inner_text() for output in page.query_selector_all(bad)] == []

    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    sliders = page.locator(".jp-Cell:has(.noUi-handle)")
    assert sliders.count() >= 1
    for number in range(sliders.count()):
        cell = sliders.nth(number)
        cell.scroll_into_view_if_needed()
        handle = cell.locator(".noUi-handle").first
        handle.wait_for(state="visible", timeout=60_000)
        before = cell.evaluate(PICTURES)
        assert before, "a widget has a picture"
        handle.focus()
        page.keyboard.press("ArrowRight")
        changed = f"([cell, before]) => JSON.stringify(({PICTURES})(cell)) !== JSON.stringify(before)"
        page.wait_for_function(changed, arg=[cell.element_handle(), before], timeout=60_000)
        page.screenshot(path=SCREENSHOTS / f"lab-{stem}-slider-{number}.png")
        assert cell.evaluate(TOO_WIDE) == [], "pictures reach beyond their cell"
