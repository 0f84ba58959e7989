"""The site and the notebooks are whole in headless Chromium; screenshots are written to build/screenshots."""

import shutil

import pytest

pytest.importorskip("playwright", reason="needs Playwright")

from browsing import CHROMIUM, ROOT, SCREENSHOTS, SITE, chromium, jupyter_lab, serve, site_is_built

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
needs_site = pytest.mark.skipif(not site_is_built(), reason="needs a site that is newer than the notebooks: make docs")

PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)

LOOK = """
() => {
  const words = [];
  const page = document.documentElement;
  const [width, room] = [page.scrollWidth, page.clientWidth];
  if (width > room + 1) words.push(`the page is ${width} px wide in ${room}`);
  for (const img of document.images)
    if (!img.complete || img.naturalWidth === 0) words.push(`broken image ${img.src.slice(0, 120)}`);
    else if (!img.alt) words.push(`image without words ${img.src.slice(0, 120)}`);
  for (const merror of document.querySelectorAll("mjx-merror")) words.push(`formula: ${merror.textContent}`);
  const math = document.querySelectorAll("article .math");
  if (math.length && !document.querySelector("mjx-container")) words.push("formulas were not drawn");
  for (const svg of document.querySelectorAll("article svg[role=img]")) {
    const name = (svg.getAttribute("aria-label") || "").slice(0, 80);
    const box = svg.getBoundingClientRect();
    if (box.width < 8 || box.height < 8) continue;  // folded
    let frame = svg.parentElement;
    while (frame && !["auto", "scroll"].includes(getComputedStyle(frame).overflowX)) frame = frame.parentElement;
    if (!frame && box.right > page.clientWidth + 1) words.push(`wider than the page: ${name}`);
    const scale = box.width / svg.viewBox.baseVal.width;
    for (const text of svg.querySelectorAll("text")) {
      const size = parseFloat(getComputedStyle(text).fontSize) * scale;
      if (size < SMALLEST) { words.push(`label of ${size.toFixed(1)} px: "${text.textContent}" in ${name}`); break; }
    }
  }
  return words;
}
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

    def open_it(address, width=1280, height=900, host="http://127.0.0.1"):
        context = browser.new_context(viewport={"width": width, "height": height})
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
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@needs_site
@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_the_site_is_whole(path, width, site, open_page):
    """A page has no broken picture, no error and no content from other hosts; it fits the window and is legible."""
    page, trouble = open_page(f"{site}/{path}", width=width)
    page.evaluate("() => window.MathJax && window.MathJax.startup && window.MathJax.startup.promise")
    for details in page.query_selector_all("article details"):
        details.evaluate("(element) => { element.open = true; }")
    smallest = "7" if width > 800 else "0"  # readers zoom in on a phone
    screenshot(page, f"site-{'desk' if width > 800 else 'phone'}-{path.replace('/', '-').removesuffix('.html')}")
    assert page.evaluate(LOOK.replace("SMALLEST", smallest)) == []
    assert trouble == []


@needs_site
def test_the_site_has_every_notebook_with_its_pictures(site, open_page):
    page, _ = open_page(f"{site}/index.html")
    notebooks = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    shown = {link.get_attribute("href") for link in page.query_selector_all("article a")}
    for stem in notebooks:
        assert f"notebooks/{stem}.html" in shown
        page.goto(f"{site}/notebooks/{stem}.html")
        assert page.query_selector("article svg[role=img]"), stem


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
