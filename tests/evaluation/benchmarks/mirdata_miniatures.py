"""Data sets of mirdata, small, in the layouts that its indexes name."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi

from .miniatures import put, sound

SECONDS = 4.0
Index = dict[str, dict[str, list[str | None]]]


def write_index(root: Path, name: str, tracks: Index, **more: object) -> Path:
    """Write the index under the name that the loader's default version has."""
    module = __import__(f"mirdata.datasets.{name}", fromlist=["INDEXES"])
    entry = module.INDEXES.get(module.INDEXES["default"]) or module.INDEXES["sample"]
    text = json.dumps({"version": "1.0", "tracks": tracks, **more})
    return put(root / entry.filename.replace("_sample", ""), text)


def add(root: Path, path: str, data: bytes | str) -> list[str | None]:
    """Write a file of a data set, and return its entry in the index."""
    put(root / path, data)
    return [path, "0" * 32]


def audio(root: Path, path: str) -> list[str | None]:
    kind = path.rpartition(".")[2]
    return add(root, path, sound(kind, 22_050, seconds=SECONDS))


def gtzan_genre(root: Path) -> Path:
    """Three genres of two tracks, with tab-separated beats and bars; the last one has no beats."""
    tracks: Index = {}
    for genre in ("blues", "hiphop", "rock"):
        for number in range(2):
            name, stem = f"{genre}.{number:05d}", f"gtzan_{genre}_{number:05d}"
            beats = "".join(f"{0.25 + 0.5 * beat:.3f}\t{beat % 4 + 1}\n" for beat in range(7))
            tracks[name] = {
                "audio": audio(root, f"gtzan_genre/genres/{genre}/{name}.wav"),
                "beats": add(root, f"gtzan_tempo_beat-main/beats/{stem}.beats", beats),
                "tempo": add(root, f"gtzan_tempo_beat-main/tempo/{stem}.bpm", "120.0\n"),
            }
    tracks["rock.00001"]["beats"] = [None, None]
    write_index(root, "gtzan_genre", tracks)
    return root


def ballroom(root: Path) -> Path:
    """A waltz, with spaces between the time and the place in the bar."""
    name = "Media-105901"
    beats = "".join(f"{0.1 + 0.6 * beat:.2f} {beat % 3 + 1}\n" for beat in range(6))
    write_index(
        root,
        "ballroom",
        {
            name: {
                "audio": audio(root, f"B_1.0/audio/Waltz/{name}.wav"),
                "beats": add(root, f"B_1.0/annotations/beats/{name}.beats", beats),
                "tempo": add(root, f"B_1.0/annotations/tempo/{name}.bpm", "100\n"),
            }
        },
    )
    return root


def giantsteps_key(root: Path) -> Path:
    """Two excerpts of Beatport, one of them without a key."""
    tracks: Index = {}
    for number, key in (("3", "D minor"), ("4", "-")):
        name = f"1008{number} Someone - Something (Original Mix)"
        about = {"artists": [{"name": "Someone"}], "genres": [{"name": "Techno"}], "sub_genres": [], "bpm": "128"}
        tracks[number] = {
            "audio": audio(root, f"audio/{name}.mp3"),
            "meta": add(root, f"meta/{name}.json", json.dumps(about)),
            "key": add(root, f"keys_gs+/{name}.txt", key),
        }
    write_index(root, "giantsteps_key", tracks)
    return root


def giantsteps_tempo(root: Path) -> Path:
    """One excerpt; the annotations of 2018 correct those of 2015."""
    base = "giantsteps-tempo-dataset-0b7d47ba8cae59d3535a02e3db69e2cf6d0af5bb"

    def jams(*tempi: tuple[float, float]) -> str:
        data = [{"time": 0, "duration": 120.0, "value": bpm, "confidence": share} for bpm, share in tempi]
        genre = [{"time": 0, "duration": 120.0, "value": "techno", "confidence": 1.0}]
        return json.dumps({"annotations": [{"data": data}, {"data": genre}]})

    write_index(
        root,
        "giantsteps_tempo",
        {
            "113": {
                "audio": audio(root, "audio/28952.LOFI.mp3"),
                "annotation_v1": add(root, f"{base}/annotations/jams/28952.LOFI.jams", jams((140.0, 1.0))),
                "annotation_v2": add(
                    root, f"{base}/annotations_v2/jams/28952.LOFI.jams", jams((137.0, 0.2), (68.5, 0.8))
                ),
            }
        },
    )
    return root


def beatles(root: Path) -> Path:
    """A song, and one without beats and key, as Revolution 9 has none."""
    tracks: Index = {}
    for number, album, song in (("0111", "01_-_Please_Please_Me", "11_-_A_Secret"), ("10212", "10CD2", "12_-_Nine")):
        chords = "0.000 1.000 N\n1.000 2.500 E:min\n2.500 4.000 B:7/3\n"
        place = f"The Beatles/{album}/{song}"
        tracks[number] = {
            "audio": audio(root, f"audio/{album}/{song}.wav"),
            "beat": add(root, f"annotations/beat/{place}.txt", "0.500  4\n1.000  1\n1.500  2\n2.000  3\n2.500  4\n"),
            "chords": add(root, f"annotations/chordlab/{place}.lab", chords),
            "keys": add(
                root,
                f"annotations/keylab/{place}.lab",
                "0.0\t1.0\tSilence\n1.0\t1.5\tKey\tE\n1.5\t4\tKey\tA:aeolian\n",
            ),
            "sections": add(root, f"annotations/seglab/{place}.lab", "0.0\t1.0\t0.0\tsilence\n1.0\t4.0\t0.0\tverse\n"),
        }
    tracks["10212"] |= {"beat": [None, None], "keys": [None, None]}
    write_index(root, "beatles", tracks)
    return root


def guitarset(root: Path) -> Path:
    """One excerpt: JAMS with notes and contours of six strings, two kinds of chords, beats and the key."""

    def event(time: float, duration: float, value: object) -> dict[str, Any]:
        return {"time": time, "duration": duration, "value": value, "confidence": None}

    played = {0: [event(0.5, 0.5, 40.02)], 2: [event(1.0, 1.0, 50.4), event(2.0, 0.5, 51.6)]}
    parts: list[dict[str, Any]] = []
    for string in range(6):
        source = {"annotation_metadata": {"data_source": str(string)}}
        contour: dict[str, Any] = {"time": [], "duration": [], "value": []}
        for note in played.get(string, []):
            for step in range(10):
                contour["time"].append(note["time"] + step * 0.00580499)
                contour["value"].append({"index": 0, "frequency": 440.0, "voiced": True})
        parts.append({"namespace": "note_midi", "data": played.get(string, []), **source})
        parts.append({"namespace": "pitch_contour", "data": contour, **source})
    chords = (["G:maj", "D:7"], ["G:maj(9)/3", "D:7/b7"])
    parts += [
        {"namespace": "chord", "data": [event(0.0, 2.0, first), event(2.0, 2.0, second)]} for first, second in chords
    ]
    beats = [event(0.5 * number, 0.0, {"position": number % 4 + 1, "measure": 1}) for number in range(8)]
    parts.append({"namespace": "beat_position", "data": beats})
    parts.append({"namespace": "key_mode", "data": [event(0.0, 4.0, "G:major")]})
    name = "03_BN3-119-G_comp"
    files = {
        "audio_hex_cln": audio(root, f"audio_hex-pickup_debleeded/{name}_hex_cln.wav"),
        "audio_hex": audio(root, f"audio_hex-pickup_original/{name}_hex.wav"),
        "audio_mic": audio(root, f"audio_mono-mic/{name}_mic.wav"),
        "audio_mix": audio(root, f"audio_mono-pickup_mix/{name}_mix.wav"),
        "jams": add(root, f"annotation/{name}.jams", json.dumps({"annotations": parts})),
    }
    write_index(root, "guitarset", {name: files})
    return root


def midi_file(drums: bool = False) -> bytes:
    """A type-1 MIDI file at 120 bpm in 4/4 with two notes of a piano, and a snare if asked for."""
    song = pretty_midi.PrettyMIDI(initial_tempo=120)
    song.time_signature_changes = [pretty_midi.TimeSignature(4, 4, 0.0)]
    instrument = pretty_midi.Instrument(0, is_drum=drums)
    pitches = (38, 36) if drums else (60, 64)
    instrument.notes = [pretty_midi.Note(90 + place, pitch, place, place + 0.5) for place, pitch in enumerate(pitches)]
    song.instruments.append(instrument)
    buffer = io.BytesIO()
    song.write(buffer)
    return buffer.getvalue()


def maestro(root: Path) -> Path:
    """One performance in each part, with MIDI of the piano."""
    tracks: Index = {}
    about = []
    for split in ("train", "test"):
        name = f"2018/MIDI-Unprocessed_{split}_wav--1"
        tracks[name] = {"midi": add(root, f"{name}.midi", midi_file()), "audio": audio(root, f"{name}.wav")}
        about.append(
            {"midi_filename": f"{name}.midi", "split": split, "canonical_composer": "F. Chopin", "year": 2018}
        )
    put(root / "maestro-v2.0.0.json", json.dumps(about))
    write_index(root, "maestro", tracks)
    return root


def medleydb_melody(root: Path) -> Path:
    """One mix with the three kinds of melody every 256 samples of 44.1 kHz."""
    times = np.arange(600) * 256 / 44_100
    first = "".join(f"{time:.6f},{220.0 if time >= 1 else 0.0}\n" for time in times)
    second = "".join(f"{time:.6f},{330.0 if time >= 1 else 0.0}\n" for time in times)
    third = "".join(f"{time:.6f},220.0,330.0\n" for time in times)
    name = "MusicDelta_Beethoven"
    files = {"audio": audio(root, f"audio/{name}_MIX.wav")}
    files |= {
        f"melody{kind}": add(root, f"melody{kind}/{name}_MELODY{kind}.csv", text)
        for kind, text in enumerate((first, second, third), 1)
    }
    about = {"artist": "MusicDelta", "genre": "Classical", "title": "Beethoven", "n_sources": 18}
    put(root / "medleydb_melody_metadata.json", json.dumps({name: about}))
    write_index(root, "medleydb_melody", {name: files})
    return root


def groove_midi(root: Path) -> Path:
    """One take of a drummer, whose table names tempo, metre and part."""
    name = "drummer1/eval_session/1"
    stem = f"{name}_funk-groove1_138_beat_4-4"
    row = f"drummer1,drummer1/eval_session,{name},funk/groove1,138,beat,4-4,{stem}.mid,{stem}.wav,4.0,test"
    put(
        root / "info.csv",
        f"drummer,session,id,style,bpm,beat_type,time_signature,midi_filename,audio_filename,duration,split\n{row}\n",
    )
    files = {"midi": add(root, f"{stem}.mid", midi_file(drums=True)), "audio": audio(root, f"{stem}.wav")}
    write_index(root, "groove_midi", {name: files})
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    maker.__name__: maker
    for maker in (
        gtzan_genre, ballroom, giantsteps_key, giantsteps_tempo, beatles, guitarset, maestro, medleydb_melody,
        groove_midi,
    )
}  # fmt: skip
