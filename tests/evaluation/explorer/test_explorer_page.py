"""The explorer's page over HTTP: what it answers, what it refuses, and that words stay words."""

from __future__ import annotations

import html
import http.client
import inspect
import io
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.audio import encode_flac
from builder.errors import BackendError, DataError, RecipeError
from builder.recipe import Recipe
from evaluation.explorer.cards import Cards, text, word
from evaluation.explorer.clip_table import Clips
from evaluation.explorer.framework import load_gradio
from evaluation.explorer.own import uploaded
from evaluation.explorer.page import Page
from evaluation.explorer.server import _listen, ranged, running
from evaluation.explorer.shelf import Shelf
from evaluation.explorer.studio import Studio
from evaluation.explorer.timeline import Listener, account, borders

from ..conftest import sound
from .explored import HOSTILE, make_run

ESCAPED = html.escape(HOSTILE.split(" ../")[0])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "explored")


@pytest.fixture(scope="module")
def clips(run: Path) -> Clips:
    return Clips.open(run)


@pytest.fixture(scope="module")
def served(run: Path, clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    other = make_run(tmp_path_factory.mktemp("runs") / "other", shift=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with running(clips, Clips.open(other), port=0) as address:
            yield address


@pytest.fixture(scope="module")
def client(served: str) -> Any:
    from gradio_client import Client

    return Client(served, verbose=False)


def get(address: str, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Status, headers and body of a path that is sent as it stands."""
    host, _, port = address.removeprefix("http://").rstrip("/").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=240)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def side(address: str) -> str:
    """The corpus's name in the addresses of its sounds."""
    page = get(address, "/")[2].decode()
    return page.split("clip/")[1].split("/")[0]


# Served


def test_the_page_is_served_with_words_as_text_and_asks_nobody_else(served: str):
    status, headers, page = get(served, "/")
    assert status == 200
    assert b"<img src=x" not in page and b"\\u003cimg src=x" not in page
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert b"fonts.googleapis" not in page and b"cdn.jsdelivr" not in page


def test_building_the_page_reads_no_sound(clips: Clips, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Clips, "audio", lambda *_: pytest.fail("read a clip"))
    monkeypatch.setattr(Clips, "map", lambda *_: pytest.fail("laid out the map"))
    Page(clips, None).build()


def test_a_clip_is_served_as_it_is_stored_and_in_parts(served: str, clips: Clips):
    path = f"/clip/{side(served)}/3.flac"
    stored = clips.audio(3)[0]
    status, headers, body = get(served, path)
    assert (status, body, headers["content-type"]) == (200, stored, "audio/flac")
    status, headers, body = get(served, path, Range="bytes=100-199")
    assert (status, body) == (206, stored[100:200])
    assert headers["content-range"] == f"bytes 100-199/{len(stored)}"
    assert get(served, path, Range=f"bytes={len(stored)}-")[0] == 416


def test_a_spectrogram_is_a_png(served: str):
    status, headers, body = get(served, f"/clip/{side(served)}/3.png")
    assert (status, headers["content-type"], body[:4]) == (200, "image/png", b"\x89PNG")


@given(data=st.binary(max_size=40), start=st.integers(0, 50), length=st.integers(0, 50), tail=st.booleans())
def test_ranges_are_slices(data: bytes, start: int, length: int, tail: bool):
    asked = f"bytes=-{start}" if tail else f"bytes={start}-{start + length}"
    wanted = data[max(0, len(data) - start) :] if tail else data[start : start + length + 1]
    answer = ranged(data, "audio/flac", asked)
    assert (answer.status_code, answer.body) == ((206, wanted) if wanted else (416, b""))


@pytest.mark.parametrize(
    "asked", ["", "bytes", "bytes=", "bytes=a-b", "bytes=1-2,4-5", "bytes=--1", "lines=1-2", "bytes=²-"]
)
def test_a_range_that_is_none_gets_the_whole(asked: str):
    assert (ranged(b"sound", "audio/flac", asked).status_code, ranged(b"sound", "audio/flac", asked).body) == (
        200,
        b"sound",
    )


# Refused


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=../../../../etc/passwd", "/gradio_api/file/etc/passwd",
        "/gradio_api/file=%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/gradio_api/file%3D/etc/passwd",
        "/gradio_api/file=file:///etc/passwd", "/gradio_api/file=http://127.0.0.1:1/", "/gradio_api/proxy=http://127.0.0.1:1/",
        "/static/../../../../../../../etc/passwd", "/assets/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/svelte/..%2f..%2f..%2f..%2fetc%2fpasswd", "/clip/../../etc/passwd", "/clip/SIDE/..%2f..%2fetc%2fpasswd",
        "/clip/SIDE/28.flac", "/clip/SIDE/-1.flac", "/clip/SIDE/0.wav", "/clip/SIDE/99999999999999999999.png",
        "/clip/x/0.flac",
        "/sound/none.flac", "/sound/..%2f..%2fetc%2fpasswd.flac", "/file=/etc/passwd", "/monitoring",
        "/gradio_api/runs",
    ],
)  # fmt: skip
def test_what_lies_outside_the_run_is_refused(served: str, path: str):
    status, _, body = get(served, path.replace("SIDE", side(served)))
    assert 400 <= status < 500 and b"root:" not in body


def test_an_address_to_fetch_is_not_fetched(served: str):
    for path in ("/?url=file:///etc/passwd", "/?file=/etc/passwd"):
        assert b"root:" not in get(served, path)[2]


def test_another_host_name_is_refused(served: str):
    """A page elsewhere whose name points here (DNS rebinding) gets nothing."""
    assert get(served, "/", Host="evil.example:80")[0] == 400
    assert get(served, "/", Host="localhost")[0] == 200


def test_a_path_in_place_of_an_upload_is_refused(served: str):
    body = b'{"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]}'
    asked = urllib.request.Request(f"{served}gradio_api/call/listen", body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        event = answer.read().decode().split('"')[3]
    with urllib.request.urlopen(f"{served}gradio_api/call/listen/{event}") as answer:
        told = answer.read()
    assert b"event: error" in told and b"root:" not in told
    assert not uploaded("/etc/passwd") and Path("/etc/passwd").exists()


def test_it_listens_on_this_machine_alone(served: str):
    assert served.startswith("http://127.0.0.1:")
    assert inspect.signature(running).parameters["host"].default == "127.0.0.1"
    with _listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_told(clips: Clips):
    with _listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with (
            pytest.raises(BackendError, match=f"127.0.0.1:{port}: cannot be listened on") as told,
            running(clips, port=port),
        ):
            pass
    assert "--port" in told.value.fix
    with pytest.raises(BackendError, match="no such address"), running(clips, host="no such host", port=0):
        pass


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(BackendError, match="gradio") as told:
        load_gradio()
    assert "--extra explorer" in told.value.fix


def test_looking_up_files_is_as_before_once_gradio_is_there():
    gradio = load_gradio()
    assert Path(inspect.getfile(gradio.Blocks)).name == "blocks.py"
    assert gradio.analytics.analytics_enabled() is False


# Words


@given(st.text())
def test_text_stays_text(words: str):
    shown = text(words)
    assert html.unescape(shown) == words
    assert not set(shown) & set("<>\"'{}$`\\")


def test_missing_labels_are_empty(clips: Clips):
    row = Cards(clips, "a").row(int(clips.filter(text="rock-003")[0]))
    assert word(row["tempo_bpm"], "tempo_bpm") == "" and word(row["key"]) == "" and word(()) == ""
    assert word(row["loudness"], "loudness") == "-23.0 LUFS" and word(np.float32("nan")) == ""


def test_every_card_escapes(clips: Clips):
    cards = Cards(clips, "a")
    hostile = clips.filter(text="onerror").tolist()
    assert len(hostile) == 2
    for shown in (
        cards.table(hostile, None), cards.chosen(hostile[0]), cards.small(hostile[0]), cards.pairs([(*hostile, 1.0)]),
        cards.neighbours([(hostile[1], 0.5)]),
    ):  # fmt: skip
        assert "<img src=x" not in shown and "{{" not in shown and "${" not in shown
        assert ESCAPED in shown


# Browsing


FREE: tuple[Any, ...] = ("", [], [], [], [], [], [], "", "", "", "", "")


def test_filters_through_the_api(client: Any, clips: Clips):
    table, told = client.predict("number 4", *FREE[1:], api_name="/browse")[:2]
    assert told.startswith('<p role="status" class="soft">2 of 28 clips') and table.count("<tr") == 3
    assert "28 of 28 clips, page 1 of 2" in client.predict(*FREE, api_name="/browse")[1]
    hostile = client.predict("onerror", *FREE[1:], api_name="/browse")[0]
    assert ESCAPED in hostile and "<img src=x" not in hostile
    assert "No clip fits" in client.predict("nothing such", *FREE[1:], api_name="/browse")[0]


@pytest.mark.parametrize(
    ("at", "value", "same"),
    [
        (1, ["rock"], {"genre": "rock"}), (2, ["techno"], {"subgenre": "techno"}), (3, ["dark"], {"mood": "dark"}),
        (4, ["violin"], {"instruments": "violin"}), (5, ["instrumental"], {"vocals": "instrumental"}),
        (6, ["validation"], {"split": "validation"}), (7, "100", {"tempo": (100, None)}),
        (8, "95,0", {"tempo": (None, 95)}),
        (9, "-22", {"loudness": (-22, None)}), (10, " -30 ", {"loudness": (None, -30)}),
        (11, "1", {"attempts": (None, 1)}),
    ],
)  # fmt: skip
def test_each_field_filters_what_it_says(clips: Clips, at: int, value: Any, same: dict[str, Any]):
    page = Page(clips, None)
    found = page.matching((*FREE[:at], value, *FREE[at + 1 :]))
    assert 0 < len(found) < len(clips)
    assert found.tolist() == clips.filter(**same).tolist()


def test_what_is_no_number_is_told_and_asks_for_nothing(clips: Clips):
    page = Page(clips, None)
    told = page.browse([page.sides[0], 0], *FREE[:7], "<b>fast", "", "nan", "", "")[1]
    assert "28 of 28 clips" in told and told.count('role="alert"') == 2
    assert "&lt;b&gt;fast: not a number" in told and "nan: not a number" in told


def test_pages_turn_and_stop_at_the_ends(clips: Clips):
    page = Page(clips, None)
    chosen = [page.sides[0], 0]
    turn = page.turning(1)
    _, told, number = turn(0, chosen, *FREE)
    assert number == 1 and "page 2 of 2" in told
    assert turn(number, chosen, *FREE)[2] == 1 and page.turning(-1)(0, chosen, *FREE)[2] == 0


def test_next_and_previous_walk_what_the_filters_let_through(clips: Clips):
    page = Page(clips, None)
    rock = clips.filter(genre="rock").tolist()
    values = ("", ["rock"], *FREE[2:])
    place, seen = [page.sides[0], rock[0]], []
    for _ in rock:
        card, place = page.stepping(1)(place, *values)
        seen.append(place[1])
        assert f'src="clip/{place[0]}/{place[1]}.flac"' in card
    assert seen == [*rock[1:], rock[0]]
    assert page.stepping(-1)([page.sides[0], rock[0]], *values)[1][1] == rock[-1]
    assert page.stepping(1)(place, "nothing such", *FREE[1:])[1] == place


def test_neighbours_are_shown_only_where_they_are_looked_at(clips: Clips, monkeypatch: pytest.MonkeyPatch):
    page = Page(clips, None)
    place = [page.sides[0], 5]
    near, table = page.beside(True, place, 0, *FREE)
    found = clips.neighbours(5, 6)
    assert [near.index(f'position="{position}"') for position, _ in found] == sorted(
        near.index(f'position="{position}"') for position, _ in found
    )
    assert table.count('aria-current="true"') == 1
    monkeypatch.setattr(Clips, "neighbours", lambda *_: pytest.fail("looked"))
    assert page.beside(False, place, 0, *FREE)[0] == ""


def test_duplicates_stand_side_by_side(client: Any, clips: Clips):
    twins = clips.filter(text="rock-00")[:2].tolist()
    shown = client.predict(0.999, False, api_name="/duplicates")
    first = shown.split("</section>")[0]
    assert "cosine 1.000" in first and all(f'data-position="{position}"' in first for position in twins)


def test_two_corpora_are_compared(client: Any):
    distances, points, tables = client.predict(api_name="/compare")
    assert "explored against other" in distances and "distance" in distances
    assert len(points["x"]) == len(points["ids"]) == 56 and set(points["side"]) == {0, 1}
    assert "rock" in tables and "LUFS" in tables


# Clips from a prompt


def test_a_clip_from_a_prompt_can_be_heard(client: Any, served: str):
    prompt = f"A hopeful indie rock track at 120 BPM {HOSTILE}"
    made = client.predict(prompt, 7, "", "", "", [], "", "", "", api_name="/generate")
    assert ESCAPED in made and "<img src=x" not in made and "120" in made and "from the text" in made
    status, _, body = get(served, f"/sound/{made.split('sound/')[1].split('.flac')[0]}.flac")
    samples, rate = soundfile.read(io.BytesIO(body))
    assert (status, rate, len(samples)) == (200, 32_000, 64_000) and np.abs(samples).max() > 0.05


@pytest.mark.parametrize(
    ("prompt", "genre", "tempo", "told"),
    [
        ("", "rock", "", "the prompt is empty"), ("  \n ", "rock", "", "the prompt is empty"),
        ("something quiet", "", "", "names no genre"), ("rock", "rock", "1000", "tempo: "),
    ],
)  # fmt: skip
def test_a_prompt_that_cannot_be_played_is_told_on_the_page(
    client: Any, prompt: str, genre: str, tempo: Any, told: str
):
    shown = client.predict(prompt, 0, genre, "", "", [], tempo, "", "", api_name="/generate")
    assert 'role="alert"' in shown and told in shown and "Traceback" not in shown


def test_labels_are_read_from_the_text_and_chosen_ones_come_first(clips: Clips):
    studio = Studio(clips.recipe)
    asked, used = studio.read("Dark hard rock with drum machine and pianos in F# minor at 96 bpm, no vocals", "", {})
    assert (asked.genre, asked.subgenre, asked.tempo_bpm, asked.key) == ("rock", "hard rock", 96, "F# minor")
    assert set(asked.instruments) == {"drum machine", "piano"} and asked.vocals == "instrumental"
    asked, used = studio.read("rock at 96 bpm", "funk", {"tempo_bpm": 120, "instruments": ["piano"]})
    assert (asked.genre, asked.tempo_bpm, asked.instruments) == ("funk", 120, ("piano",))
    assert ("tempo", "120", "chosen") in used and ("key", "left open", "drawn by the seed") in used
    with pytest.raises(RecipeError, match="no genre 'polka'"):
        studio.read("a polka", "polka", {})
    with pytest.raises(RecipeError, match="characters"):
        studio.read("rock " * 1000, "rock", {})


def test_the_same_prompt_and_seed_make_the_same_clip(clips: Clips):
    studio = Studio(clips.recipe)
    first, again, other = (studio.make("a rock song", "", seed, {}).samples for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_generator_that_reads_gets_the_text_and_its_missing_weights_are_told(tmp_path: Path):
    recipe = Recipe.load("demo").with_options(
        {"generator.name": "musicgen", "generator.model": str(tmp_path / "none")}
    )
    studio = Studio(recipe)
    asked, used = studio.read("any words at all", "", {"tempo_bpm": 120})
    assert (asked.text, asked.tempo_bpm, used) == (
        "any words at all",
        None,
        [("text", "any words at all", "as typed")],
    )
    with pytest.raises(BackendError):
        studio.make("any words at all", "", 0, {})


# Recordings of one's own


@pytest.fixture(scope="module")
def listener(clips: Clips) -> Listener:
    assert clips.model is not None
    return Listener(clips.model)


def test_windows_of_a_recording_agree_with_the_classifier(tmp_path: Path, listener: Listener, clips: Clips):
    from evaluation.inference.predict import load_model_embedder, predict_audio
    from training.models.classifier import load_model

    file = tmp_path / "long.wav"
    wave = np.concatenate([sound(0, 1, 13.0), sound(2, 1, 14.0)])
    soundfile.write(file, np.stack([wave, wave], 1), 32_000, subtype="FLOAT")
    heard = listener.hear(file)
    model = load_model(clips.model)
    expected = predict_audio(model, load_model_embedder(model), wave)
    np.testing.assert_allclose(heard.answer, expected, atol=1e-6)
    np.testing.assert_allclose(heard.values.mean(axis=0), heard.answer, atol=1e-9)
    np.testing.assert_allclose(heard.values.sum(axis=1), 1.0)
    edges = borders(heard)
    assert edges[0] == 0 and edges[-1] == heard.seconds == 27.0 and (np.diff(edges) > 0).all()
    assert heard.ends[-1] == 27.0 and (heard.ends - heard.starts == heard.ends[0]).all()
    shown = account(heard, HOSTILE, "sound/x.flac")
    assert shown.count("<tr>") == len(heard.values) and "<img src=x" not in shown and ESCAPED in shown


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_other_models_are_drawn_as_lines(tmp_path: Path, corpus: Path, problem: str, request: pytest.FixtureRequest):
    model = request.getfixturevalue("tagger" if problem.startswith("multi") else "metronome")
    file = tmp_path / "short.wav"
    soundfile.write(file, sound(1, 3, 0.5), 32_000)
    heard = Listener(model).hear(file)
    shown = account(heard, "short.wav", None)
    assert len(heard.values) == 1 and "<polyline" in shown and "<audio" not in shown
    assert (" bpm" in shown) == (problem == "regression")


def test_a_recording_is_heard_through_the_api_and_deleted(client: Any, served: str, tmp_path: Path):
    from gradio_client import handle_file

    file = tmp_path / "mine.flac"
    file.write_bytes(encode_flac(sound(0, 5, 3.0), 32_000))
    shown = client.predict(handle_file(str(file)), api_name="/listen")
    assert "<svg" in shown and "mine.flac" in shown and "electronica" in shown
    status, _, body = get(served, f"/sound/{shown.split('sound/')[1].split('.flac')[0]}.flac")
    assert status == 200 and len(soundfile.read(io.BytesIO(body))[0]) == 96_000
    assert not list(Path(os.environ["GRADIO_TEMP_DIR"]).rglob("mine.flac"))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("broken.wav", b"RIFF....WAVEjunk", "cannot be read as audio"), ("empty.mp3", b"", "cannot be read as audio"),
        ("notes.txt", b"words", "not a kind of file"), ("<b>x.wav", b"no", "cannot be read as audio"),
    ],
)  # fmt: skip
def test_a_broken_recording_is_told_on_the_page(client: Any, tmp_path: Path, name: str, content: bytes, told: str):
    from gradio_client import handle_file

    file = tmp_path / name
    file.write_bytes(content)
    shown = client.predict(handle_file(str(file)), api_name="/listen")
    assert 'role="alert"' in shown and told in shown
    assert "/tmp" not in shown and "Traceback" not in shown and "<b>x" not in shown


def test_a_recording_that_would_not_fit_is_refused(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
):
    from evaluation.explorer import timeline

    monkeypatch.setattr(timeline, "MAX_SAMPLES", 1000)
    file = tmp_path / "long.wav"
    soundfile.write(file, np.zeros(2000), 8000)
    with pytest.raises(DataError, match="more than fits"):
        listener.hear(file)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 60))
def test_the_shelf_forgets_the_oldest(sizes: list[int], capacity: int):
    shelf = Shelf(capacity)
    names = [shelf.put(bytes(size)) for size in sizes]
    kept = [shelf.get(name) for name in names]
    assert kept[-1] == bytes(sizes[-1])  # the newest is always there
    there = [found is not None for found in kept]
    assert there == sorted(there)
    assert sum(there) == 1 or sum(len(found) for found in kept if found is not None) <= capacity
