"""What is played in a clip, in the explorer: piano roll, marks, stems and production, which follow the player."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from builder.annotations.annotation import Annotation, Segments
from builder.corpus.corpus import write_sums
from builder.errors import DataError
from evaluation.explorer.clip_table import Clips
from evaluation.explorer.page import ExplorerPage
from evaluation.explorer.static_page import write_static_page
from evaluation.rendering.piano_roll import COLOURS, describe_annotation, format_production, render_piano_roll

from ...browser import chrome
from ...builder.annotated import add_configs, annotate
from ...builder.annotations.test_annotation import make_annotation
from ...builder.annotations.test_jams import assert_close
from .explored import HOSTILE, SHARDS, make_run, rewrite
from .test_explorer_page import NO_FILTERS, get, side

PRODUCTION = json.dumps({"loudness": -17.2, "space": {"seconds": 1.1, "note": HOSTILE}, "vocals": None})
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 28 clips with the configs `annotations` and `stems` and the column `production`."""
    run = make_run(tmp_path_factory.mktemp("played") / "explored", seconds=4.0)
    for shard in SHARDS:
        rewrite(
            run / "corpus" / shard,
            lambda table: table.append_column("production", pa.array([PRODUCTION] * len(table))),
        )
    add_configs(run / "corpus")
    write_sums(run / "corpus", {})
    return run


@pytest.fixture(scope="module")
def clips(played: Path) -> Clips:
    return Clips.open(played)


@pytest.fixture(scope="module")
def site(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "page"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "explorer-cache"))
        write_static_page(clips, out)
    return out


def test_the_rows_of_a_clip_are_read_whatever_clips_are_shown(played: Path, clips: Clips):
    few = Clips.open(played, limit=6)
    for opened in (clips, few):
        for position, identity in enumerate(opened.table["id"]):
            number = clips.table["id"].tolist().index(identity)
            found = opened.read_annotation(position)
            assert found is not None
            assert_close(found, annotate(identity, number))
            stems = ("drums",) if number == 1 else ("drums", "bass", "harmony", "vocals", "melody")
            assert opened.list_stems(position) == stems and opened.read_production(position) == PRODUCTION
            data, suffix = opened.read_stem(position, "drums")
            assert data.startswith(b"fLaC") and suffix == ".flac"
    assert clips.read_stem(1, "drums") != clips.read_stem(2, "drums")
    with pytest.raises(DataError, match="has no stem 'vocals'"):
        clips.read_stem(1, "vocals")


def test_without_the_configs_there_is_nothing_to_show(tmp_path: Path, played: Path):
    bare = Path(shutil.copytree(played / "corpus", tmp_path / "bare"))
    for name in ("annotations", "stems"):
        shutil.rmtree(bare / name)
    for shard in SHARDS:
        rewrite(bare / shard, lambda table: table.drop_columns(["production"]))
    write_sums(bare, {})
    opened = Clips.open(bare)
    assert opened.read_annotation(3) is None and opened.list_stems(3) == () and opened.read_production(3) == ""
    write_static_page(Clips.open(bare, limit=2), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["README.md", "audio", "index.html", "pictures"]
    assert not list((tmp_path / "out/pictures").glob("*.svg"))


def test_annotations_of_another_clip_are_an_error(tmp_path: Path, played: Path):
    odd = Path(shutil.copytree(played / "corpus", tmp_path / "odd"))
    rewrite(odd / "annotations" / Path(SHARDS[0]).name, lambda table: table.take(list(range(len(table)))[::-1]))
    opened = Clips.open(odd)
    with pytest.raises(DataError, match=r"annotations/train-.*: row 0 is not of"):
        opened.read_annotation(0)
    page = ExplorerPage(opened)
    assert 'role="alert"' in page.update(False, (page.context.sides[0], 0), 0, *NO_FILTERS)[2]


def test_the_piano_roll_draws_what_is_played():
    annotation = replace(make_annotation(), chords=Segments(np.zeros(1), np.full(1, 2.0), ("<A&:min7",)))
    root = ElementTree.fromstring(render_piano_roll(annotation))
    lines = [float(path.attrib["d"].partition("V")[0].split()[0][1:]) for path in root.iter(f"{SVG}path")]
    assert annotation.beats is not None
    np.testing.assert_allclose(lines, annotation.beats / 2 * 480, atol=0.06)
    assert [text.text for text in root.iter(f"{SVG}text")] == ["<A&:min7"]
    colours = [rect.attrib["fill"] for rect in root.iter(f"{SVG}rect")]
    assert colours[-2:] == [COLOURS["harmony"], COLOURS["drums"]]
    piano = list(root.iter(f"{SVG}rect"))[-2]
    assert float(piano.attrib["x"]) == pytest.approx(0.012 / 2 * 480, abs=0.06)
    assert float(piano.attrib["width"]) == pytest.approx((0.4 - 0.012) / 2 * 480, abs=0.11)
    assert len(ElementTree.fromstring(render_piano_roll(Annotation("nothing", 0.0)))) == 1


def test_what_is_played_is_described():
    assert describe_annotation(make_annotation()) == "A:minor · 120 bpm · 4/4 · A:min7, D:maj"
    assert describe_annotation(Annotation("nothing", 1.0)) == ""
    assert format_production(PRODUCTION).startswith("loudness: -17.2\nspace: seconds 1.1, note <img")
    assert format_production("[1") == "[1" and format_production("[1]") == "[1]"


def test_the_static_page_has_the_pictures_the_stems_and_the_production(site: Path, clips: Clips):
    names = [f"{position:05d}" for position in range(len(clips))]
    assert sorted(p.name for p in (site / "pictures").glob("*.svg")) == [f"{name}.svg" for name in names]
    assert (site / "stems/00001-0.flac").read_bytes() == clips.read_stem(1, "drums")[0]
    assert len(list((site / "stems").iterdir())) == 1 + 5 * 27
    assert (site / "production/00002.txt").read_text() == format_production(PRODUCTION) + "\n"
    assert HOSTILE not in (site / "index.html").read_text()


def test_the_server_sends_them_when_they_are_asked_for(clips: Clips):
    from evaluation.explorer.server import running_server

    with running_server(clips, port=0) as address:
        name = side(address)
        status, headers, body = get(address, f"/clip/{name}/2.svg")
        annotation = clips.read_annotation(2)
        assert annotation is not None and (status, body.decode()) == (200, render_piano_roll(annotation))
        assert headers["content-type"] == "image/svg+xml"
        status, headers, body = get(address, f"/clip/{name}/2/bass.flac", Range="bytes=0-3")
        assert (status, headers["content-type"], body) == (206, "audio/flac", b"fLaC")
        for path in ("2/cello.flac", "99.svg", "1/bass.flac", "2/..%2Fbass.flac"):
            assert get(address, f"/clip/{name}/{path}")[0] == 404
    page = ExplorerPage(clips)
    rendered = page.update(False, (page.context.sides[0], 2), 0, *NO_FILTERS)[2]
    assert "A:minor · 102 bpm · 4/4" in rendered and rendered.count("data-stem=") == 5
    assert "<summary>Production</summary>" in rendered and "<img" not in rendered
    assert f'src="clip/{page.context.sides[0]}/2.svg"' in page.context.own_html.render_details(2)


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chrome(tmp_path_factory.mktemp("browser") / "profile") as driver:
        yield driver


STATE = """
const card = document.querySelector(arguments[0]), player = card.querySelector("audio");
const line = card.querySelector(".playhead");
return { time: player.currentTime, paused: player.paused, muted: player.muted, hidden: line.hidden,
  left: parseFloat(line.style.left) / 100 * player.duration, duration: player.duration,
  roll: card.querySelector("img.roll").naturalWidth };
"""
SPY = """
window.sounding = new Set();
const { play } = Audio.prototype;
window.Audio = new Proxy(Audio, { construct(target, values) {
  const stem = new target(...values);
  sounding.add(stem);
  return stem;
} });
"""
SOUNDING = """
return [...sounding].filter((stem) => !stem.paused && !stem.muted && stem.currentTime > 0).map((stem) => [
  stem.src.slice(-7), stem.currentTime]);
"""


def wait_for(browser: Any, condition: Any) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60, 0.02).until(lambda _: condition())


@pytest.mark.chromium
def test_the_playhead_and_the_stems_follow_the_player(site: Path, browser: Any):
    browser.get((site / "index.html").as_uri())
    browser.execute_script(SPY)
    card = "#selected-clip .clip"
    browser.execute_script("select(2, { play: true })")
    state = lambda: browser.execute_script(STATE, card)  # noqa: E731
    wait_for(browser, lambda: state()["time"] > 0.1 and state()["roll"] > 100)
    found = state()
    assert not found["hidden"] and abs(found["left"] - found["time"]) < 0.25
    line = browser.find_element("css selector", f"{card} .with-playhead")
    browser.execute_script(  # a click in the middle
        "const { left, width, top } = arguments[0].getBoundingClientRect(); arguments[0].dispatchEvent(new MouseEvent("
        "'click', { bubbles: true, clientX: left + width / 2, clientY: top + 5 }))",
        line,
    )
    assert state()["time"] == pytest.approx(state()["duration"] / 2, abs=0.5)
    browser.execute_script("document.querySelector('#selected-clip audio').loop = true")
    buttons = browser.find_elements("css selector", f"{card} .stems button")
    assert [button.text for button in buttons] == ["drums", "bass", "harmony", "vocals", "melody"]
    browser.execute_script("arguments[0].click()", buttons[0])
    wait_for(browser, lambda: len(browser.execute_script(SOUNDING)) == 4)
    sounding = browser.execute_script(SOUNDING)
    assert state()["muted"] and all(name != "-0.flac" for name, _ in sounding)
    browser.execute_script("document.querySelector('#selected-clip audio').pause()")
    wait_for(browser, lambda: browser.execute_script(SOUNDING) == [])
    times = browser.execute_script("return [...sounding].map((stem) => stem.currentTime)")
    assert np.ptp([*times, state()["time"]]) < 0.3
    browser.execute_script("arguments[0].click()", buttons[0])
    assert not state()["muted"] and buttons[0].get_attribute("aria-pressed") == "true"
    assert browser.get_log("browser") == []
