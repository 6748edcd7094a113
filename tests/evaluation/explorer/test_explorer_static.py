"""The explorer as plain files: their content, and how the page works in a browser without a server."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.corpus.corpus import write_sums
from builder.errors import DataError
from builder.hub.spaces import check_space
from evaluation.explorer import static_page
from evaluation.explorer.clip_table import Clips
from evaluation.explorer.static_page import encode_json, lighten, write_static_page

from ..conftest import NASTY


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "explorer-cache"))


@pytest.fixture(scope="module")
def site(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the small corpus, in a folder whose name has characters that are escaped in addresses."""
    out = tmp_path_factory.mktemp("site") / "a page # 100%"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "explorer-cache"))
        write_static_page(Clips.open(corpus), out)
    return out


class PageParser(HTMLParser):
    """Collects the texts of scripts and styles, meta elements by name, and all addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.data: str | None = None
        self.metas: dict[str, str] = {}
        self.addresses: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        attributes = dict(attrs)
        self._inside = "data" if attributes.get("type") == "application/json" else tag
        if tag == "meta" and "content" in attributes:
            self.metas[attributes.get("http-equiv") or attributes.get("name") or ""] = attributes["content"]
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data = (self.data or "") + data
        elif self._inside in self.texts:
            self.texts[self._inside].append(data)


def parse_page(page: Path) -> PageParser:
    parser = PageParser()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_audio_is_beside_the_page_as_stored_in_the_corpus(site: Path, corpus: Path):
    clips = Clips.open(corpus)
    names = [f"{position:05d}" for position in range(27)]
    assert sorted(p.name for p in site.iterdir()) == ["README.md", "audio", "index.html", "pictures"]
    check_space(site)  # as `synthmir publish --what space` does
    assert sorted(p.name for p in (site / "pictures").iterdir()) == [f"{name}.png" for name in names]
    assert [(site / "audio" / f"{name}.flac").read_bytes() for name in names] == [
        data for data, _ in clips.read_all_audio()
    ]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in (site / "pictures").iterdir())


def test_the_page_allows_its_own_script_and_style_only(site: Path):
    parts = parse_page(site / "index.html")
    policy = parts.metas["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy
    for tag, (text,) in parts.texts.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert parts.addresses == []  # the script addresses audio and images, relative to the page


def test_the_page_data_equal_the_corpus(site: Path, corpus: Path):
    clips = Clips.open(corpus)
    data = json.loads(parse_page(site / "index.html").data or "")
    assert data["id"] == clips.table["id"].tolist() and data["prompt"] == clips.table["prompt"].tolist()
    assert NASTY in data["prompt"] and NASTY not in (site / "index.html").read_text(encoding="utf-8")
    assert data["tempo_bpm"] == clips.table["tempo_bpm"].tolist() and data["mood"] == [None] * 27
    assert data["neighbours"][4] == [[other, round(cosine, 3)] for other, cosine in clips.find_neighbours(4, 6)]
    points = clips.map_points()
    assert points is not None and data["points"] == [[round(float(x), 4), round(float(y), 4)] for x, y in points]


@settings(deadline=None)
@given(st.recursive(st.text() | st.none() | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_data_cannot_end_the_script_element(content: Any):
    text = encode_json([content, "</script><!-- ]]> \u2028"])
    assert json.loads(text) == [content, "</script><!-- ]]> \u2028"]
    assert not set(text) & set("<>&\u2028\u2029") and text.isascii()


def test_html_in_names_is_escaped(corpus: Path, tmp_path: Path):
    place = tmp_path / "<img src=x onerror=alert(1)>"
    shutil.copytree(corpus, place)
    record = json.loads((place / "records/build.json").read_text())
    (place / "records/build.json").write_text(json.dumps(record | {"fingerprint": "</code><script>1</script>"}))
    write_sums(place, {})
    write_static_page(Clips.open(place, limit=4), tmp_path / "out")
    parts = parse_page(tmp_path / "out/index.html")
    assert parts.addresses == [] and len(parts.texts["script"]) == 1


def test_a_limit_is_stated(corpus: Path, tmp_path: Path):
    write_static_page(Clips.open(corpus, limit=6), tmp_path / "out")
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "6 of 27 clips, drawn evenly from every genre" in text
    assert len(list((tmp_path / "out/audio").iterdir())) == 6


def test_without_embeddings_the_page_says_why_there_is_no_map(corpus: Path, tmp_path: Path):
    copy = Path(shutil.copytree(corpus, tmp_path / "copy"))
    shutil.rmtree(copy / "melstats")
    write_static_page(Clips.open(copy, limit=3), tmp_path / "out")
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "No map and no neighbours: copy has no embeddings" in text and "<canvas" not in text


def test_a_page_replaces_a_page_and_no_other_folder(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out, clips = tmp_path / "out", Clips.open(corpus, limit=3)
    (tmp_path / ".out.part").mkdir()  # left by a run that was killed
    write_static_page(clips, out)
    first = (out / "index.html").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(static_page, "render_page", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_static_page(clips, out)
    assert (out / "index.html").read_bytes() == first and [p.name for p in tmp_path.iterdir()] == ["out"]
    write_static_page(Clips.open(corpus, limit=5), out)
    assert len(list((out / "audio").iterdir())) == 5
    for folder in (corpus, tmp_path / "mine"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine/index.html").write_text("<h1>My page</h1>")
        with pytest.raises(DataError, match="is not empty, and does not hold a static page"):
            write_static_page(clips, folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        write_static_page(clips, tmp_path / "file")
    assert (tmp_path / "mine/index.html").read_text() == "<h1>My page</h1>"


def test_lighter_colours_for_dark_backgrounds():
    assert lighten("#000000") == "#404040" and lighten("#ffffff") == "#ffffff"
    assert re.fullmatch("#[0-9a-f]{6}", lighten("#0072B2"))


LISTED = "return [...document.querySelectorAll('#clips .clip')].map(card => Number(card.dataset.clip))"
# Waits until another clip plays than before. The earlier one may play for a moment until it is paused.
PLAYING = """
const [before, done] = arguments;
const poll = () => {
  const isPlaying = (player) => !player.paused && player.currentTime > 0.1;
  const names = [...document.querySelectorAll("audio")].filter(isPlaying).map((player) => player.src.slice(-10));
  names.length && !names.includes(before) ? done(names) : setTimeout(poll, 20);
};
poll();
"""
POINT = "const [x, y] = toScreen(arguments[0]); return [x - canvas.clientWidth / 2, y - canvas.clientHeight / 2];"


@pytest.mark.chromium
def test_the_page_works_in_a_browser_without_a_server(site: Path, browser: Any):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    browser.set_window_size(1200, 900)
    browser.get((site / "index.html").as_uri())
    count = browser.find_element(By.ID, "count")
    assert count.text == "27 of 27 clips" and len(browser.execute_script(LISTED)) == 24
    assert browser.execute_script("return [...document.querySelectorAll('audio')].every(a => a.preload === 'none')")
    browser.find_element(By.ID, "show-more").click()
    assert len(browser.execute_script(LISTED)) == 27

    # HTML in names and prompts is shown as text.
    assert NASTY in browser.execute_script(
        "return [...document.querySelectorAll('blockquote')].map(q => q.textContent)"
    )
    assert browser.execute_script("return document.querySelectorAll('script').length") == 2

    # Filters.
    Select(browser.find_element(By.NAME, "genre")).select_by_visible_text("Rock")
    assert count.text == "9 of 27 clips" and browser.execute_script(LISTED) == [*range(12, 18), *range(24, 27)]
    Select(browser.find_element(By.NAME, "split")).select_by_visible_text("validation")
    browser.find_element(By.NAME, "tempo_bpm-low").send_keys("151")
    assert count.text == "1 of 27 clips"
    browser.find_element(By.NAME, "text").send_keys("nothing like it")
    assert count.text == "0 of 27 clips" and "No clips match the filters." in browser.find_element(By.ID, "clips").text
    browser.find_element(By.CSS_SELECTOR, "[type=reset]").click()
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert count.text == "27 of 27 clips"

    # One clip plays at a time: by its player, by a click on the map, by the keyboard.
    player = browser.find_element(By.CSS_SELECTOR, '[data-clip="3"] audio')
    browser.execute_script("document.addEventListener('play', (event) => { event.target.loop = true; }, true)")
    browser.execute_script("arguments[0].play()", player)
    assert browser.execute_async_script(PLAYING, "") == ["00003.flac"]
    loaded = "const i = document.querySelector('[data-clip=\"3\"] img'); return i.complete && i.naturalWidth"
    assert browser.execute_script(loaded) > 0
    canvas = browser.find_element(By.ID, "map")
    x, y = browser.execute_script(POINT, 20)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    ActionChains(browser).move_to_element_with_offset(canvas, round(x), round(y)).click().perform()
    assert browser.execute_async_script(PLAYING, "00003.flac") == ["00020.flac"]
    neighbours = "return [...document.querySelectorAll('#neighbours .clip')].map(card => Number(card.dataset.clip))"
    data = json.loads(parse_page(site / "index.html").data or "")
    assert browser.execute_script(neighbours) == [other for other, _ in data["neighbours"][20]]
    canvas.send_keys(Keys.ARROW_LEFT)
    status = browser.find_element(By.ID, "map-status").text
    assert status and data["id"][20] not in status
    canvas.send_keys(Keys.ENTER)
    (playing,) = browser.execute_async_script(PLAYING, "00020.flac")
    assert data["id"][int(playing[:5])] in status and data["points"][int(playing[:5])][0] < data["points"][20][0]
    browser.execute_script("document.querySelector('#clips .clip button').focus()")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.execute_script("return document.activeElement.id") == "selected-title"

    for width in (360, 700, 1200):
        emulated = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", emulated)
        assert browser.execute_script("return innerWidth") == width
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []


CONTRAST = """
const luminance = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number)
  .map((part) => part / 255).map((p) => p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, n) => sum + part * [0.2126, 0.7152, 0.0722][n], 0);
const background = (element) => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
};
return [...document.querySelectorAll("h1, h2, h3, p, li, label, legend, button, summary, blockquote, .id")]
  .filter((element) => element.checkVisibility() && element.textContent.trim())
  .map((element) => {
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(background(element))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), element.outerHTML.slice(0, 80)];
  }).sort((x, y) => x[0] - y[0])[0];
"""


@pytest.mark.chromium
def test_contrast_in_light_and_dark_and_accessible_names(site: Path, browser: Any):
    """Contrast of 4.5 or more as WCAG 2 asks, and an accessible name for each control."""
    for scheme in ("light", "dark"):
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        browser.get((site / "index.html").as_uri())
        browser.execute_script("select(3)")
        lowest, element = browser.execute_script(CONTRAST)
        assert lowest >= 4.5, (scheme, element)
        page = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (page == "rgb(255, 255, 255)") == (scheme == "light")
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = ("button", "combobox", "searchbox", "spinbutton", "application", "Audio")
    controls = [node for node in nodes if not node.get("ignored") and node["role"]["value"] in roles]
    assert len(controls) > 30 and all(node["name"]["value"] for node in controls)
