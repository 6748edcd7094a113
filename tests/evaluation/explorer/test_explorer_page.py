"""The explorer's page over HTTP: what it serves, what it refuses, and that text is escaped."""

from __future__ import annotations

import html
import http.client
import inspect
import io
import json
import os
import shutil
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
from builder.errors import BackendError
from evaluation.explorer.audio_cache import AudioCache
from evaluation.explorer.clip_html import ClipHtml
from evaluation.explorer.clip_table import Clips
from evaluation.explorer.gradio_loader import load_gradio
from evaluation.explorer.html_parts import escape, format_value
from evaluation.explorer.page import ExplorerPage
from evaluation.explorer.page_context import PageContext
from evaluation.explorer.server import create_range_response, open_socket, running_server
from evaluation.explorer.static_page import page_data
from evaluation.explorer.tabs.classify import is_upload
from evaluation.explorer.tabs.doubtful import render_doubtful

from ..conftest import FixedTagger, sound
from .explored import ESCAPED, HOSTILE, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "explored")


@pytest.fixture(scope="module")
def clips(run: Path) -> Clips:
    return Clips.open(run)


@pytest.fixture(scope="module")
def address(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    other = make_run(tmp_path_factory.mktemp("runs") / "other", shift=40)
    with running_server(clips, Clips.open(other), port=0) as served:
        yield served


@pytest.fixture(scope="module")
def client(address: str) -> Any:
    from gradio_client import Client

    return Client(address, verbose=False)


def get(address: str, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Status, headers and body of a path that is sent unchanged."""
    host, _, port = address.removeprefix("http://").rstrip("/").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=240)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def side(address: str) -> str:
    """The corpus's name in the addresses of its clips."""
    page = get(address, "/")[2].decode()
    return page.split("clip/")[1].split("/")[0]


# What is served


def test_the_page_escapes_text_and_uses_no_other_server(address: str):
    status, headers, page = get(address, "/")
    assert status == 200
    assert b"<img src=x" not in page and b"\\u003cimg src=x" not in page
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert b"fonts.googleapis" not in page and b"cdn.jsdelivr" not in page


def test_building_the_page_reads_no_audio(clips: Clips, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Clips, "read_audio", lambda *_: pytest.fail("read a clip"))
    monkeypatch.setattr(Clips, "map_points", lambda *_: pytest.fail("computed the map"))
    ExplorerPage(clips).build()


def test_a_clip_is_served_as_stored_and_in_parts(address: str, clips: Clips):
    path = f"/clip/{side(address)}/3.flac"
    stored = clips.read_audio(3)[0]
    status, headers, body = get(address, path)
    assert (status, body, headers["content-type"]) == (200, stored, "audio/flac")
    status, headers, body = get(address, path, Range="bytes=100-199")
    assert (status, body) == (206, stored[100:200])
    assert headers["content-range"] == f"bytes 100-199/{len(stored)}"
    assert get(address, path, Range=f"bytes={len(stored)}-")[0] == 416


def test_a_spectrogram_is_a_png(address: str):
    status, headers, body = get(address, f"/clip/{side(address)}/3.png")
    assert (status, headers["content-type"], body[:4]) == (200, "image/png", b"\x89PNG")


@given(data=st.binary(max_size=40), start=st.integers(0, 50), length=st.integers(0, 50), suffix=st.booleans())
def test_ranges_are_slices(data: bytes, start: int, length: int, suffix: bool):
    header = f"bytes=-{start}" if suffix else f"bytes={start}-{start + length}"
    expected = data[max(0, len(data) - start) :] if suffix else data[start : start + length + 1]
    response = create_range_response(data, "audio/flac", header)
    assert (response.status_code, response.body) == ((206, expected) if expected else (416, b""))


@pytest.mark.parametrize(
    "header", ["", "bytes", "bytes=", "bytes=a-b", "bytes=1-2,4-5", "bytes=--1", "lines=1-2", "bytes=²-"]
)
def test_an_unsupported_range_header_gets_all_bytes(header: str):
    response = create_range_response(b"audio", "audio/flac", header)
    assert (response.status_code, response.body) == (200, b"audio")


# What is refused


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
def test_paths_outside_the_run_are_refused(address: str, path: str):
    status, _, body = get(address, path.replace("SIDE", side(address)))
    assert 400 <= status < 500 and b"root:" not in body


def test_addresses_in_the_query_are_not_fetched(address: str):
    for path in ("/?url=file:///etc/passwd", "/?file=/etc/passwd"):
        assert b"root:" not in get(address, path)[2]


def test_other_host_names_are_refused(address: str):
    """Protects from a page of another site whose name resolves to this machine (DNS rebinding)."""
    assert get(address, "/", Host="evil.example:80")[0] == 400
    assert get(address, "/", Host="localhost")[0] == 200


def test_a_path_in_place_of_an_upload_is_refused(address: str):
    body = b'{"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]}'
    request = urllib.request.Request(f"{address}gradio_api/call/classify", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        event = response.read().decode().split('"')[3]
    with urllib.request.urlopen(f"{address}gradio_api/call/classify/{event}") as response:
        result = response.read()
    assert b"event: error" in result and b"root:" not in result
    assert not is_upload("/etc/passwd") and Path("/etc/passwd").exists()


def test_the_server_listens_on_loopback(address: str):
    assert address.startswith("http://127.0.0.1:")
    assert inspect.signature(running_server).parameters["host"].default == "127.0.0.1"
    with open_socket("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_an_error(clips: Clips):
    with open_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with (
            pytest.raises(BackendError, match=f"127.0.0.1:{port}: cannot be listened on") as error,
            running_server(clips, port=port),
        ):
            pass
    assert "--port" in error.value.fix
    with pytest.raises(BackendError, match="no such address"), running_server(clips, host="no such host", port=0):
        pass


def test_without_gradio_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(BackendError, match="gradio") as error:
        load_gradio()
    assert "--extra explorer" in error.value.fix


def test_loading_gradio_leaves_inspect_unchanged():
    gradio = load_gradio()
    assert Path(inspect.getfile(gradio.Blocks)).name == "blocks.py"
    assert gradio.analytics.analytics_enabled() is False


# Text


@given(st.text())
def test_escaped_text_can_be_unescaped(text: str):
    escaped = escape(text)
    assert html.unescape(escaped) == text
    assert not set(escaped) & set("<>\"'{}$`\\")


def test_missing_labels_are_empty(clips: Clips):
    labels = ClipHtml(clips, "a").labels_of(int(clips.filter(text="rock-003")[0]))
    assert format_value(labels["tempo_bpm"], "tempo_bpm") == format_value(labels["key"]) == format_value(()) == ""
    assert format_value(labels["loudness"], "loudness") == "-23.0 LUFS" and format_value(np.float32("nan")) == ""


def test_clips_are_escaped_everywhere(clips: Clips):
    renderer = ClipHtml(clips, "a")
    hostile = clips.filter(text="onerror").tolist()
    assert len(hostile) == 2
    for rendered in (
        renderer.render_table(hostile, None), renderer.render_details(hostile[0]), renderer.render_summary(hostile[0]),
        renderer.render_pairs([(*hostile, 1.0)]), renderer.render_neighbours([(hostile[1], 0.5)]),
    ):  # fmt: skip
        assert "<img src=x" not in rendered and "{{" not in rendered and "${" not in rendered
        assert ESCAPED in rendered


# Clips


NO_FILTERS: tuple[Any, ...] = ("", [], [], [], [], [], [], "", "", "", "", "")


def test_filters_through_the_api(client: Any, clips: Clips):
    table, count = client.predict("number 4", *NO_FILTERS[1:], api_name="/browse")[:2]
    assert count.startswith('<p role="status" class="muted">2 of 28 clips') and table.count("<tr") == 3
    assert "28 of 28 clips, page 1 of 2" in client.predict(*NO_FILTERS, api_name="/browse")[1]
    hostile = client.predict("onerror", *NO_FILTERS[1:], api_name="/browse")[0]
    assert ESCAPED in hostile and "<img src=x" not in hostile
    assert "No clips match" in client.predict("nothing such", *NO_FILTERS[1:], api_name="/browse")[0]


@pytest.mark.parametrize(
    ("field", "value", "condition"),
    [
        (1, ["rock"], {"genre": "rock"}), (2, ["techno"], {"subgenre": "techno"}), (3, ["dark"], {"mood": "dark"}),
        (4, ["violin"], {"instruments": "violin"}), (5, ["instrumental"], {"vocals": "instrumental"}),
        (6, ["validation"], {"split": "validation"}), (7, "100", {"tempo": (100, None)}),
        (8, "95,0", {"tempo": (None, 95)}),
        (9, "-22", {"loudness": (-22, None)}), (10, " -30 ", {"loudness": (None, -30)}),
        (11, "1", {"attempts": (None, 1)}),
    ],
)  # fmt: skip
def test_each_field_filters_its_column(clips: Clips, field: int, value: Any, condition: dict[str, Any]):
    values = (*NO_FILTERS[:field], value, *NO_FILTERS[field + 1 :])
    positions = ExplorerPage(clips).context.matching_positions(values)
    assert 0 < len(positions) < len(clips)
    assert positions.tolist() == clips.filter(**condition).tolist()


def test_a_range_that_is_not_a_number_is_an_error_and_filters_nothing(clips: Clips):
    page = ExplorerPage(clips)
    selected = (page.context.sides[0], 0)
    count = page.clips_tab.apply_filters(selected, *NO_FILTERS[:7], "<b>fast", "", "nan", "", "")[1]
    assert "28 of 28 clips" in count and count.count('role="alert"') == 2
    assert "&lt;b&gt;fast: not a number" in count and "nan: not a number" in count


def test_pages_stop_at_the_first_and_the_last(clips: Clips):
    page = ExplorerPage(clips)
    selected, turn_page = (page.context.sides[0], 0), page.clips_tab.turn_page
    _, count, number = turn_page(1, 0, selected, *NO_FILTERS)
    assert number == 1 and "page 2 of 2" in count
    assert turn_page(1, 1, selected, *NO_FILTERS)[2] == 1 and turn_page(-1, 0, selected, *NO_FILTERS)[2] == 0


def test_next_and_previous_follow_the_filters(clips: Clips):
    page = ExplorerPage(clips)
    rock = clips.filter(genre="rock").tolist()
    values = ("", ["rock"], *NO_FILTERS[2:])
    selected, positions = (page.context.sides[0], rock[0]), []
    for _ in rock:
        details, selected = page.step(1, selected, *values)
        positions.append(selected[1])
        assert f'src="clip/{selected[0]}/{selected[1]}.flac"' in details
    assert positions == [*rock[1:], rock[0]]
    assert page.step(-1, (page.context.sides[0], rock[0]), *values)[1][1] == rock[-1]
    assert page.step(1, selected, "nothing such", *NO_FILTERS[1:])[1] == selected


def test_neighbours_are_computed_only_when_shown(clips: Clips, monkeypatch: pytest.MonkeyPatch):
    page = ExplorerPage(clips)
    selected = (page.context.sides[0], 5)
    rendered, table, _ = page.update(True, selected, 0, *NO_FILTERS)
    places = [rendered.index(f'position="{position}"') for position, _ in clips.find_neighbours(5, 6)]
    assert places == sorted(places)
    assert table.count('aria-current="true"') == 1
    monkeypatch.setattr(Clips, "find_neighbours", lambda *_: pytest.fail("computed neighbours"))
    assert page.update(False, selected, 0, *NO_FILTERS)[0] == ""


def test_tags_are_predicted_from_the_embeddings(clips: Clips, monkeypatch: pytest.MonkeyPatch):
    assert clips.predict_tags(5) == ()  # melstats gives none
    opened = Clips(clips.source)
    monkeypatch.setattr("evaluation.explorer.clip_table.TAGGER", "melstats")
    monkeypatch.setattr("evaluation.explorer.clip_table.load_tagger", lambda embedder: FixedTagger())
    page = ExplorerPage(opened)
    rendered, _, _ = page.update(True, (page.context.sides[0], 5), 0, *NO_FILTERS)
    assert "&lt;high&gt; 90% · middle 50% · low 10%" in rendered
    nothing = {"played": None, "stems": [], "production": False}
    data = page_data(opened, [""] * len(opened), [nothing] * len(opened), ())
    assert data["tags"][5] == ["<high> 90%", "middle 50%", "low 10%"]


def test_duplicates_are_shown_side_by_side(client: Any, clips: Clips):
    duplicates = clips.filter(text="rock-00")[:2].tolist()
    first = client.predict(0.999, False, api_name="/duplicates").split("</section>")[0]
    assert "cosine 1.000" in first and all(f'data-position="{position}"' in first for position in duplicates)


def test_doubtful_clips_have_players(clips: Clips, run: Path, tmp_path: Path):
    assert "synthmir label-noise CORPUS" in render_doubtful(PageContext(clips, None))
    copy = Clips.open(shutil.copytree(run, tmp_path / "run"))
    ids = copy.table["id"].tolist()
    (tmp_path / "run" / "label_noise").mkdir()
    doubtful = [
        {"id": identity, "split": "train", "label": "<rock>", "probability": 0.1, "predicted": "pop",
         "predicted_probability": 0.8}
        for identity in (ids[3], "not on the page", ids[1])
    ]  # fmt: skip
    noise = {
        "schema": 1, "corpus": "c", "fingerprint": None, "column": "genre", "embedder": "e", "folds": 5, "n": 28,
        "unlabelled": 0, "labels": {}, "accuracy": 1, "noise": 0, "pairs": [], "doubtful": doubtful, "record": {},
    }  # fmt: skip
    (tmp_path / "run" / "label_noise" / "label_noise.json").write_text(json.dumps(noise))
    disagreeing = [{"id": ids[5], "genre": "", "prompt": "", "labels": ["tempo", "key"], "compared": 2}]
    (tmp_path / "run" / "report" / "agreement").mkdir(parents=True)
    agreement = {
        "schema": 1, "corpus": "c", "fingerprint": None, "n": 28, "estimators": [], "labels": [], "tags": [],
        "annotated": False, "disagreeing": disagreeing, "record": {},
    }  # fmt: skip
    (tmp_path / "run" / "report" / "agreement" / "agreement.json").write_text(json.dumps(agreement))
    rendered = render_doubtful(PageContext(copy, None))
    assert rendered.count("<audio") == 3 and "2 of 3" in rendered and "disagrees: tempo, key" in rendered
    assert "genre &lt;rock&gt; 0.10, sounds like pop 0.80" in rendered
    assert (
        rendered.index('data-position="3"') < rendered.index('data-position="1"') < rendered.index('data-position="5"')
    )
    (tmp_path / "run" / "label_noise" / "label_noise.json").write_text("[]")
    assert "label_noise.json" in render_doubtful(PageContext(copy, None))


def test_two_corpora_are_compared(client: Any):
    distances, points, tables = client.predict(api_name="/compare")
    assert "explored compared with other" in distances and "distance" in distances
    assert len(points["x"]) == len(points["ids"]) == 56 and set(points["side"]) == {0, 1}
    assert "rock" in tables and "LUFS" in tables


# Generated clips


def test_a_generated_clip_can_be_played(client: Any, address: str):
    prompt = f"A hopeful indie rock track at 120 BPM {HOSTILE}"
    rendered = client.predict(prompt, 7, "", "", "", [], "", "", "", api_name="/generate")
    assert ESCAPED in rendered and "<img src=x" not in rendered and "120" in rendered and "from the text" in rendered
    status, _, body = get(address, f"/sound/{rendered.split('sound/')[1].split('.flac')[0]}.flac")
    samples, rate = soundfile.read(io.BytesIO(body))
    assert (status, rate, len(samples)) == (200, 32_000, 64_000) and np.abs(samples).max() > 0.05


@pytest.mark.parametrize(
    ("prompt", "genre", "tempo", "message"),
    [
        ("", "rock", "", "the prompt is empty"), ("  \n ", "rock", "", "the prompt is empty"),
        ("something quiet", "", "", "names no genre"), ("rock", "rock", "1000", "tempo: "),
    ],
)  # fmt: skip
def test_prompts_that_cannot_be_used_are_errors_on_the_page(
    client: Any, prompt: str, genre: str, tempo: str, message: str
):
    rendered = client.predict(prompt, 0, genre, "", "", [], tempo, "", "", api_name="/generate")
    assert 'role="alert"' in rendered and message in rendered and "Traceback" not in rendered


# Uploaded recordings


def test_an_upload_is_classified_and_deleted(client: Any, address: str, tmp_path: Path):
    from gradio_client import handle_file

    file = tmp_path / "mine.flac"
    file.write_bytes(encode_flac(sound(0, 5, 3.0), 32_000))
    rendered = client.predict(handle_file(str(file)), api_name="/classify")
    assert "<svg" in rendered and "mine.flac" in rendered and "electronica" in rendered
    status, _, body = get(address, f"/sound/{rendered.split('sound/')[1].split('.flac')[0]}.flac")
    assert status == 200 and len(soundfile.read(io.BytesIO(body))[0]) == 96_000
    assert not list(Path(os.environ["GRADIO_TEMP_DIR"]).rglob("mine.flac"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("broken.wav", b"RIFF....WAVEjunk", "cannot be read as audio"), ("empty.mp3", b"", "cannot be read as audio"),
        ("notes.txt", b"text", "not an audio format"), ("<b>x.wav", b"no", "cannot be read as audio"),
    ],
)  # fmt: skip
def test_a_damaged_upload_is_an_error_on_the_page(
    client: Any, tmp_path: Path, name: str, content: bytes, message: str
):
    from gradio_client import handle_file

    file = tmp_path / name
    file.write_bytes(content)
    rendered = client.predict(handle_file(str(file)), api_name="/classify")
    assert 'role="alert"' in rendered and message in rendered
    assert "/tmp" not in rendered and "Traceback" not in rendered and "<b>x" not in rendered


@settings(max_examples=50)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 60))
def test_the_audio_cache_drops_the_oldest(sizes: list[int], capacity: int):
    cache = AudioCache(capacity)
    names = [cache.put(bytes(size)) for size in sizes]
    files = [cache.get(name) for name in names]
    assert files[-1] == bytes(sizes[-1])  # the newest is always kept
    present = [file is not None for file in files]
    assert present == sorted(present)
    assert sum(present) == 1 or sum(len(file) for file in files if file is not None) <= capacity
