"""The page: everything on it, nothing of it unescaped, and none of it from a network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import soundfile

import synthmir
from builder.errors import DataError
from builder.settings import EvaluationSettings
from evaluation.evaluate import evaluate_model
from evaluation.fidelity.measure import measure_fidelity
from evaluation.rendering.piano_roll import render_piano_roll
from evaluation.reporting.example_clips import Prediction, choose_examples
from evaluation.reporting.report import write_report
from evaluation.robustness import evaluate_robustness

from ...builder.annotated import add_configs
from ..conftest import FINGERPRINT, GENRES, NASTY, RATE, FixedTagger, sound


class Page(HTMLParser):
    """Tags with their attributes, and the text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " " * (tag == "br")
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in ("meta", "img", "br", "link", "hr"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def collapsed(self) -> str:
        return " ".join(self.text.split())

    def links(self) -> Iterator[str]:
        return (value for _, attrs in self.tags for key, value in attrs.items() if key in ("src", "href", "srcset"))


@pytest.fixture(scope="module")
def annotated(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with annotations and stems."""
    copy = Path(shutil.copytree(corpus, tmp_path_factory.mktemp("annotated") / corpus.name))
    add_configs(copy)
    return copy


@pytest.fixture(scope="module")
def report(model: Path, corpus: Path, annotated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on validation and on files, two of which have hostile names and one of which is no audio."""
    out = tmp_path_factory.mktemp("report")
    music = tmp_path_factory.mktemp("music")
    for genre, name in enumerate(GENRES):
        (music / name).mkdir()
        soundfile.write(music / name / "a.wav", sound(genre, 60), RATE)
    soundfile.write(music / "Rock/<img src=x onerror=alert(1)>.wav", sound(0, 61), RATE)
    (music / "Rock/<script>alert(2)<.wav").write_text("text")
    evaluate_model(model, ["validation", f"folder:{music}"], out, corpus, EvaluationSettings(bootstrap=100))
    assert write_report(out, model, annotated) == out / "report.html"
    return out


def test_the_page_describes_the_run_and_its_scores(report: Path) -> None:
    page_text = Page(report / "report.html").collapsed()
    scores = json.loads((report / "scores.json").read_text())
    assert "Sines, clicks and noise; no music." in page_text and FINGERPRINT in page_text and "cc0-1.0" in page_text
    assert "27 clips" in page_text and "melstats is not a neural network" in page_text
    for entry in scores["benchmarks"]:
        for key in ("accuracy", "macro_f1", "balanced_accuracy"):
            score = entry[key]
            text = f"{100 * score['value']:.1f} % [{100 * score['low']:.1f} %, {100 * score['high']:.1f} %]"
            assert text in page_text
    assert "Most common confusion: Rock predicted as Electronica, 1 of its tracks (50.0 %)." in page_text
    assert "a model of 71.7 % accuracy would also make no error in 9 tracks" in page_text  # 0.05 ** (1 / 9)
    assert "1 file skipped" in page_text and "Format not recognised" in page_text
    assert "synthmir train" in page_text and "synthmir evaluate" in page_text
    assert "evaluated on the validation split of its corpus and 1 set of recordings." in page_text
    assert "made by the same generator" not in page_text  # it was evaluated on other recordings too


def test_names_and_prompts_are_text(report: Path) -> None:
    page = Page(report / "report.html")
    assert NASTY in page.text and "Rock/<script>alert(2)<.wav" in page.text
    assert not {"script", "iframe", "object", "link"} & {tag for tag, _ in page.tags}
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]


def test_opens_from_disk_without_a_network(report: Path) -> None:
    page = Page(report / "report.html")
    links = list(page.links())
    assert links and all((report / link).is_file() for link in links)
    assert "http" not in (report / "report.html").read_text(encoding="utf-8")
    assert "@import" not in (report / "report.html").read_text(encoding="utf-8")
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert all(attrs.get("alt") for attrs in pictures)
    assert len(pictures) == 3 * 2 + 2 + 4 * len(GENRES)  # by benchmark; curve and map; two clips a genre


def test_clips_are_the_corpus_bytes(report: Path, corpus: Path) -> None:
    players = [attrs["src"] for tag, attrs in Page(report / "report.html").tags if tag == "audio"]
    examples = choose_examples(corpus, {})
    assert [(report / src).read_bytes() for src in players] == [example.audio for example in examples]
    assert soundfile.info(report / players[0]).samplerate == RATE


def test_published_scores_and_left_out_tracks_are_shown(report: Path, model: Path, tmp_path: Path) -> None:
    scores = json.loads((report / "scores.json").read_text())
    entry = scores["benchmarks"][1]
    shown = {"name": "A model", "metric": "accuracy", "value": 0.869, "source": "a paper", "note": "its note"}
    other = {"name": "Another", "metric": "mean_average_precision", "value": 0.401, "source": "a page"}
    entry["published"] = [other | {"same_protocol": False}, shown | {"same_protocol": True}]
    entry |= {"left_out": {"polka <i>": 31, "zouk": 12}, "protocol": "the test part"}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    page_text = Page(write_report(tmp_path, model)).collapsed()
    assert "A modelAccuracy86.9 %yesits note. a paper" in page_text and "AnothermAP40.1 %noa page" in page_text
    assert (
        page_text.count("this model") == 1
        and f"this modelAccuracy{100 * entry['accuracy']['value']:.1f} %" in page_text
    )
    assert "43 tracks with 2 other labels, not included in the scores" in page_text and "polka <i>31" in page_text
    assert "The test part." in page_text


def test_without_a_corpus_its_parts_are_left_out(report: Path, model: Path, tmp_path: Path) -> None:
    shutil.copy(report / "scores.json", tmp_path)
    page = Page(write_report(tmp_path, model))
    assert "Examples" not in page.text and not [tag for tag, _ in page.tags if tag == "audio"]
    assert "Learning curve" not in page.text and "Inside the model" in page.text
    assert "an unnamed generator" not in page.text and "Scores" in page.text
    assert all((tmp_path / link).is_file() for link in page.links())


def test_the_unit_of_intervals_is_beside_the_name(report: Path, model: Path, tmp_path: Path) -> None:
    scores = json.loads((report / "scores.json").read_text())
    for benchmark in scores["benchmarks"]:
        benchmark["sampling"] |= {"over": "artists", "alone": 0}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    html = write_report(tmp_path, model).read_text()
    # the first column wraps, so that the long text does not push the scores out of the page
    assert '<tr><td>validation<br><span class="interval">intervals over ' in html


def test_a_warning_on_validation_scores_alone(model: Path, corpus: Path, tmp_path: Path) -> None:
    evaluate_model(model, ["validation"], tmp_path, corpus)
    page_text = Page(write_report(tmp_path, model, corpus)).collapsed()
    assert "made by the same generator" in page_text
    assert "evaluated on the validation split of its corpus. " in page_text


def test_recordings_come_first_with_their_confusion_beside_validation(report: Path) -> None:
    page = Page(report / "report.html")
    headings = page.collapsed()
    assert headings.index("On folder:") < headings.index("On the validation split")
    assert "On recordings (folder:" in headings and "Chance is 33.3 %." in headings
    pictures = [attrs["src"] for tag, attrs in page.tags if tag == "img" and "confusion" in attrs["src"]]
    assert pictures == ["assets/confusion-1.svg", "assets/confusion-2.svg"]
    titles = [(report / picture).read_text() for picture in pictures]
    assert "Validation clips" not in titles[0] and "Validation clips" in titles[1]


def test_written_twice_is_the_same(report: Path, model: Path, annotated: Path) -> None:
    before = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    write_report(report, model, annotated)
    assert {path: path.read_bytes() for path in report.rglob("*") if path.is_file()} == before


def test_examples_hold_a_misclassified_clip_of_each_genre(corpus: Path) -> None:
    predictions = {f"{name}-{seed}": Prediction(name, name, True) for name in GENRES for seed in (6, 7, 8)}
    predictions["Rock-8"] = Prediction("Rock", "Hip Hop", False)
    predictions |= {f"Hip Hop-{seed}": Prediction("Hip Hop", "Rock", False) for seed in (6, 7, 8)}
    shown = [(clip.id, not clip.prediction.right) for clip in choose_examples(corpus, predictions) if clip.prediction]
    assert shown == [
        *(("Electronica-6", False), ("Electronica-7", False)),
        *(("Hip Hop-6", True), ("Hip Hop-7", True)),
        *(("Rock-6", False), ("Rock-8", True)),
    ]


def test_examples_have_the_tags_of_their_embeddings(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(clip.tags == () for clip in choose_examples(corpus, {}))  # melstats gives none
    monkeypatch.setattr("evaluation.reporting.example_clips.TAGGER", "melstats")
    monkeypatch.setattr("evaluation.reporting.example_clips.load_tagger", lambda embedder: FixedTagger())
    for clip in choose_examples(corpus, {}):
        assert clip.tags == (("<high>", pytest.approx(0.9)), ("middle", 0.5), ("low", pytest.approx(0.1)))


def test_examples_show_what_is_played(report: Path, annotated: Path, corpus: Path) -> None:
    examples = choose_examples(annotated, {})
    assert all(clip.annotation is not None and clip.annotation.id == clip.id for clip in examples)
    assert all(clip.annotation is None for clip in choose_examples(corpus, {}))
    page = Page(report / "report.html")
    rolls = [attrs["src"] for tag, attrs in page.tags if tag == "img" and "/clip-" in attrs["src"]][1::2]
    pictures = [render_piano_roll(clip.annotation).encode() for clip in examples if clip.annotation is not None]
    assert [(report / roll).read_bytes() for roll in rolls] == pictures and len(rolls) == 2 * len(GENRES)
    assert "played: A:minor · 118 bpm · 4/4 · A:min7, D:maj" in page.collapsed()


def test_scores_that_are_missing_or_damaged(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="synthmir evaluate"):
        write_report(tmp_path, model)
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(DataError, match=r"scores\.json"):
        write_report(tmp_path, model)


def test_robustness_and_fidelity_are_parts_of_the_page(model: Path, corpus: Path, tmp_path: Path) -> None:
    settings = EvaluationSettings(bootstrap=100)
    evaluate_model(model, ["validation"], tmp_path, settings=settings)
    plain = write_report(tmp_path, model, corpus).read_text(encoding="utf-8")
    evaluate_robustness(model, "validation", tmp_path, ["lowpass:300", "gain:0"], settings=settings)
    measure_fidelity(corpus, "validation", tmp_path / "fidelity")
    page = write_report(tmp_path, model, corpus).read_text(encoding="utf-8")
    for part in (
        "Robustness to damaged recordings",
        "Corpus compared with its own held-out clips",
        "lowpass: nothing above",
    ):
        assert part in page and part not in plain
    assert "synthmir robustness" in page and "--damage lowpass:300 --damage gain:0" in page
    assert f"synthmir fidelity '{corpus}' --against validation" in page.replace("&#39;", "'")
    for address in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert (tmp_path / address).is_file(), address
    for stage in ("robustness", "fidelity"):
        assert f"<td>{stage}</td>" in page


def test_doubtful_labels_are_a_part_of_the_page(report: Path, model: Path, corpus: Path, tmp_path: Path) -> None:
    shutil.copy(report / "scores.json", tmp_path)
    synthmir.label_noise(corpus, out=tmp_path / "label_noise", folds=3)
    page = write_report(tmp_path, model).read_text(encoding="utf-8")
    assert "Doubtful labels" in page and "label_noise/label_noise.json" in page and "<td>label-noise</td>" in page
    for address in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert (tmp_path / address).is_file(), address
    (tmp_path / "label_noise" / "label_noise.json").write_text("{}")
    with pytest.raises(DataError, match="label noise"):
        write_report(tmp_path, model)


def test_annotation_scores_are_a_part_of_the_page(report: Path, model: Path, tmp_path: Path) -> None:
    shutil.copy(report / "scores.json", tmp_path)
    beats = {"value": 0.87, "low": 0.8, "high": 0.93, "n": 5}
    system = {"name": "<i>peer", "n": 5, "scores": {"f_measure": beats, "cmlt": None}}
    sampling = {"method": "bca", "over": "tracks", "units": 5, "resamples": 100, "seed": 0}
    task = {"task": "beats", "systems": [system]}
    source = {"name": "mirdata:ballroom", "n": 5, "seconds": 60.0, "sampling": sampling, "tasks": [task]}
    content = {"schema": 1, "model": "m", "tasks": ["beats"], "sources": [source], "record": {}}
    (tmp_path / "annotation_scores.json").write_text(json.dumps(content))
    page = Page(write_report(tmp_path, model))
    assert "Annotations" in page.text and "mirdata:ballroom" in page.text and "<i>peer" in page.text
    assert "0.870 [0.800, 0.930]" in page.collapsed() and "5 tracks, 1.0 minutes" in page.collapsed()
    (tmp_path / "annotation_scores.json").write_text("{}")
    with pytest.raises(DataError, match="annotation scores"):
        write_report(tmp_path, model)
