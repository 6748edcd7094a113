"""Measure how far the sound of the arranger's clips agrees with their annotations, and write the page of it.

python docs/results/annotations.py [--clips 500] [--quick] [--out DIR]

Renders clips of the recipe `demo` with their stems, in both versions of the sound, and compares them with
`Arranger.annotate`. `annotation_checks.py` has the measures. Writes annotations.json and annotations.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import annotation_checks as checks  # noqa: E402

INHARMONIC = (8, 9, 14, 98, 112, 113)  # celesta, glockenspiel, bells, crystal: their partials are no multiples of f0
LOUD = 64  # velocity: half of the full one
REACH = 0.03  # seconds after a stroke in which drums are compared with the rest
Figures = dict[str, list[float]]


def main() -> None:
    """Measure and write, or only write the page again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=500, help="of version 2; a fifth of it of version 1")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="10 clips: to try this script")
    parser.add_argument("--page", action="store_true", help="write the page again from the figures")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    if options.page:
        record = json.loads((options.out / "annotations.json").read_text(encoding="utf-8"))
        (options.out / "annotations.md").write_text(render_page(record), encoding="utf-8")
        return
    clips = 10 if options.quick else options.clips
    figures = {
        version: measure_version(version, count, options.processes)
        for version, count in (("2", clips), ("1", clips // 5))
    }
    from builder.records import describe_device, package_versions

    record = {
        "command": f"python docs/results/annotations.py --clips {clips}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": describe_device(),
        "packages": package_versions(),
        "versions": figures,
    }
    (options.out / "annotations.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.out / "annotations.md").write_text(render_page(record), encoding="utf-8")


def measure_version(version: str, count: int, processes: int) -> dict[str, Any]:
    """Measure clips of one version of the sound, spread over the recipe's genres."""
    with ProcessPoolExecutor(processes) as pool:
        parts = list(
            pool.map(
                measure_clips, [version] * processes, [count] * processes, range(processes), [processes] * processes
            )
        )
    figures: Figures = defaultdict(list)
    for part in parts:
        for name, values in part.items():
            figures[name] += values
    return summarise(figures) | {"clips": len(figures["render_ms"])}


def measure_clips(version: str, count: int, first: int, step: int) -> dict[str, list[float]]:
    """Measure each `step`-th of the clips, from the number `first` on."""
    from builder.corpus.building.plan import plan_clips
    from builder.corpus.building.shard_builder import load_recipe_generator
    from builder.recipe import Recipe

    recipe = Recipe.load("demo").with_values({"generator.revision": version})
    arranger: Any = load_recipe_generator(recipe)
    rows = sorted(plan_clips(recipe), key=lambda row: row.id)
    rows = rows[:: max(1, len(rows) // count)][:count]
    figures: Figures = defaultdict(list)
    for number in range(first, len(rows), step):
        row = rows[number]
        started = time.process_time()
        ((mix, stems),) = arranger.generate_stems([row])
        rendered = time.process_time()
        annotation = arranger.annotate(row)
        figures["annotate_ms"].append(1000.0 * (time.process_time() - rendered))
        figures["render_ms"].append(1000.0 * (rendered - started))
        measure_drums(annotation, mix, stems, arranger.sampling_rate, number, figures)
        measure_harmony(annotation, mix, stems, arranger.sampling_rate, figures)
        measure_melody(annotation, stems, arranger.sampling_rate, figures)
        print(f"version {version}: {number + 1} of {len(rows)}", file=sys.stderr)
    return dict(figures)


def measure_drums(
    annotation: Any, mix: np.ndarray, stems: dict[str, np.ndarray], rate: int, seed: int, figures: Figures
) -> None:
    """Measure strokes on the drums' stem, those in front in the mix, and the beats of clips with drums."""
    strokes = annotation.notes.is_drum
    if "drums" not in stems or not strokes.any():
        return
    strength = checks.measure_strength(stems["drums"], rate)
    peaks = checks.find_peaks(strength)
    events, loudest = checks.group_onsets(annotation.notes.onset[strokes], annotation.notes.velocity[strokes])
    deviations = checks.measure_deviations(events, peaks)
    figures["drums"] += deviations.tolist()
    figures["drums_loud"] += deviations[loudest >= LOUD].tolist()
    places = np.random.default_rng(seed).uniform(events[0][0], events[-1][-1], len(events))
    figures["drums_chance"] += checks.measure_deviations([place[None] for place in places], peaks).tolist()
    rest = mix - stems["drums"]
    in_mix = checks.measure_strength(mix, rate)
    front = [event for event in events if is_in_front(event, stems["drums"], rest, rate)]
    figures["mix"] += checks.measure_deviations(front, checks.find_peaks(in_mix)).tolist()
    half = len(annotation.beats) // 2
    figures["beats"].append(checks.measure_shift(annotation.beats, strength))
    figures["beats_mix"].append(checks.measure_shift(annotation.beats, in_mix))
    halves = [checks.measure_shift(part, strength) for part in (annotation.beats[:half], annotation.beats[half:])]
    figures["drift"].append(halves[1] - halves[0])


def is_in_front(event: np.ndarray, drums: np.ndarray, rest: np.ndarray, rate: int) -> bool:
    """Whether the drums are louder than everything else just after a stroke."""
    first = round(event[0] * rate / 1000.0)
    part = slice(first, first + round(REACH * rate))
    return float(np.sum(drums[part] ** 2)) > float(np.sum(rest[part] ** 2))


def measure_harmony(
    annotation: Any, mix: np.ndarray, stems: dict[str, np.ndarray], rate: int, figures: Figures
) -> None:
    """Measure chords on the stems of harmony and bass, on the mix, and on the annotated notes."""
    if "harmony" not in stems:
        return
    chroma = checks.measure_chroma(stems["harmony"], rate, "C3", 4)
    if "bass" in stems:  # of a bass its fundamentals: its fifth harmonic is a major third
        chroma += 0.7 * checks.measure_chroma(stems["bass"], rate, "E1", 2)
    played = draw_notes(annotation, chroma.shape[1], ("harmony",)).any(axis=0)
    chords = checks.drop_silent(annotation.chords, played)
    sounds = {"stems": chroma, "mix": checks.measure_chroma(mix, rate, "C2", 5)}
    sounds["notes"] = draw_notes(annotation, chroma.shape[1], ("harmony", "bass"))
    for name, sound in sounds.items():
        agreement = checks.measure_chords(chords, sound)
        figures[f"chord_seconds_{name}"].append(agreement.seconds)
        figures[f"chord_root_{name}"].append(agreement.root)
        figures[f"chord_{name}"].append(agreement.chord)


def draw_notes(annotation: Any, frames: int, stems: Sequence[str]) -> np.ndarray:
    """The chroma of the annotated notes of some stems, by their velocities."""
    chroma = np.zeros((12, frames))
    notes, times = annotation.notes, np.arange(frames) * checks.CHROMA_STEP
    for number in np.flatnonzero(~notes.is_drum):
        if annotation.tracks[notes.track[number]].stem in stems:
            sounding = (times >= notes.onset[number]) & (times < notes.offset[number])
            chroma[notes.pitch[number] % 12, sounding] += notes.velocity[number]
    return chroma


def measure_melody(annotation: Any, stems: dict[str, np.ndarray], rate: int, figures: Figures) -> None:
    """Measure f0 on the stem of a melody or a voice that one player has alone."""
    stem = "vocals" if any(track.stem == "vocals" for track in annotation.tracks) else "melody"
    players = [track for track in annotation.tracks if track.stem == stem]
    if stem not in stems or len(players) != 1 or players[0].program in INHARMONIC:
        return
    cents, held = checks.measure_pitch(annotation.melody, stems[stem], rate)
    figures["f0"] += np.abs(cents).tolist()
    figures[f"f0_{stem}"] += np.abs(cents[held]).tolist()
    figures["f0_held"] += np.abs(cents[held]).tolist()
    figures["f0_octave"] += np.abs((cents[held] + 600.0) % 1200.0 - 600.0).tolist()


def summarise(figures: Figures) -> dict[str, Any]:
    """The shares and the percentiles of what was measured."""
    out: dict[str, Any] = {}
    for name, most in (("drums", 10.0), ("drums_loud", 10.0), ("drums_chance", 10.0), ("mix", 10.0)):
        out[name] = _share(figures[name], most) | {"within_5_ms": _share(figures[name], 5.0)["share"]}
    for name in ("stems", "mix", "notes"):
        seconds = sum(figures[f"chord_seconds_{name}"])
        out[f"chords_{name}"] = {
            "seconds": seconds,
            "root": sum(figures[f"chord_root_{name}"]) / max(1e-9, seconds),
            "root_and_third": sum(figures[f"chord_{name}"]) / max(1e-9, seconds),
        }
    for name in ("f0", "f0_held", "f0_octave", "f0_melody", "f0_vocals"):
        out[name] = _share(figures[name], 20.0)
    for name in ("beats", "beats_mix", "drift"):
        shifts = figures[name] or [0.0]
        out[name] = _share(np.abs(shifts), 20.0) | {"percentiles_5_50_95": np.percentile(shifts, (5, 50, 95)).tolist()}
    out["annotate_ms"], out["render_ms"] = (float(np.median(figures[name])) for name in ("annotate_ms", "render_ms"))
    return out


def _share(values: Sequence[float] | np.ndarray, most: float) -> dict[str, Any]:
    """How many of the values are at most `most`."""
    return {"n": len(values), "share": float(np.mean(np.asarray(values) <= most)) if len(values) else None}


def render_page(record: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    both = record["versions"]
    lines = [
        "# How exact the arranger's annotations are\n",
        "Clips of the recipe `demo` were rendered with their stems and compared with the annotations that were made "
        "without rendering. Version 2 of the sound has rooms, amplifiers, tapes and codecs; version 1 a room and an "
        "equaliser.\n",
        "| measure | " + " | ".join(f"version {name}, {one['clips']} clips" for name, one in both.items()) + " |",
        "|---|" + "---:|" * len(both),
    ]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, *cells in _list_rows(list(both.values()))]
    lines += [
        "\n## What was measured\n",
        "* **Drums**: events are strokes that follow each other within 20 ms. Deviation: to the nearest peak of the "
        "onset strength (rise of the square root of the magnitudes over 4 ms, 8 ms windows, 1 ms steps) that is 1.5 "
        "times the median around it. *Chance* is the same of random times. Ghost notes and quiet hi-hats under what "
        "still rings have no peak of their own, and tambourines rise 6 to 13 ms late. In the mix: events at which the "
        "drums are louder than everything else.",
        "* **Chords**: mean chroma (constant-Q, three bins a semitone, of which the middle one counts) of the time of "
        "each chord during which chord instruments or pads play, of the stems of harmony (C3 to B6) and bass (E1 to "
        "E3). *Root*: the label's tones have more of it than the same kind of chord on the other roots. *Root and "
        "third*: also more than with the other third. *Notes*: the same measure on the annotated notes, by their "
        "velocities: what the chroma misses beyond that are harmonics and releases, not chords.",
        "* **f0**: pYIN on stems with one player. *Held notes*: from 120 ms after their start, as the note before "
        "rings in the room until then. Bells, whose partials are not multiples of f0, are left out. Octave errors are "
        "pYIN's: rough voices have every second period weaker.",
        "* **Beats**: the shift within 60 ms at which the beats meet the most onset strength of the drums' stem; "
        "drift: that of the second half less that of the first. Players are ahead or behind of the beat on purpose.",
        "\nThe tuning of the sound font's samples is in f0: its harmonica is up to 36 cents flat. Every number is "
        f"from [annotations.json](annotations.json): `{record['command']}`, {record['date']}, {record['machine']}.",
    ]
    return "\n".join(lines) + "\n"


def _list_rows(versions: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    def percent(name: str, key: str = "share") -> list[str]:
        return ["-" if one[name][key] is None else f"{100 * one[name][key]:.1f} %" for one in versions]

    yield ["drum events within 10 ms, drums' stem", *percent("drums")]
    yield ["the same within 5 ms", *percent("drums", "within_5_ms")]
    yield ["within 10 ms, strokes of half the full velocity or more", *percent("drums_loud")]
    yield ["chance: random times within 10 ms", *percent("drums_chance")]
    yield ["drum events within 10 ms, mix, drums in front", *percent("mix")]
    yield ["chords: root, harmony and bass", *percent("chords_stems", "root")]
    yield ["chords: root and third, harmony and bass", *percent("chords_stems", "root_and_third")]
    yield ["chords: root and third, mix", *percent("chords_mix", "root_and_third")]
    yield ["chords: root and third, annotated notes", *percent("chords_notes", "root_and_third")]
    yield ["f0 within 20 cents, held notes", *percent("f0_held")]
    yield ["the same of instruments", *percent("f0_melody")]
    yield ["the same of voices", *percent("f0_vocals")]
    yield ["the same, octave errors aside", *percent("f0_octave")]
    yield ["f0 within 20 cents, everything", *percent("f0")]
    yield ["beats within 20 ms of the drums", *percent("beats")]
    for name, key in (("median shift of the beats, ms", "beats"), ("median drift, ms", "drift")):
        yield [name, *(f"{one[key]['percentiles_5_50_95'][1]:.1f}" for one in versions)]
    yield ["annotating, ms a clip (median)", *(f"{one['annotate_ms']:.2f}" for one in versions)]
    yield ["rendering with stems, ms a clip (median)", *(f"{one['render_ms']:.0f}" for one in versions)]


if __name__ == "__main__":
    main()
