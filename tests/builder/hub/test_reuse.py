"""What is published works with the real clients and without synthmir."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from datasets import Features
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from transformers import pipeline

from builder.corpus.shards import write_shard
from builder.hub.publish import Target
from evaluation.metrics import FOLDER

from ...commands import run_alone
from .loopback_hub import LoopbackHub

Send = Callable[..., list[Target]]

SETUP = """
import io, json, sys

class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("builder", "training", "evaluation", "synthmir", "hear21passt"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""

CORPUS = """
import soundfile
from datasets import Audio, load_dataset

for options in ({}, {"streaming": True}, {"revision": "v1"}):
    corpus = load_dataset("org/small", **options)
    rows = list(corpus["validation"].cast_column("audio", Audio(decode=False)))
    samples, rate = soundfile.read(io.BytesIO(rows[0]["audio"]["bytes"]))
    print(json.dumps([rows[0]["id"], len(rows), rate, len(samples), corpus["train"].features["genre"].names]))
for options in ({}, {"streaming": True}):
    found = load_dataset("org/small", "melstats", split="train", **options)
    rows = list(found)
    print(json.dumps([len(rows), len(rows[0]["embedding"]), sorted(rows[0])]))
from transformers import pipeline

listen = pipeline("audio-classification", model="org/small-genre", trust_remote_code=True)
print(json.dumps(listen(sys.argv[1])))
"""

COLUMNS = """
from datasets import load_dataset

exec(sys.argv[1])
print(json.dumps([[row["id"], row["tempo_bpm"]] for row in slow]))
for repo, config in (("org/control", "default"), ("org/small", "melstats")):
    found = load_dataset(repo, config, split="train", streaming=True, columns=["id", "genre"])
    print(json.dumps(len(list(found))))
"""

METRIC = """
import runpy
import evaluate

report = evaluate.load("org/genre_report")
figures = report.compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0], labels=["funk", "rock"])
print(json.dumps([figures["accuracy"], figures["macro_f1"], figures["confusion_matrix"]]))
tagged = evaluate.load("org/tagging_report", revision="v1")
print(json.dumps(tagged.compute(predictions=[[0.9, 0.1], [0.2, 0.8]], references=[[1, 0], [0, 1]])["map"]))

page = runpy.run_path(sys.argv[1])
print(json.dumps(page["compute"]("[0, 1, 1, 0]", "[0, 1, 0, 0]", '{"labels": ["funk", "rock"]}')["accuracy"]))
try:
    page["compute"]("[0, 1", "[0, 1]", "")
except page["gradio"].Error as error:
    print(json.dumps(str(error)))
"""

WITH_SYNTHMIR = """
import json, sys

sys.path.insert(0, "HERE")
from builder import load_corpus
from builder.errors import HubError

X, y = load_corpus("org/small", "melstats", task="genre", split="train", revision="v1")
print(json.dumps([*X.shape, len(y)]))
batches = load_corpus("org/small", task="instruments", split="train", batch_size=4)
print(json.dumps(list(next(iter(batches))["audio"].shape)))
stream = load_corpus("org/small", task="genre", split="train", streaming=True)
print(json.dumps([sum(len(batch["id"]) for batch in stream)]))
print(json.dumps(stream.names))
try:
    load_corpus("org/none")
except HubError as error:
    print(json.dumps(error.message))
"""


def run_alone_on_hub(
    hub: LoopbackHub, code: str, place: Path, *arguments: str, with_synthmir: bool = False
) -> list[object]:
    """Run code in another interpreter with its own home folder; return what it printed."""
    environ = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(place / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "NO_PROXY": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "PATH": "/nowhere",
    }
    lines = run_alone(code if with_synthmir else SETUP + code, *arguments, cwd=place, environ=environ)
    return [json.loads(line) for line in lines]


def test_clients_load_corpus_embeddings_and_model(hub: LoopbackHub, send: Send, made: Path, tmp_path: Path) -> None:
    send(revision="v1")
    song = tmp_path / "song.flac"
    soundfile.write(song, 0.1 * np.random.default_rng(0).standard_normal(66_150), 22_050)
    *corpora, whole, streamed, predicted = run_alone_on_hub(hub, CORPUS, tmp_path, str(song))
    genres = ["electronica", "funk", "orchestral", "pop", "rock"]
    assert corpora == [[corpora[0][0], 5, 32_000, 32_000, genres]] * 3  # type: ignore[index]
    assert whole == streamed and whole[:2] == [25, 768] and "audio" not in whole[2]  # type: ignore[index]
    here = pipeline("audio-classification", model=str(made / "model"))(str(song))
    assert [one["label"] for one in here] == [one["label"] for one in predicted]  # type: ignore[attr-defined]
    assert np.allclose([one["score"] for one in here], [one["score"] for one in predicted], atol=1e-6)  # type: ignore[attr-defined]


def test_the_cards_columns_of_choice_leave_the_audio_where_it_is(
    hub: LoopbackHub, send: Send, made: Path, tmp_path: Path
) -> None:
    """The code of the card over HTTP: less than 1 of 26 MB. By default the client reads 5 MiB ahead a row group."""
    send(what="corpus")
    shard = made / "corpus/data/train-00000-of-00003.parquet"
    row, draw = pq.read_table(shard).to_pylist()[0], np.random.default_rng(0)
    rows = [
        row
        | {"id": f"clip-{i}", "tempo_bpm": 80 + i % 20, "audio": {"bytes": draw.bytes(200_000), "path": f"{i}.flac"}}
        for i in range(128)
    ]
    for name in ("large", "control"):
        large = tmp_path / f"{name}-00000-of-00001.parquet"
        write_shard(large, [rows], Features.from_arrow_schema(pq.read_schema(shard)), {})
        configs = [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*"}]}]
        head = yaml.safe_dump({"configs": configs})
        files = {"README.md": f"---\n{head}---\n".encode(), f"data/{large.name}": large.read_bytes()}
        hub.add_repo("dataset", f"org/{name}", files)
    card = hub.content("dataset", "org/small", "README.md").decode()
    (code,) = re.findall(r"^slow = load_dataset\(\n(?: .*\n)*\)\n", card, re.MULTILINE)
    streamed, plain, embeddings = run_alone_on_hub(hub, COLUMNS, tmp_path, code.replace("org/small", "org/large"))
    assert streamed == [[f"clip-{i}", 80 + i % 20] for i in range(128) if i % 20 < 10]
    assert (plain, embeddings) == (128, 25)
    size = large.stat().st_size
    assert hub.served["data/large-00000-of-00001.parquet"] < 0.05 * size
    assert hub.served["data/control-00000-of-00001.parquet"] > 0.25 * size
    assert {path.partition("/")[0] for path in hub.served if "of-00003" in path} == {"melstats"}


@pytest.mark.long
def test_clients_load_metrics_and_their_page_runs(hub: LoopbackHub, send: Send, tmp_path: Path) -> None:
    """The figures are scikit-learn's, of the same lists."""
    send(Path("all"), "org", what="metrics", metrics=FOLDER, revision="v1")
    place = tmp_path / "page"
    place.mkdir()
    for path in hub.repos["space", "org/genre_report"].files:
        (place / path).write_bytes(hub.content("space", "org/genre_report", path))
    genre, tagging, typed, error = run_alone_on_hub(hub, METRIC, tmp_path, str(place / "app.py"))
    truth, guess = [0, 1, 0, 0], [0, 1, 1, 0]
    matrix = confusion_matrix(truth, guess).tolist()
    assert genre == [accuracy_score(truth, guess), f1_score(truth, guess, average="macro"), matrix]
    assert tagging == 1.0 and typed == genre[0] and "delimiter" in str(error)


def test_load_corpus_reads_the_hub_too(hub: LoopbackHub, send: Send, tmp_path: Path) -> None:
    """`load_corpus` of a repository: tensors, batches and streams; and what it says of one that is not there."""
    send(what="corpus", revision="v1")
    path = str(Path(__file__).parents[3])
    whole, some, streamed, labels, refused = run_alone_on_hub(
        hub, WITH_SYNTHMIR.replace("HERE", path), tmp_path, with_synthmir=True
    )
    assert whole == [25, 768, 25] and some == [4, 32_000] and streamed == [25]
    assert labels == ["electronica", "funk", "orchestral", "pop", "rock"]
    assert refused == "org/none: there is no such folder, and no repository that you may read"
