"""The explorer's page in a browser: filters, players, keyboard, narrow screens, and no requests to other servers.

SYNTHMIR_SCREENSHOTS=DIR keeps screenshots.
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
from ...builder.annotated import add_configs
from ..conftest import sound
from .explored import HOSTILE, make_run

pytestmark = pytest.mark.chromium

PLAYING = """
const player = document.querySelector(arguments[0]);
return player && !player.paused && player.currentTime > 0.15 ? [player.src, player.currentTime] : null;
"""
# The place on the canvas of a point in the second genre's colour, in CSS pixels.
ROCK = """
const [canvas] = arguments, { width, height } = canvas, copy = document.createElement("canvas");
Object.assign(copy, { width, height });
const context = copy.getContext("2d", { willReadFrequently: true });
context.drawImage(canvas, 0, 0);
const { data } = context.getImageData(0, 0, width, height);
const hasColour = (at) => Math.abs(data[at] - 0xE6) < 8 && Math.abs(data[at + 1] - 0x9F) < 8 && data[at + 2] < 8;
for (let at = 0; at < data.length; at += 4)
  if (data[at + 3] > 200 && hasColour(at) && hasColour(at + 8) && hasColour(at + 8 * width))
    return [at / 4 % width + 1, Math.floor(at / 4 / width) + 1].map((pixels) => pixels * canvas.clientWidth / width);
return null;
"""
TAB = """
const find = (selector) => [...document.querySelectorAll(selector)].find(
  (button) => button.textContent.trim() === arguments[0] && button.offsetParent);
const button = find("button[role=tab]") || find(".overflow-dropdown button");
if (button) button.click(); else document.querySelector(".overflow-menu > button")?.click();
return Boolean(button);
"""
PLAYER = "document.querySelector('#selected-clip audio')"
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
OTHER_SERVERS = """return performance.getEntriesByType("resource").map(entry => entry.name)
    .filter(name => !name.startsWith(location.origin) && !/^(data|blob):/.test(name))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio") if not os.environ.get("SYNTHMIR_NO_SKIP") else None
    from evaluation.explorer.clip_table import Clips
    from evaluation.explorer.server import running_server

    folder = tmp_path_factory.mktemp("runs")
    run, other = make_run(folder / "explored", seconds=4.0), make_run(folder / "other", shift=40)
    add_configs(run / "corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with running_server(Clips.open(run), Clips.open(other), port=0) as served:
            yield served


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chrome(tmp_path_factory.mktemp("browser") / "profile") as driver:
        yield driver


# What Gradio logs when an upload ends, and when a page is left before the server has answered.
GRADIO_MESSAGES = ("Method not implemented", "AbortError: signal is aborted", "Connection errored out")


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.set_window_size(1280, 1000)
    browser.get(address)
    wait_until(browser, lambda: browser.find_elements("css selector", "#clip-table button.select"))
    wait_until(
        browser, lambda: browser.find_elements("css selector", "ol.neighbours li")
    )  # the last request of a new page
    yield browser
    messages = [
        entry
        for entry in browser.get_log("browser")
        if not any(message in entry["message"] for message in GRADIO_MESSAGES)
    ]
    assert messages == []
    assert browser.execute_script(OTHER_SERVERS) == []
    assert browser.title == "explored"  # no script in the corpus ran


def wait_until(browser: Any, condition: Callable[[], Any], seconds: float = 120) -> Any:
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(browser, seconds, 0.1, ignored_exceptions=[StaleElementReferenceException])
    return waiting.until(lambda _: condition())


def wait_for_player(browser: Any, selector: str = "#selected-clip audio") -> str:
    """Wait until a player plays, and return the address that it plays."""
    return wait_until(browser, lambda: browser.execute_script(PLAYING, selector))[0]


def clip_count(browser: Any) -> str:
    return browser.find_element("id", "count").text


def open_tab(browser: Any, name: str) -> None:
    """Open a tab, through the menu if there is no room for it."""
    wait_until(browser, lambda: browser.execute_script(TAB, name))


def save_screenshot(browser: Any, folder: Path, name: str) -> None:
    folder = Path(os.environ.get("SYNTHMIR_SCREENSHOTS") or folder)
    folder.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(folder / f"explorer-{name}.png"))


def test_a_stem_is_muted_and_the_playhead_moves(page: Any):
    page.find_elements("css selector", "#clip-table button.select")[2].click()
    wait_for_player(page)
    roll = "return document.querySelector('#selected-clip img.roll').naturalWidth"
    wait_until(page, lambda: page.execute_script(roll) > 100)
    wait_until(page, lambda: len(page.find_elements("css selector", "#selected-clip button[data-stem]")) == 5)
    line = "parseFloat(document.querySelector('#selected-clip .playhead').style.left)"
    page.execute_script(f"{PLAYER}.loop = true")
    wait_until(page, lambda: page.execute_script(f"return Math.abs({line} - 25 * {PLAYER}.currentTime) < 5"))
    button = page.find_element("css selector", "#selected-clip button[data-stem=drums]")
    page.execute_script("arguments[0].click()", button)
    assert page.execute_script(f"return {PLAYER}.muted") and button.get_attribute("aria-pressed") == "false"
    page.execute_script("arguments[0].click()", button)
    assert not page.execute_script(f"return {PLAYER}.muted")


def test_filter_select_and_play(page: Any):
    assert page.execute_script(
        "return [...document.querySelectorAll('audio')].every(player => player.preload === 'none')"
    )
    assert clip_count(page) == "28 of 28 clips, page 1 of 2"
    page.find_element("css selector", "input[placeholder^=words], textarea[placeholder^=words]").send_keys("onerror")
    wait_until(page, lambda: clip_count(page) == "2 of 28 clips")
    shown = page.find_element("css selector", "#clip-table .prompt span")
    assert shown.get_property("textContent") == HOSTILE
    page.find_elements("css selector", "#clip-table button.select")[1].click()
    assert wait_for_player(page).endswith("/3.flac")
    assert page.find_element("css selector", "#selected-clip blockquote").get_property("textContent") == HOSTILE
    wait_until(
        page, lambda: page.execute_script("return document.querySelector('#selected-clip img').naturalWidth") > 100
    )
    page.execute_script(f"{PLAYER}.currentTime = 3")  # needs the server's support of ranges
    wait_until(
        page, lambda: page.execute_script(f"return {PLAYER}.currentTime >= 3 && {PLAYER}.seekable.end(0) > 3.9")
    )


def test_range_filters_and_empty_fields(page: Any):
    from selenium.webdriver.common.keys import Keys

    next(b for b in page.find_elements("css selector", "button") if b.text.startswith("More filters")).click()
    minimum, maximum = wait_until(page, lambda: page.find_elements("css selector", "#tabs [placeholder=any]")[:2])
    wait_until(page, lambda: minimum.is_displayed())
    assert minimum.get_property("value") == maximum.get_property("value") == ""
    minimum.send_keys("100")
    wait_until(page, lambda: clip_count(page) == "8 of 28 clips")  # tempi are 90 to 103, in both genres
    maximum.send_keys("101")
    wait_until(page, lambda: clip_count(page) == "4 of 28 clips")
    for field in (minimum, maximum):
        field.send_keys(Keys.BACKSPACE * 3)
    wait_until(page, lambda: clip_count(page) == "28 of 28 clips, page 1 of 2")


def test_neighbours_play_one_at_a_time_and_can_be_selected(page: Any):
    page.find_elements("css selector", "#clip-table button.select")[4].click()
    first = wait_for_player(page)
    page.execute_script("document.querySelector('ol.neighbours audio').play()")
    neighbour = wait_for_player(page, "ol.neighbours audio")
    assert neighbour != first and page.execute_script(f"return {PLAYER}.paused")
    button = page.find_element("css selector", "ol.neighbours button.select")
    page.execute_script("arguments[0].click()", button)
    wait_until(page, lambda: wait_for_player(page) == neighbour)


def test_the_keyboard_selects_moves_on_the_map_and_plays(page: Any):
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
    assert wait_for_player(page).endswith("/2.flac")
    open_tab(page, "Map")
    wait_until(page, lambda: page.find_element("css selector", ".map canvas").is_displayed())
    wait_until(page, lambda: "28 of 28 clips" in page.find_element("id", "tabs").text)
    for _ in range(10):
        press(Keys.TAB)
        if page.execute_script("return document.activeElement.tagName") == "CANVAS":
            break
    press(Keys.ARROW_RIGHT)
    press(Keys.ARROW_LEFT, Keys.ARROW_UP)
    status = page.find_element("css selector", ".map .status").text
    assert status.partition(": ")[0] in ("electronica", "rock")
    press(Keys.ENTER)
    wait_until(page, lambda: page.find_element("css selector", "#selected-clip .id").text == status.partition(": ")[2])
    wait_for_player(page)


def test_a_click_on_the_map_plays_that_clip(page: Any, tmp_path: Path):
    from selenium.webdriver.common.action_chains import ActionChains

    open_tab(page, "Map")
    canvas = wait_until(page, lambda: page.find_element("css selector", ".map canvas"))
    wait_until(page, lambda: "28 of 28 clips" in page.find_element("id", "tabs").text)
    save_screenshot(page, tmp_path, "map")
    wait_until(page, lambda: page.execute_script(ROCK, canvas))
    x, y = page.execute_script(ROCK, canvas)
    middle_x, middle_y = canvas.size["width"] / 2, canvas.size["height"] / 2
    move = ActionChains(page).move_to_element_with_offset(canvas, round(x - middle_x), round(y - middle_y))
    move.click().perform()
    genre, _, chosen = page.find_element("css selector", ".map .status").text.partition(": ")
    assert genre == "rock" and chosen.startswith("rock-")
    wait_until(page, lambda: page.find_element("css selector", "#selected-clip .id").text == chosen)
    wait_for_player(page)


def test_an_uploaded_file_is_classified(page: Any, tmp_path: Path):
    file = tmp_path / "mine.wav"
    soundfile.write(file, np.concatenate([sound(0, 1, 13.0), sound(2, 2, 12.0)]), 32_000)
    open_tab(page, "Your audio")
    chooser = wait_until(page, lambda: page.find_elements("css selector", "#upload input[type=file]"))[0]
    chooser.send_keys(str(file))
    predictions = page.find_element("id", "predictions")
    wait_until(page, lambda: "window" in predictions.text, 60)
    assert "mine.wav" in predictions.text and "electronica" in predictions.text
    windows = predictions.find_elements("css selector", "svg.timeline rect")
    assert len(windows) >= 4
    page.execute_script("arguments[0].scrollIntoView()", windows[-1])
    windows[-1].click()  # plays from that window
    wait_for_player(page, "#predictions audio")
    assert page.execute_script("return document.querySelector('#predictions audio').currentTime") > 10
    save_screenshot(page, tmp_path, "own-audio")


def test_a_clip_is_generated(page: Any, tmp_path: Path):
    open_tab(page, "Generate")
    field = wait_until(
        page, lambda: next(f for f in page.find_elements("css selector", "textarea") if f.is_displayed())
    )
    button = next(b for b in page.find_elements("css selector", "button") if b.text == "Generate with arranger")
    button.click()
    wait_until(page, lambda: "the prompt is empty" in page.find_element("id", "generated-clip").text)
    field.send_keys("A dark rock track at 140 BPM <img src=x onerror=alert(1)>")
    button.click()
    assert "/sound/" in wait_until(page, lambda: wait_for_player(page, "#generated-clip audio"), 60)
    assert "<img src=x onerror=alert(1)>" in page.find_element("id", "generated-clip").text
    save_screenshot(page, tmp_path, "generated")


def test_two_corpora_are_compared(page: Any, tmp_path: Path):
    open_tab(page, "Compare")
    wait_until(page, lambda: "explored compared with other" in page.find_element("id", "tabs").text, 60)
    assert "Fréchet distance" in page.find_element("id", "tabs").text
    save_screenshot(page, tmp_path, "compare")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_widths_and_colours(page: Any, tmp_path: Path, scheme: str):
    preferred = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", preferred)
    page.refresh()
    wait_until(page, lambda: page.find_elements("css selector", "ol.neighbours li"))
    page.execute_script("document.querySelector('#clip-table button.select').click()")
    shade = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    levels = [int(part) for part in shade[shade.index("(") + 1 : -1].split(",")[:3]]
    assert (sum(levels) < 300) == (scheme == "dark")
    for width in (1280, 390, 360):
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 700}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for name in ("Map", "Duplicates", "Generate", "Your audio", "Compare", "Clips"):
            open_tab(page, name)
            wait_until(page, lambda: page.execute_script(OVERFLOW) <= 0, 10)
            assert page.execute_script(f"return {PLAYER}.getBoundingClientRect().right") <= width
        save_screenshot(page, tmp_path, f"{width}-{scheme}")
