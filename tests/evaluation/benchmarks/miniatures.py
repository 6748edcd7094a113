"""Each benchmark small, in its exact on-disk format, with audio in its real codec."""

from __future__ import annotations

import csv
import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from evaluation.benchmarks.gtzan import GENRES as GTZAN
from evaluation.benchmarks.gtzan import LISTS

TAGS = [row["tag"] for row in csv.DictReader((LISTS / "magnatagatune_tags.csv").open(encoding="utf-8"))]


@cache
def sound(kind: str, rate: int, channels: int = 1, seconds: float = 0.3) -> bytes:
    """A short tone as a file of its kind: wav, au, mp3 or ogg."""
    time = np.arange(round(seconds * rate)) / rate
    samples = np.repeat(0.3 * np.sin(2 * np.pi * 220 * time)[:, None], channels, axis=1)
    buffer = io.BytesIO()
    subtype = {"wav": "PCM_16", "au": "PCM_16", "mp3": None, "ogg": "VORBIS"}[kind]
    soundfile.write(buffer, samples, rate, format=kind.upper(), subtype=subtype)
    return buffer.getvalue()


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@cache
def gtzan_tracks() -> list[str]:
    """Of each genre two tracks of every part of the filtered split, two that are in none, and the bad one."""
    table = pd.read_csv(LISTS / "gtzan_fault_filtered.csv")
    table["genre"] = table["track"].str.partition(".")[0]
    usable = table.groupby(["split", "genre"]).head(2)["track"].tolist()
    faults = [
        track
        for genre in GTZAN
        for track in [f"{genre}.{n:05d}" for n in range(100) if f"{genre}.{n:05d}" not in set(table["track"])][:2]
    ]
    return sorted({*usable, *faults, "jazz.00054"})


def gtzan(root: Path, layout: str = "archive") -> Path:
    """`archive` (genres/blues/blues.00000.au), `kaggle` (Data/genres_original, wav), `flat` (blues_00000.wav)."""
    kind = "au" if layout == "archive" else "wav"
    for track in gtzan_tracks():
        genre, _, number = track.partition(".")
        name = {
            "archive": f"genres/{genre}/{track}.au",
            "kaggle": f"Data/genres_original/{genre}/{track}.wav",
            "flat": f"{genre}_{number}.wav",
        }[layout]
        broken = track == "jazz.00054" and layout == "kaggle"
        put(root / name, b"\0" * 4096 if broken else sound(kind, 22_050))
    if layout == "kaggle":
        put(root / "Data/features_30_sec.csv", "filename,length\n")
        put(root / "Data/images_original/blues/blues00000.png", b"png")
    return root


def fma(root: Path, size: str = "small") -> Path:
    """fma_metadata/tracks.csv with its three header lines, and fma_<size>/000/000002.mp3 ..."""
    genres = ["Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop", "Rock"]
    rows = []
    for number, genre in enumerate(genres):
        for copy, split in enumerate(("training", "training", "validation", "test", "test")):
            rows.append((number * 10 + 100_000 + copy, split, "small", genre, 40 + number * 5 + copy))
    rows += [(99_134, "test", "small", "Rock", 7), (108_925, "training", "small", "Pop", 7)]  # known to be silent
    rows += [(2, "test", "medium", "Jazz", 1), (3, "training", "medium", "Jazz", 2), (5, "test", "large", "", 3)]
    top = ["", "album", "artist", "set", "set", "track", "track"]
    second = ["", "title", "id", "split", "subset", "genre_top", "genres"]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerows([top, second, ["track_id", *[""] * 6]])
    for track, split, subset, genre, artist in rows:
        writer.writerow([track, 'An album, "so called"\nof two lines', artist, split, subset, genre, "[21, 4]"])
    put(root / "fma_metadata/tracks.csv", buffer.getvalue())
    put(root / "fma_metadata/genres.csv", "genre_id,#tracks,parent,title,top_level\n")
    sizes = ("small", "medium", "large")
    for track, _, subset, _, _ in rows:
        if sizes.index(subset) <= sizes.index(size):
            name, silent = f"{track:06d}", track in (99_134, 108_925)
            put(root / f"fma_{size}/{name[:3]}/{name}.mp3", b"" if silent else sound("mp3", 44_100, 2))
    put(root / f"fma_{size}/checksums", "0  000/000002.mp3\n")
    return root


def magnatagatune(root: Path) -> Path:
    """annotations_final.csv, separated by tabs, with all 188 tags, and the sixteen folders."""
    clips = []  # (clip, folder, artist, tags)
    for number, folder in enumerate("0123456789abcdef"):
        clips.append((number, folder, f"the_{folder}_band", ["rock", "guitar", "no vocals"]))
        clips.append((100 + number, folder, f"the_{folder}_band", ["techno", "female vocal"]))
        clips.append((200 + number, folder, f"quartet_{folder}", ["classical", "new age", "harpsicord"]))
    clips += [(300, "d", "nobody", []), (301, "e", "rarely", ["birds"]), (302, "f", "both", ["rock", "techno"])]
    clips.append((35644, "6", "norine_braun", ["rock"]))
    lines = ["\t".join(["clip_id", *TAGS, "mp3_path"])]
    for clip, folder, artist, tags in clips:
        name = f"{folder}/{artist}-an_album-01-{clip}-0-29.mp3"
        marks = ["1" if tag in tags else "0" for tag in TAGS]
        lines.append("\t".join(f'"{field}"' for field in [str(clip), *marks, name]))
        put(root / name, b"" if clip == 35644 else sound("mp3", 16_000))
    put(root / "annotations_final.csv", "\n".join(lines) + "\n")
    return root


JAMENDO = {
    "train": [(214, 14, ["genre---rock"]), (948, 20, ["genre---electronic", "genre---techno", "instrument---piano"])],
    "validation": [(1215, 30, ["genre---pop", "mood/theme---happy"])],
    "test": [
        (2316, 40, ["genre---rock", "genre---hardrock", "instrument---piano", "mood/theme---dark"]),
        (2417, 41, ["genre---house", "instrument---flute", "mood/theme---happy"]),
        (2518, 42, ["genre---rock", "genre---electronic", "instrument---guitar", "mood/theme---film"]),
        (2619, 43, ["genre---jazz", "instrument---violin", "mood/theme---sad"]),
    ],
}


def jamendo(root: Path, low: bool = False) -> Path:
    """data/splits/split-N/*.tsv, ragged and with CRLF, and audio/48/948.mp3 (or 48/948.low.mp3)."""
    categories = {"genre": "genre", "instrument": "instrument", "moodtheme": "mood/theme"}
    for number in range(5):
        for part, tracks in JAMENDO.items():
            for subset in ("_genre", "_instrument", "_moodtheme", "_top50tags", ""):
                lines = ["\t".join(["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"])]
                for track, artist, tags in tracks:
                    category = categories.get(subset[1:])
                    usable = [tag for tag in tags if category is None or tag.startswith(f"{category}---")]
                    if usable:
                        name = f"{track % 100:02d}/{track}.mp3"
                        about = [f"track_{track:07d}", f"artist_{artist + number:06d}", "album_000001", name, "183.4"]
                        lines.append("\t".join([*about, *usable]))
                put(root / f"data/splits/split-{number}/autotagging{subset}-{part}.tsv", "\r\n".join(lines) + "\r\n")
    for track, *_ in (row for rows in JAMENDO.values() for row in rows):
        suffix = "low.mp3" if low else "mp3"
        put(root / f"audio/{track % 100:02d}/{track}.{suffix}", sound("mp3", 44_100, 2))
    return root


def nsynth(root: Path) -> Path:
    """nsynth-{train,valid,test}/examples.json and audio/*.wav."""
    families = {"flute": 2, "guitar": 3, "synth_lead": 9}
    for part, count in (("train", 3), ("valid", 1), ("test", 2)):
        notes = {}
        for family, number in families.items():
            if family == "synth_lead" and part != "train":
                continue
            for pitch in range(60, 60 + count):
                key = f"{family}_acoustic_{number:03d}-{pitch:03d}-100"
                notes[key] = {
                    "note": len(notes), "note_str": key, "instrument": number, "instrument_str": key[:-8],
                    "pitch": pitch, "velocity": 100, "sample_rate": 16_000, "qualities": [0] * 10, "qualities_str": [],
                    "instrument_family": number, "instrument_family_str": family, "instrument_source": 0,
                    "instrument_source_str": "acoustic",
                }  # fmt: skip
                put(root / f"nsynth-{part}/audio/{key}.wav", sound("wav", 16_000))
        put(root / f"nsynth-{part}/examples.json", json.dumps(notes))
    return root


def folder(root: Path) -> Path:
    """A folder a label, with what people keep their music in."""
    put(root / "Rock/a.ogg", sound("ogg", 48_000, 2))
    put(root / "pop/b.mp3", sound("mp3", 44_100))
    return root


def audiofolder(root: Path) -> Path:
    """What `datasets` calls an audio folder: files and metadata.csv, a folder a split."""
    for part, rows in {"train": 3, "test": 4}.items():
        lines = ["file_name,genre,artist,tempo"]
        for number in range(rows):
            put(root / part / f"{number}.ogg", sound("ogg", 48_000))
            lines.append(f"{number}.ogg,{('Rock', 'hip hop')[number % 2]},artist {number},{90.5 + number}")
        put(root / part / "metadata.csv", "\n".join(lines) + "\n")
    return root
