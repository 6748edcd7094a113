"""Every function that reads untrusted files, each with small valid files to damage."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FINGERPRINT = "0123456789abcdef"
Files = dict[str, bytes]  # by their path within a folder


@dataclass(frozen=True)
class Reader:
    """A function that reads a folder. `targets` are the files to damage, `text` says which of them are text."""

    name: str
    seed: Callable[[Path], None]  # writes the sound files
    read: Callable[[Path], object]  # raises SynthmirError for what it refuses; returns faults, or nothing
    targets: tuple[str, ...]
    weight: int = 1
    place: tuple[float, float] = (0.0, 1.0)  # which part of a file is damaged
    repair: Callable[[Path], None] = lambda folder: None  # after the damage: write correct sums, as an attacker would

    def text(self, target: str) -> bool:
        return Path(target).suffix not in (
            ".parquet", ".safetensors", ".wav", ".flac", ".mp3", ".ogg", ".aiff", ".au", ".pt", ".npz", ".arrow",
            ".index", ".data",
        )  # fmt: skip


# Audio ------------------------------------------------------------------------------------------------------------


def tone(kind: str, rate: int = 16_000, channels: int = 1, seconds: float = 0.25) -> bytes:
    """A second of a tone with some noise, as a file of its kind."""
    import soundfile

    time = np.arange(round(seconds * rate)) / rate
    noise = 0.02 * np.random.default_rng(0).standard_normal((len(time), channels))
    samples = 0.4 * np.sin(2 * np.pi * 220 * time)[:, None] + noise
    buffer = io.BytesIO()
    subtype = {"WAV": "PCM_16", "AIFF": "PCM_24", "AU": "PCM_16", "MP3": None, "OGG": "VORBIS", "FLAC": "PCM_16"}[kind]
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def _audio_seed(kind: str) -> Callable[[Path], None]:
    return lambda folder: put(folder, {f"a.{kind.lower()}": tone(kind, channels=1 + (kind in ("WAV", "FLAC")))})


def _spliced_seed(kind: str) -> Callable[[Path], None]:
    """Files that a decoder is not given as they are: see builder/containers."""
    mp3, ogg = tone("MP3"), tone("OGG")
    size = 288  # bytes of the MP3's first frame, which counts the others: 64 kbit/s at 16 kHz
    files = {
        "mp3": b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + mp3 + b"TAG" + bytes(125) + bytes(99) + mp3[size:],
        "ogg": ogg + ogg,
        "wav": b"RIFF" + (len(mp3) + 36).to_bytes(4, "little") + b"WAVEfmt \x10\0\0\0\x55\0\1\0" + bytes(12)
        + b"data" + len(mp3).to_bytes(4, "little") + mp3,
    }  # fmt: skip
    return lambda folder: put(folder, {f"a.{kind}": files[kind]})


def _decode(folder: Path) -> None:
    from builder.audio import decode_audio, load_audio, measure_audio
    from builder.embedders.windows import read_ahead

    (file,) = folder.iterdir()
    measure_audio(file)
    load_audio(file, 32_000)
    decode_audio(file.read_bytes(), seconds=60)
    for _ in read_ahead(file, 16_000):
        pass


# Corpora ----------------------------------------------------------------------------------------------------------


def put(folder: Path, files: Files) -> None:
    """Write files."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def corpus(root: Path, seconds: float = 1.0) -> None:
    """A finished corpus of six clips in two genres, and its embeddings."""
    from builder.audio import encode_flac, measure_peak
    from builder.corpus.corpus import write_sums
    from builder.corpus.schema import audio_features, embedding_features, label_features
    from builder.corpus.shards import write_shard
    from builder.recipe import Recipe
    from builder.records import RunRecord
    from builder.settings import EmbedderSettings
    from builder.taxonomy import Taxonomy
    from builder.validation import validate

    taxonomy = Taxonomy.load("paper")
    identity = {"name": "small", "clips_per_shard": 64, "fingerprint": FINGERPRINT,
                "split": {"seed": 0, "validation": 0.1}}  # fmt: skip
    made = {"name": "arranger", "revision": "7", "license": "cc-by-4.0", "about": "It composes by rule."}
    embedder = {"name": "melstats", "revision": "2", "dim": 8, "sampling_rate": 32_000, "window_seconds": 10.0}
    put(root, {"README.md": b"---\nlicense: cc-by-4.0\n---\n# Small\n"})
    recipe = validate(Recipe, {"name": "small", "prompts": {"per_genre": 3}}, "here")
    put(root, recipe.portable())
    RunRecord("build", FINGERPRINT, rows=6, details={"identity": identity, "generator": made, **BUILT}).write(
        root / "records/build.json"
    )
    settings = EmbedderSettings(name="melstats").model_dump(mode="json")
    RunRecord("embed", FINGERPRINT, rows=6, details={"embedder": embedder | {"settings": settings}}).write(
        root / "records/embed-melstats.json"
    )
    sums: dict[str, str] = {}
    for split, count in (("train", 4), ("validation", 2)):
        rows = []
        for number in range(count):
            rng = np.random.default_rng(number)
            samples = (0.1 * rng.standard_normal(round(seconds * 32_000))).astype(np.float32)
            flac = encode_flac(samples, 32_000)
            labels = {
                "genre": number % 2, "subgenre": None, "mood": number % 2, "instruments": [number % 2],
                "key": "A minor",
                "tempo_bpm": 90 + number, "vocals": 0, "prompt_group": f"{split}-{number}",
            }  # fmt: skip
            rows.append({
                "id": f"{split}-{number}", "audio": {"bytes": flac, "path": f"{split}-{number}.flac"},
                "prompt": "A pop track.", **labels, "seed": number, "generator": "arranger", "generator_revision": "7",
                "guidance": None, "temperature": None, "top_k": None, "duration": seconds, "loudness": -20.0,
                "peak": measure_peak(samples), "attempts": 1, "embedding": rng.standard_normal(8).tolist(),
            })  # fmt: skip
        name = f"{split}-00000-of-00001.parquet"
        for config, features in (
            ("data", audio_features(taxonomy)),
            ("melstats", embedding_features(label_features(taxonomy), 8)),
        ):
            footer = {"fingerprint": FINGERPRINT, "shard": f"data/{name}", "planned": count, "rejected": []}
            if config == "melstats":
                footer = {"fingerprint": FINGERPRINT, "embedder": "melstats", "revision": "2",
                          "source_sha256": sums[f"data/{name}"]}  # fmt: skip
            write_shard(root / config / name, [rows], features, footer)
            sums[f"{config}/{name}"] = hashlib.sha256((root / config / name).read_bytes()).hexdigest()
    write_sums(root, sums)


BUILT = {"audio_seconds": 6.0, "clips": 6, "made_in_this_session": 6, "rejected": 0, "retried": 0, "shards": 2,
         "worker_seconds": 1.0, "workers": 1}  # fmt: skip


def right_sums(root: Path) -> None:
    """Write the sums of the files as they are, so that a damaged corpus passes the check of its hashes."""
    lines = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != "SHA256SUMS":
            lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root).as_posix()}\n")
    (root / "SHA256SUMS").write_text("".join(lines))


def _verify(folder: Path) -> object:
    from builder.corpus.verify import verify

    return verify(folder).faults


def _features(folder: Path) -> None:
    from training.data.features import load_features

    for task in ("genre", "instruments", "tempo_bpm"):
        load_features(folder, "melstats", task)


def _embed(folder: Path) -> None:
    from builder.embedders.embed_corpus import embed_corpus
    from builder.settings import EmbedderSettings

    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if there % 2:  # else it is replaced
        shutil.rmtree(folder / "melstats")
    embed_corpus(folder, EmbedderSettings(name="melstats"), overwrite=True)


def _parts(folder: Path) -> None:
    from builder.embedders.embedded_dataset import open_dataset
    from training.data.splits import split_target

    dataset = open_dataset(folder, "melstats")
    dataset.embeddings(split_target(dataset).train)


def _clips(folder: Path) -> None:
    from builder.audio import load_audio
    from builder.configs import AUDIO
    from builder.embedders.embedded_dataset import open_dataset
    from evaluation.inference.validation_audio import validation_clips

    for track in validation_clips(folder, ["electronica", "funk"], "genre", 10, 0).tracks:
        if track.data:
            load_audio(track.data, 32_000)
    clips = open_dataset(folder, AUDIO)
    clips.audio(clips.ids(clips.rows()))


def _export(folder: Path) -> None:
    from builder.corpus.export.export import export_corpus

    export_corpus(folder, "mirdata", folder / "out", audio="wav")


def annotated_corpus(root: Path) -> None:
    """The same corpus with annotations and stems."""
    from ..builder.annotated import add_configs

    corpus(root)
    add_configs(root)


def _export_annotations(folder: Path) -> None:
    from builder.corpus.export.export import export_corpus

    export_corpus(folder, "jams", folder / "jams")
    export_corpus(folder, "musdb", folder / "musdb")


def _explore_annotations(folder: Path) -> None:
    from evaluation.explorer.clip_table import Clips
    from evaluation.rendering.piano_roll import describe_annotation, render_piano_roll

    clips = Clips.open(str(folder))
    for position in range(len(clips)):
        if (annotation := clips.read_annotation(position)) is not None:
            render_piano_roll(annotation), describe_annotation(annotation)
        for stem in clips.list_stems(position):
            clips.read_stem(position, stem)


def _explore(folder: Path) -> None:
    from evaluation.explorer.clip_table import Clips

    clips = Clips.open(str(folder))
    _ = clips.summary, clips.embeddings
    for position in range(len(clips)):
        clips.decode_audio(position)


def _open(folder: Path) -> None:
    from builder.corpus.corpus import Corpus
    from builder.recipe import Recipe

    found = Corpus.open(folder)
    _ = found.sums(), found.record(), found.fingerprint, found.embedders(), found.shards()
    Recipe.load(folder / "recipe.yaml").fingerprint()


# Models -----------------------------------------------------------------------------------------------------------


def model(root: Path) -> None:
    """A model folder as `synthmir train` writes it, small."""
    import torch

    from builder.records import RunRecord
    from training.models.classifier import SynthmirClassifier, SynthmirConfig

    names = ["electronica", "funk"]
    embedder = {"name": "melstats", "revision": "2", "dim": 768, "sampling_rate": 32_000, "window_seconds": 10.0,
                "settings": {"name": "melstats", "weights": None}}  # fmt: skip
    torch.manual_seed(0)
    config = SynthmirConfig(
        hidden=(4,), embedder=embedder, id2label=dict(enumerate(names)), corpus=FINGERPRINT,
        label2id={name: i for i, name in enumerate(names)}, problem_type="single_label_classification",
    )  # fmt: skip
    SynthmirClassifier(config).save_pretrained(root)
    details = {"corpus": ".", "settings": {"task": "genre"}, "data": {"split": {"validation": 0.1, "seed": 0}}}
    RunRecord("train", FINGERPRINT, rows=6, details=details).write(root / "training.json")


def _predict(folder: Path) -> None:
    import torch

    from builder.settings import EvaluationSettings
    from evaluation.inference.evaluated_model import EvaluatedModel, corpus_of
    from training.models.audio_embedding import load_trained_embedder

    candidate = EvaluatedModel.load(folder, EvaluationSettings())
    with torch.inference_mode():
        candidate.model(torch.zeros(2, candidate.model.mean.shape[0]))
    _ = candidate.labels, candidate.problem
    load_trained_embedder(candidate.model.config)
    corpus_of(candidate.trained, folder, None)


def weights(root: Path) -> None:
    """Tensors as safetensors and as torch saves them."""
    import torch
    from safetensors.torch import save_file

    tensors = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.float16)}
    root.mkdir(parents=True, exist_ok=True)
    save_file(tensors, root / "w.safetensors")
    torch.save({"state_dict": tensors}, root / "w.pt")


def tensorflow_weights(root: Path) -> None:
    """A checkpoint as TensorFlow saves it."""
    from tests.builder.embedders.tf_writer import checkpoint

    tensors = {"a/kernel": np.arange(12.0).reshape(3, 4), "a/kernel/Adam": np.zeros((3, 4)), "b": np.ones(5)}
    put(root, dict(zip(("w.index", "w.data"), checkpoint(tensors), strict=True)))


def read_tensorflow_weights(folder: Path) -> None:
    """Read its variables."""
    from builder.embedders.tf_checkpoint import read_checkpoint

    read_checkpoint((folder / "w.index").read_bytes(), (folder / "w.data").read_bytes(), "w")


def _tensors(suffix: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from builder.embedders.weights import read_tensors, select_tensors

        select_tensors(read_tensors(folder / f"w.{suffix}"), {"a.weight": (3, 4), "b": (5,)}, (), "w")

    return read


# Words ------------------------------------------------------------------------------------------------------------

RECIPE = b"""name: small
taxonomy: paper
prompts: {per_genre: 3, strategy: template, seed: 1}
generator: {name: arranger, seconds: 2}
split: {validation: 0.2, seed: 0}
embedder: {name: melstats, augment: ["noise:20"]}
training: {task: genre, hidden: [16], lr: 0.001}
evaluation: {benchmarks: [validation], bootstrap: 200}
ablation: {vary: {training.seed: [0, 1]}, seeds: 1}
"""
TAXONOMY = b"""name: mine
genres:
  - pop
  - name: drone
    tag: Drone
    subgenres:
      Deep Drone: {tempo: [60, 80], instruments: [synth pad, rock organ, cello], words: [slow swells, low hums]}
    instruments: [synth pad, rock organ, cello]
    moods: [playful, dark]
    productions: [warm tape, long reverb, soft noise]
    scenes: [a cave, a cold sea, an empty hall]
"""
MAPPING = b"""map: {jazz: funk, rock: pop, techno: electronica}
drop: {too far away: [folk, opera]}
otherwise: as nobody said
"""
CSV = b"""genre,description,mood,tempo_bpm,instruments
pop,A bright tune with claps.,dark,120,electric piano;drums
rock,"Loud guitars, long solos",,140,
electronica,A pulse,,,
"""
JSONL = b"""{"genre": "pop", "description": "A bright tune", "tempo_bpm": 120}
{"genre": "rock", "description": "Loud guitars", "instruments": []}
"""


def _recipe(folder: Path) -> None:
    from builder.recipe import Recipe

    recipe = Recipe.load(folder / "r.yaml")
    recipe.fingerprint()
    recipe.portable()


def _taxonomy(folder: Path) -> None:
    from builder.taxonomy import Taxonomy

    found = Taxonomy.load("t.yaml", folder)
    _ = found.genre_names, found.mood_names, found.instrument_names


def _mapping(folder: Path) -> None:
    from evaluation.benchmarks.mapping import find_mapping

    own = ["jazz", "rock", "techno", "folk", "opera"]
    str(find_mapping([], own, ["electronica", "funk", "pop"], str(folder / "m.yaml")))


def _descriptions(suffix: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from builder.prompts.sources import read_descriptions as lines
        from builder.taxonomy import Taxonomy

        found = lines(folder / f"d.{suffix}", Taxonomy.load("paper"), growing=suffix == "jsonl")
        for line in (line for part in found.values() for line in part):
            line.description.encode()

    return read


def _benchmark(name: str) -> tuple[Callable[[Path], None], Callable[[Path], None]]:
    def seed(root: Path) -> None:
        from tests.evaluation.benchmarks import miniatures

        getattr(miniatures, name)(root)

    def read(root: Path) -> None:
        from evaluation.benchmarks.base import load_benchmark

        labels = {"nsynth": ["bass", "guitar"], "fma": ["Rock", "Pop"]}.get(name, ["classical", "rock", "techno"])
        found = load_benchmark(f"{name}:{root}", labels, "genre" if name == "fma" else "instruments")
        found.check()
        found.rows(None)

    return seed, read


def _ledger_seed(root: Path) -> None:
    from dataclasses import asdict

    from builder.corpus.shards import Entry

    entries = [Entry(f"data/train-{i:05d}-of-00003.parquet", "0" * 64, 1.5, 4, "x") for i in range(3)]
    put(root, {"ledger.jsonl": "".join(json.dumps(asdict(one)) + "\n" for one in entries).encode()})


def _ledger(root: Path) -> None:
    from builder.corpus.shards import Ledger

    ledger = Ledger(root)
    ledger.has_intact(root, "data/train-00000-of-00003.parquet", "x")
    sum(entry.seconds + entry.rows for entry in ledger.entries.values())


def _record(root: Path) -> None:
    from builder.errors import DataError
    from builder.records import RunRecord

    try:
        RunRecord.read(root / "r.json")
    except (OSError, ValueError, TypeError) as error:  # as its callers do
        raise DataError(str(error)) from error


def _metadata_seed(root: Path) -> None:
    put(root, {"rock/a.wav": tone("WAV"), "b.flac": tone("FLAC"),
               "metadata.csv": b"file_name,label,tempo\nrock/a.wav,rock,120\nb.flac,jazz,90\n"})  # fmt: skip


def _metadata_lines_seed(root: Path) -> None:
    _metadata_seed(root)
    (root / "metadata.csv").unlink()
    put(root, {"metadata.jsonl": b'{"file_name": "rock/a.wav", "label": "rock", "tempo": 120, "tags": ["a"]}\n'
                                 b'{"file_name": "b.flac", "label": null, "tempo": 9, "tags": []}\n'})  # fmt: skip


def _source(root: Path) -> None:
    from builder.embedders.audio_sources import open_source

    for part in open_source(str(root), "audio", 10).values():
        part.hash_audio()
        list(part.read_batches(4))


def _cache_seed(root: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, vectors=np.ones((4, 3), np.float32), starts=np.array([0, 2, 4]), reasons=np.array(["", ""]))
    put(root, {"h.npz": buffer.getvalue()})


def _read_cache(root: Path) -> object:
    from evaluation.inference.embedding_cache import _read

    return ["unreadable"] if _read(root / "h.npz", 2) is None else None


def _dataset_seed(root: Path) -> None:
    """What `datasets` saves: Arrow files beside JSON."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features(
        {"id": Value("string"), "embedding": List(Value("float32")), "genre": ClassLabel(names=["a", "b"])}
    )
    rows = {
        "id": [f"r{i}" for i in range(40)],
        "embedding": [[float(i), 1.0] for i in range(40)],
        "genre": [i % 2 for i in range(40)],
    }
    Dataset.from_dict(rows, features=features).save_to_disk(str(root))


def _dataset(root: Path) -> None:
    from training.data.features import load_features

    load_features(root, "melstats", "genre")


def _recipe_seed(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda root: put(root, {name: data})


def _annotation_seed(folder: Path) -> None:
    from builder.annotations.annotation import Annotation, Notes, Segments
    from builder.annotations.jams import write_jams
    from builder.annotations.labs import write_beats, write_lab

    beats, positions = np.array([0.1, 0.6]), np.array([1, 2], np.int8)
    chords = Segments(np.array([0.0]), np.array([1.0]), ("C:maj",))
    whole = (np.array([value], np.int16) for value in (60, 90, 0))
    notes = Notes(beats[:1], beats[1:], *whole, np.array([False]), np.zeros(1, np.int16))
    melody = np.full(100, 261.6, np.float32)
    annotation = Annotation("a", 1.0, beats, positions, 120.0, "4/4", chords, "C:major", None, melody, notes)
    write_jams(annotation, folder / "a.jams")
    write_beats(folder / "a.beats", beats, positions)
    write_lab(folder / "a.lab", chords)


def _annotation(folder: Path) -> None:
    from builder.annotations.jams import read_jams
    from builder.annotations.labs import read_beats, read_lab

    read_jams(folder / "a.jams")
    read_beats(folder / "a.beats")
    read_lab(folder / "a.lab")


MIRDATA = {  # data sets of mirdata, and files of each to damage
    "gtzan_genre": (
        "gtzan_genre_index_1.0.json",
        "gtzan_tempo_beat-main/beats/gtzan_blues_00000.beats",
        "gtzan_tempo_beat-main/tempo/gtzan_blues_00000.bpm",
    ),
    "maestro": ("2018/MIDI-Unprocessed_test_wav--1.midi", "maestro-v2.0.0.json"),
    "guitarset": ("annotation/03_BN3-119-G_comp.jams",),
}


def _mirdata(name: str) -> tuple[Callable[[Path], None], Callable[[Path], None]]:
    def seed(root: Path) -> None:
        from tests.evaluation.benchmarks.mirdata_miniatures import MAKERS

        MAKERS[name](root)

    def read(root: Path) -> None:
        from evaluation.benchmarks.annotated import load_annotated

        tracks = load_annotated(f"mirdata:{name}:{root}")
        for track in tracks:
            track.annotation.to_row()
        assert isinstance(tracks.notes, list)

    return seed, read


def _annotated_folder_seed(root: Path) -> None:
    beside = {
        "beats": b"0.5\t1\n1.0\t2\n",
        "lab": b"0.0 1.0 C:maj\n1.0 2.0 A:min7\n",
        "key": b"Bb minor\n",
        "bpm": b"99\n",
    }
    put(root, {"a.wav": tone("WAV"), "metadata.csv": b"file,artist\na.wav,Ada\n"})
    put(root, {f"a.{suffix}": text for suffix, text in beside.items()})


def _annotated_folder(root: Path) -> None:
    from evaluation.benchmarks.annotated import load_annotated

    for track in load_annotated(f"folder:{root}"):
        track.annotation.to_row()


SHARDS = ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet")
VECTORS = ("melstats/train-00000-of-00001.parquet", "melstats/validation-00000-of-00001.parquet")
PLAYED = tuple(f"{config}/{Path(shard).name}" for config in ("annotations", "stems") for shard in SHARDS)
RECORDS = ("records/build.json", "records/embed-melstats.json", "recipe.yaml")
ARROW = ("data-00000-of-00001.arrow", "state.json", "dataset_info.json")
SMALL: dict[str, Any] = {"r.json": json.dumps({
    "command": "train", "fingerprint": FINGERPRINT, "wall_seconds": 1.0, "rows": 3, "details": {"corpus": "../c"},
}).encode()}  # fmt: skip

READERS: tuple[Reader, ...] = (
    *(
        Reader(f"audio, {kind}", _audio_seed(kind), _decode, (f"a.{kind.lower()}",), weight, place)
        for kind, weight, place in (
            ("WAV", 6, (0, 0.02)),
            ("FLAC", 6, (0, 1)),
            ("MP3", 6, (0, 1)),
            ("OGG", 6, (0, 1)),
            ("AIFF", 3, (0, 0.02)),
            ("AU", 2, (0, 0.02)),
        )
    ),
    Reader("audio, joined MP3", _spliced_seed("mp3"), _decode, ("a.mp3",), 6),
    Reader("audio, chained OGG", _spliced_seed("ogg"), _decode, ("a.ogg",), 3),
    Reader("audio, MP3 in WAV", _spliced_seed("wav"), _decode, ("a.wav",), 3, (0, 0.1)),
    Reader("corpus, verified: shards", corpus, _verify, SHARDS, 3, repair=right_sums),
    Reader("corpus, verified: footers", corpus, _verify, SHARDS, 3, (0.85, 1), right_sums),
    Reader("corpus, verified: embeddings", corpus, _verify, VECTORS, 3, repair=right_sums),
    Reader("corpus, verified: records", corpus, _verify, ("SHA256SUMS", *RECORDS), 2),
    Reader("corpus, opened", corpus, _open, ("SHA256SUMS", *RECORDS), 6),
    Reader("corpus, trained on", corpus, _features, VECTORS, 10),
    Reader("corpus, as a target", corpus, _parts, VECTORS, 5),
    Reader("corpus, its clips", corpus, _clips, SHARDS[1:], 5),
    Reader("corpus, exported", corpus, _export, (*SHARDS, "README.md"), 2, repair=right_sums),
    Reader("corpus, annotations exported", annotated_corpus, _export_annotations, PLAYED, 1, repair=right_sums),
    Reader("corpus, annotations explored", annotated_corpus, _explore_annotations, PLAYED, 1),
    Reader("corpus, explored", corpus, _explore, (*SHARDS, *VECTORS), 2),
    Reader("corpus, embedded", corpus, _embed, (*SHARDS, *RECORDS, *VECTORS, "README.md"), 1, repair=right_sums),
    Reader("data set on disk", _dataset_seed, _dataset, ARROW, 2),
    Reader("model folder", model, _predict, ("config.json", "training.json"), 6),
    Reader("model folder: weights", model, _predict, ("model.safetensors",), 6, (0, 0.8)),
    Reader("weights, safetensors", weights, _tensors("safetensors"), ("w.safetensors",), 8, (0, 0.8)),
    Reader("weights, torch", weights, _tensors("pt"), ("w.pt",), 8),
    Reader("weights, TensorFlow", tensorflow_weights, read_tensorflow_weights, ("w.index", "w.data"), 8),
    Reader("recipe", _recipe_seed("r.yaml", RECIPE), _recipe, ("r.yaml",), 8),
    Reader("taxonomy", _recipe_seed("t.yaml", TAXONOMY), _taxonomy, ("t.yaml",), 8),
    Reader("mapping", _recipe_seed("m.yaml", MAPPING), _mapping, ("m.yaml",), 8),
    Reader("descriptions, CSV", _recipe_seed("d.csv", CSV), _descriptions("csv"), ("d.csv",), 8),
    Reader("descriptions, JSONL", _recipe_seed("d.jsonl", JSONL), _descriptions("jsonl"), ("d.jsonl",), 8),
    Reader("benchmark, FMA", *_benchmark("fma"), ("fma_metadata/tracks.csv",), 2),
    Reader("benchmark, MagnaTagATune", *_benchmark("magnatagatune"), ("annotations_final.csv",), 2),
    Reader("benchmark, NSynth", *_benchmark("nsynth"), ("nsynth-test/examples.json",), 4),
    Reader("annotation, JAMS", _annotation_seed, _annotation, ("a.jams",), 4),
    Reader("annotation, beats", _annotation_seed, _annotation, ("a.beats",), 4),
    Reader("annotation, lab", _annotation_seed, _annotation, ("a.lab",), 4),
    *(Reader(f"annotated tracks, {name}", *_mirdata(name), files, 3) for name, files in MIRDATA.items()),
    Reader(
        "annotated tracks, folder",
        _annotated_folder_seed,
        _annotated_folder,
        ("a.beats", "a.lab", "a.key", "a.bpm"),
        3,
    ),
    Reader("ledger", _ledger_seed, _ledger, ("ledger.jsonl",), 6),
    Reader("run record", lambda root: put(root, SMALL), _record, ("r.json",), 6),
    Reader("folder of audio", _metadata_seed, _source, ("metadata.csv",), 3),
    Reader("folder of audio, JSONL", _metadata_lines_seed, _source, ("metadata.jsonl",), 3),
    Reader("cached predictions", _cache_seed, _read_cache, ("h.npz",), 6),
)
