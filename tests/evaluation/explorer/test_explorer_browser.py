"""The explorer's page as a browser shows it: filtered, played, walked by keyboard, narrow, and asking nobody else.

SYNTHMIR_SCREENSHOTS=DIR keeps the pictures for a person to look at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ...browser import chrome
from ..conftest import sound
from .explored import HOSTILE, make_run

pytestmark = pytest.mark.chromium

PLAYING = """
const player = document.querySelector(arguments[0]);
return player && !player.paused && player.currentTime > 0.15 ? [player.src, player.currentTime] : null;
"""
# Where on the canvas a point of the second genre's colour is, in CSS pixels.
ROCK = """
const [canvas] = arguments, { width, height } = canvas, copy = document.createElement("canvas");
Object.assign(copy, { width, height });
const pen = copy.getContext("2d", { willReadFrequently: true });
pen.drawImage(canvas, 0, 0);
const { data } = pen.getImageData(0, 0, width, height);
const like = (at) => Math.abs(data[at] - 0xE6) < 8 && Math.abs(data[at + 1] - 0x9F) < 8 && data[at + 2] < 8;
for (let at = 0; at < data.length; at += 4)
  if (data[at + 3] > 200 && like(at) && like(at + 8) && like(at + 8 * width))
    return [at / 4 % width + 1, Math.floor(at / 4 / width) + 1].map((pixels) => pixels * canvas.clientWidth / width);
return null;
"""
TAB = """
const named = (where) => [...document.querySelectorAll(where)].find(
  (button) => button.textContent.trim() === arguments[0] && button.offsetParent);
const there = named("button[role=tab]") || named(".overflow-dropdown button");
if (there) there.click(); else document.querySelector(".overflow-menu > button")?.click();
return Boolean(there);
"""
PLAYER = "document.querySelector('#chosen audio')"
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
ELSEWHERE = """return performance.getEntriesByType("resource").map(entry => entry.name)
    .filter(name => !name.startsWith(location.origin) && !/^(data|blob):/.test(name))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio") if not os.environ.get("SYNTHMIR_NO_SKIP") else None
    from evaluation.explorer.clip_table import Clips
    from evaluation.explorer.server import running

    folder = tmp_path_factory.mktemp("runs")
    run, other = make_run(folder / "explored", seconds=4.0), make_run(folder / "other", shift=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with running(Clips.open(run), Clips.open(other), port=0) as served:
            yield served


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chrome(tmp_path_factory.mktemp("browser") / "profile") as driver:
        yield driver


# Gradio's own words as an upload ends, and as a page is left before the server has answered.
GRADIOS = ("Method not implemented", "AbortError: signal is aborted", "Connection errored out")


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.set_window_size(1280, 1000)
    browser.get(address)
    until(browser, lambda: browser.find_elements("css selector", "#table button.choose"))
    until(browser, lambda: browser.find_elements("css selector", "ol.near li"))  # the last thing a new page asks for
    yield browser
    told = [entry for entry in browser.get_log("browser") if not any(own in entry["message"] for own in GRADIOS)]
    assert told == []
    assert browser.execute_script(ELSEWHERE) == []
    assert browser.title == "explored"  # nothing in the corpus ran


def until(browser: Any, what: Callable[[], Any], seconds: float = 120) -> Any:
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(browser, seconds, 0.1, ignored_exceptions=[StaleElementReferenceException])
    return waiting.until(lambda _: what())


def playing(browser: Any, where: str = "#chosen audio") -> str:
    """The address of what is heard, once it is."""
    return until(browser, lambda: browser.execute_script(PLAYING, where))[0]


def count(browser: Any) -> str:
    return browser.find_element("id", "count").text


def tab(browser: Any, name: str) -> None:
    """Go to a tab, out of the menu where there is no room for it."""
    until(browser, lambda: browser.execute_script(TAB, name))


def keep(browser: Any, folder: Path, name: str) -> None:
    folder = Path(os.environ.get("SYNTHMIR_SCREENSHOTS") or folder)
    folder.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(folder / f"explorer-{name}.png"))


def test_filter_choose_and_play(page: Any):
    assert page.execute_script(
        "return [...document.querySelectorAll('audio')].every(player => player.preload === 'none')"
    )
    assert count(page) == "28 of 28 clips, page 1 of 2"
    page.find_element("css selector", "input[placeholder^=words], textarea[placeholder^=words]").send_keys("onerror")
    until(page, lambda: count(page) == "2 of 28 clips")
    shown = page.find_element("css selector", "#table .prompt span")
    assert shown.get_property("textContent") == HOSTILE
    page.find_elements("css selector", "#table button.choose")[1].click()
    assert playing(page).endswith("/3.flac")
    assert page.find_element("css selector", "#chosen blockquote").get_property("textContent") == HOSTILE
    until(page, lambda: page.execute_script("return document.querySelector('#chosen img').naturalWidth") > 100)
    page.execute_script(f"{PLAYER}.currentTime = 3")  # which the server's answer to a range makes possible
    until(page, lambda: page.execute_script(f"return {PLAYER}.currentTime >= 3 && {PLAYER}.seekable.end(0) > 3.9"))


def test_numbers_filter_and_an_empty_field_asks_for_nothing(page: Any):
    from selenium.webdriver.common.keys import Keys

    next(b for b in page.find_elements("css selector", "button") if b.text.startswith("More filters")).click()
    slow, fast = until(page, lambda: page.find_elements("css selector", "#work [placeholder=any]")[:2])
    until(page, lambda: slow.is_displayed())
    assert slow.get_property("value") == fast.get_property("value") == ""
    slow.send_keys("100")
    until(page, lambda: count(page) == "8 of 28 clips")  # tempi go from 90 to 103, twice
    fast.send_keys("101")
    until(page, lambda: count(page) == "4 of 28 clips")
    for field in (slow, fast):
        field.send_keys(Keys.BACKSPACE * 3)
    until(page, lambda: count(page) == "28 of 28 clips, page 1 of 2")


def test_neighbours_play_one_at_a_time_and_become_the_chosen_clip(page: Any):
    page.find_elements("css selector", "#table button.choose")[4].click()
    first = playing(page)
    page.execute_script("document.querySelector('ol.near audio').play()")
    near = playing(page, "ol.near audio")
    assert near != first and page.execute_script(f"return {PLAYER}.paused")
    button = page.find_element("css selector", "ol.near button.choose")
    page.execute_script("arguments[0].click()", button)
    until(page, lambda: playing(page) == near)


def test_keyboard_alone_chooses_walks_the_map_and_plays(page: Any):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys: str) -> None:
        ActionChains(page).send_keys(*keys).perform()

    focus = "return document.activeElement.dataset.position ?? document.activeElement.tagName"
    for _ in range(40):
        press(Keys.TAB)
        if page.execute_script(focus) == "2":  # the third row's button
            break
    press(Keys.ENTER)
    assert playing(page).endswith("/2.flac")
    tab(page, "Map")
    until(page, lambda: page.find_element("css selector", ".map canvas").is_displayed())
    until(page, lambda: "28 of 28 clips" in page.find_element("id", "work").text)
    for _ in range(10):
        press(Keys.TAB)
        if page.execute_script("return document.activeElement.tagName") == "CANVAS":
            break
    press(Keys.ARROW_RIGHT)
    press(Keys.ARROW_LEFT, Keys.ARROW_UP)
    told = page.find_element("css selector", ".map .told").text
    assert told.partition(": ")[0] in ("electronica", "rock")
    press(Keys.ENTER)
    until(page, lambda: page.find_element("css selector", "#chosen .id").text == told.partition(": ")[2])
    playing(page)


def test_a_click_on_the_map_plays_that_clip(page: Any, tmp_path: Path):
    from selenium.webdriver.common.action_chains import ActionChains

    tab(page, "Map")
    canvas = until(page, lambda: page.find_element("css selector", ".map canvas"))
    until(page, lambda: "28 of 28 clips" in page.find_element("id", "work").text)
    keep(page, tmp_path, "map")
    until(page, lambda: page.execute_script(ROCK, canvas))
    x, y = page.execute_script(ROCK, canvas)
    middle_x, middle_y = canvas.size["width"] / 2, canvas.size["height"] / 2
    move = ActionChains(page).move_to_element_with_offset(canvas, round(x - middle_x), round(y - middle_y))
    move.click().perform()
    genre, _, chosen = page.find_element("css selector", ".map .told").text.partition(": ")
    assert genre == "rock" and chosen.startswith("rock-")
    until(page, lambda: page.find_element("css selector", "#chosen .id").text == chosen)
    playing(page)


def test_an_uploaded_file_is_heard(page: Any, tmp_path: Path):
    file = tmp_path / "mine.wav"
    soundfile.write(file, np.concatenate([sound(0, 1, 13.0), sound(2, 2, 12.0)]), 32_000)
    tab(page, "Your audio")
    chooser = until(page, lambda: page.find_elements("css selector", "#own input[type=file]"))[0]
    chooser.send_keys(str(file))
    heard = page.find_element("id", "heard")
    until(page, lambda: "window" in heard.text, 60)
    assert "mine.wav" in heard.text and "electronica" in heard.text
    windows = heard.find_elements("css selector", "svg.timeline rect")
    assert len(windows) >= 4
    page.execute_script("arguments[0].scrollIntoView()", windows[-1])
    windows[-1].click()  # plays from there
    playing(page, "#heard audio")
    assert page.execute_script("return document.querySelector('#heard audio').currentTime") > 10
    keep(page, tmp_path, "own-audio")


def test_a_clip_is_generated(page: Any, tmp_path: Path):
    tab(page, "Generate")
    field = until(page, lambda: next(f for f in page.find_elements("css selector", "textarea") if f.is_displayed()))
    button = next(b for b in page.find_elements("css selector", "button") if b.text == "Generate with arranger")
    button.click()
    until(page, lambda: "the prompt is empty" in page.find_element("id", "made").text)
    field.send_keys("A dark rock track at 140 BPM <img src=x onerror=alert(1)>")
    button.click()
    assert "/sound/" in until(page, lambda: playing(page, "#made audio"), 60)
    assert "<img src=x onerror=alert(1)>" in page.find_element("id", "made").text
    keep(page, tmp_path, "generated")


def test_two_corpora_are_compared(page: Any, tmp_path: Path):
    tab(page, "Compare")
    until(page, lambda: "explored against other" in page.find_element("id", "work").text, 60)
    assert "Fréchet distance" in page.find_element("id", "work").text
    keep(page, tmp_path, "compare")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_widths_and_colours(page: Any, tmp_path: Path, scheme: str):
    preferred = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", preferred)
    page.refresh()
    until(page, lambda: page.find_elements("css selector", "ol.near li"))
    page.execute_script("document.querySelector('#table button.choose').click()")
    shade = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    levels = [int(part) for part in shade[shade.index("(") + 1 : -1].split(",")[:3]]
    assert (sum(levels) < 300) == (scheme == "dark")
    for width in (1280, 390, 360):
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 700}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for part in ("Map", "Duplicates", "Generate", "Your audio", "Compare", "Clips"):
            tab(page, part)
            until(page, lambda: page.execute_script(OVERFLOW) <= 0, 10)
            assert page.execute_script(f"return {PLAYER}.getBoundingClientRect().right") <= width
        keep(page, tmp_path, f"{width}-{scheme}")
