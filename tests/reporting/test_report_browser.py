"""The report in a real browser: drawn, tried out, on a phone and on paper."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE
from report_samples import Sample, make_store

from steadytune.reporting import report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the PATH")

WIDTHS = (1200, 375)

PROBE = """
<script>
window.addEventListener("error", (event) => (window.broken = (window.broken || []).concat(event.message)));
window.addEventListener("load", () => setTimeout(async () => {
  const all = (query) => [...document.querySelectorAll(query)];
  const settled = () => new Promise((done) => setTimeout(done, 150));
  const found = { title: document.title, inner: innerWidth, scroll: document.documentElement.scrollWidth };
  found.plots = all(".js-plotly-plot").length;
  found.drawings = all(".js-plotly-plot").filter((plot) => plot.querySelector("svg.main-svg")).length;
  const right = (element) => element.getBoundingClientRect().right;
  found.tooWide = all(".js-plotly-plot svg.main-svg").filter((svg) => right(svg) > innerWidth).length;
  found.points = all("#s1-scores .scatterlayer .point").length;
  const button = document.querySelector(".legend button");
  if (button) {
    button.click();
    await settled();
    found.pointsWithoutFirst = all("#s1-scores .scatterlayer .point").length;
    button.click();
  }
  const recipe = document.getElementById("s1-pairs-recipe");
  const measure = document.getElementById("s1-pairs-measure");
  if (recipe) {
    const cells = () => document.getElementById("s1-pairs").data[0];
    found.measures = measure.options.length;
    if (measure.querySelector("[value='cka:4']")) measure.value = "cka:4";
    measure.dispatchEvent(new Event("change"));
    recipe.selectedIndex = recipe.options.length - 1;
    recipe.dispatchEvent(new Event("change"));
    await settled();
    found.measureKept = measure.value;
    found.pair = cells().hovertext[0][1];
    found.size = cells().z.length;
  }
  const flips = document.getElementById("s1-flips-recipe");
  if (flips) {
    found.flip = document.getElementById("s1-flips").data[0].hovertext;
    flips.selectedIndex = flips.options.length - 1;
    flips.dispatchEvent(new Event("change"));
    await settled();
    found.lists = all(".flips").map((list) => list.hidden);
  }
  window.dispatchEvent(new Event("beforeprint"));
  await settled();
  found.paper = Math.max(0, ...all(".js-plotly-plot svg.main-svg").map((svg) => svg.getBoundingClientRect().width));
  found.opened = all("details").every((details) => details.open);
  found.undrawn = all(".plot:not(.js-plotly-plot)").map((plot) => plot.id);
  window.dispatchEvent(new Event("afterprint"));
  await settled();
  found.scrollAfterPrint = document.documentElement.scrollWidth;
  found.broken = window.broken || [];
  parent.postMessage({ name: location.search.slice(1), found }, "*");
}, 300));
</script>
"""

# A browser window has a least width, a frame has none.
GALLERY = """<!DOCTYPE html><body>{frames}<pre id="found"></pre><script>
const found = {{}};
addEventListener("message", (event) => {{
  found[event.data.name] = event.data.found;
  document.getElementById("found").textContent = JSON.stringify(found).replace(/</g, "\\\\u003c");
}});
</script></body>"""


def browse(tmp: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER
    quiet = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
    quiet += ("--disable-component-update", "--disable-sync", "--no-sandbox", "--enable-logging=stderr")
    command = [BROWSER, "--headless", *quiet, f"--user-data-dir={tmp / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)


def console_messages(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def seen(study_page: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that one start of the browser finds out about several pages at two widths."""
    tmp = tmp_path_factory.mktemp("browser")
    samples = {
        "lost": Sample(seeds=2, diverged={"standard": (0, 1), "mmr": (0, 1)}),
        "one": Sample(seeds=1),
        "frozen": Sample({"a" * 60: 1.0, "mhloss": 0.5}, mode="head", layers=0, seeds=3),
        "regression": Sample(kind="regression", collapsed=(), seeds=3),
    }
    pages = {"study": study_page} | {name: report(make_store(tmp / name, sample)) for name, sample in samples.items()}
    frames = []
    for name, page in pages.items():
        (tmp / f"{name}.html").write_text(page.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"))
        frames += [
            f'<iframe src="{name}.html?{name}-{width}" width="{width}" height="900" style="border:0"></iframe>'
            for width in WIDTHS
        ]
    (tmp / "gallery.html").write_text(GALLERY.format(frames="".join(frames)))
    result = browse(tmp, tmp / "gallery.html", "--window-size=1400,1000", "--virtual-time-budget=20000", "--dump-dom")
    text = re.search(r'<pre id="found">(.*?)</pre>', result.stdout, re.DOTALL)
    assert text, result.stderr
    found: dict[str, Any] = json.loads(html.unescape(text[1]))
    assert set(found) == {f"{name}-{width}" for name in pages for width in WIDTHS}
    return {**found, "console": console_messages(result)}


def test_no_page_has_an_error(seen: dict[str, Any]) -> None:
    assert seen["console"] == []
    assert all(found["broken"] == [] for name, found in seen.items() if name != "console")


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_scrolls_sideways(seen: dict[str, Any], width: int) -> None:
    for name in ("study", "lost", "one", "frozen", "regression"):
        found = seen[f"{name}-{width}"]
        assert found["inner"] == width
        assert found["scroll"] <= width, name
        assert found["tooWide"] == 0, name


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_drawn(seen: dict[str, Any], width: int) -> None:
    drawn = {name: seen[f"{name}-{width}"]["drawings"] for name in ("study", "lost", "one", "frozen", "regression")}
    assert drawn == {"study": 7, "lost": 0, "one": 1, "frozen": 4, "regression": 6}
    # 14 finished runs, a mean each for three recipes.
    assert seen[f"study-{width}"]["points"] == 14 + 3


def test_a_recipe_is_hidden_by_its_button(seen: dict[str, Any]) -> None:
    assert seen["study-1200"]["pointsWithoutFirst"] == 9 + 2


def test_the_matrix_follows_its_selectors_and_its_hover_names_both_seeds_and_the_value(seen: dict[str, Any]) -> None:
    found = seen["study-1200"]
    assert found["measures"] == 2 + 3 * 4
    assert found["measureKept"] == "cka:4"
    assert found["size"] == 5
    assert re.fullmatch(
        r"<b>Linear CKA, block 4 [\d.]+</b><br>seed \d: [\d.]+<br>seed \d: [\d.]+(, failed)?", found["pair"]
    )


def test_hovering_over_a_flip_names_the_example_its_votes_its_label_and_its_text(seen: dict[str, Any]) -> None:
    hover = seen["study-1200"]["flip"]
    assert all(re.match(r"<b>example \d+</b><br>\d× .+<br>label: \w+<br>", text) for text in hover)
    (hostile,) = [text for text in hover if "&lt;/script&gt;" in text]
    assert "<script" not in hostile
    assert seen["study-1200"]["lists"] == [True, True, False]


def test_no_text_of_an_example_runs_as_code(seen: dict[str, Any]) -> None:
    assert seen["study-1200"]["title"] == "Stability of minilm on glue/rte"


def test_figures_fit_on_paper_and_return_to_the_screen(seen: dict[str, Any]) -> None:
    for width in WIDTHS:
        found = seen[f"study-{width}"]
        assert found["paper"] <= 688
        assert found["opened"]
        assert found["undrawn"] == []
        assert found["scrollAfterPrint"] <= width


def test_the_page_prints(study_page: Path, tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    browse(tmp_path, study_page, "--virtual-time-budget=10000", "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    content = paper.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12
