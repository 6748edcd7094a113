"""Plant excerpts of recordings in other music, damage them, and search them; search clips that hold no copy.

python docs/results/copies.py --real DIR --others DIR
python docs/results/copies.py --page      # writes the page again from the figures

DIR are folders of audio: recordings that are known, and clips of a generator that hold none of them. Clips of the
arranger are made. Nothing of the audio is copied: the results hold counts.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

if TYPE_CHECKING:
    from builder.estimators.copies import CopySearch
    from builder.estimators.landmarks import Peaks

RATE = 32_000
CLIP = 10  # seconds
EXCERPTS = (10, 5, 3)  # seconds of a recording in the clip
PLANTED = 60  # recordings that an excerpt of each length is taken from
ARRANGED = 200  # clips of the arranger
SIZES = (1, 10, 50, 100)  # recordings in smaller folders, whose threshold is listed
THRESHOLDS = range(8, 21)
SEED = 5
DAMAGES = ("noise:20", "noise:10", "noise:0", "mp3:128", "mp3:64", "ogg:0", "gain:-30", "lowpass:4000", "highpass:300",
           "tilt:12", "compress:4", "reverb:1", "speed:98", "speed:102", "speed:95", "speed:105")  # fmt: skip
TAPES = (0.98, 1.02, 0.95, 1.05, 0.975, 1.035)
Function = Callable[[np.ndarray], np.ndarray]


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="a folder of recordings")
    parser.add_argument("--others", type=Path, help="a folder of clips that hold none of them")
    parser.add_argument("--out", type=Path, default=HERE, help="figures and page")
    parser.add_argument("--page", action="store_true", help="write the page again, measure nothing")
    return parser.parse_args(arguments)


def list_changes() -> dict[str, tuple[str, Function]]:
    """How clips are damaged, by name, with a description."""
    from builder.degradations import DAMAGES as KINDS
    from builder.degradations import Damage

    def apply(damage: Damage) -> Function:
        return lambda samples: damage(samples[:, None], RATE)[:, 0]

    changes: dict[str, tuple[str, Function]] = {"none": ("as it is", lambda samples: samples)}
    for text in DAMAGES:
        damage = Damage.parse(text)
        kind = KINDS[damage.kind]
        changes[text] = (f"{kind.about}, {damage.level:g} {kind.unit}", apply(damage))
    changes["opus"] = ("Opus, libsndfile's default quality", encode_opus)
    for speed in TAPES:
        changes[f"tape:{100 * speed:g}"] = (f"played as a tape at {100 * speed:g} % of its speed", play_tape(speed))
    return changes


def encode_opus(samples: np.ndarray) -> np.ndarray:
    """Encode and decode audio with Opus."""
    import soundfile

    from builder.audio import resample

    file = io.BytesIO()
    soundfile.write(file, resample(samples, RATE, 48_000), 48_000, format="OGG", subtype="OPUS")
    file.seek(0)
    return resample(soundfile.read(file, dtype="float32")[0], 48_000, RATE)


def play_tape(speed: float) -> Function:
    """Play audio faster or slower, which changes the pitch too."""

    def play(samples: np.ndarray) -> np.ndarray:
        times = np.arange(int(len(samples) / speed)) * speed
        return np.interp(times, np.arange(len(samples)), samples).astype(np.float32)

    return play


def find_clip_peaks(samples: np.ndarray) -> Peaks:
    """The peaks of a clip at 32 kHz."""
    from builder.audio import resample
    from builder.estimators.landmarks import LANDMARK_RATE, find_peaks

    return find_peaks(resample(samples, RATE, LANDMARK_RATE))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure recall, false positives, thresholds and time."""
    from builder.estimators.copies import FEWEST, CopySearch, read_recordings
    from builder.records import record_run

    with record_run("copies") as record:
        start = time.perf_counter()
        names, recordings, _, _ = read_recordings(options.real)
        search = CopySearch(recordings)
        opened = time.perf_counter() - start
        rng = np.random.default_rng(0)
        smaller = []
        for size in SIZES:
            chosen = rng.permutation(len(recordings))[:size]
            smaller.append(
                {"recordings": size, "threshold": CopySearch([recordings[row] for row in chosen]).threshold}
            )
        arranged = make_clips()
        others, twins = search_others(options, search, recordings, arranged)
        record.rows = len(names)
        figures: dict[str, Any] = {
            "recordings": len(names),
            "threshold": search.threshold,
            "fewest": FEWEST,
            "twice": sorted(pair[2] for pair in twins),
            "seconds_to_open": round(opened, 1),
            "smaller": [*smaller, {"recordings": len(names), "threshold": search.threshold}],
            "others": {kind: sorted(counts) for kind, counts in others.items()},
            "planted": plant(options, search, names, arranged, {(pair[0], pair[1]) for pair in twins}),
        }
        clip = find_clip_peaks(arranged[0])
        start = time.perf_counter()
        for _ in range(20):
            search.search(clip)
        figures["milliseconds_a_clip"] = round(1000 * (time.perf_counter() - start) / 20, 1)
    return {**figures, "record": {"device": record.device, "wall_seconds": record.wall_seconds}}


def make_clips() -> list[np.ndarray]:
    """Clips of the arranger, evenly of five genres."""
    from builder.generators.generator import Generator
    from builder.prompts import make_prompts
    from builder.recipe import Recipe

    recipe = Recipe.from_dict(
        {
            "name": "copies",
            "prompts": {"per_genre": ARRANGED // 5, "seed": SEED},
            "generator": {"name": "arranger", "seconds": CLIP},
        }
    )
    with Generator.from_recipe(recipe) as generator:
        return [clip.audio for clip in generator.generate(make_prompts(recipe))]


def search_others(
    options: argparse.Namespace, search: CopySearch, recordings: Sequence[Peaks], arranged: Sequence[np.ndarray]
) -> tuple[dict[str, list[int]], set[tuple[int, int, int]]]:
    """Search clips that hold no copy.

    Returns:
        The landmarks in common of each clip by kind, and pairs of recordings that are one: both numbers and landmarks.
    """
    from builder.audio import load_audio
    from builder.estimators.copies import CERTAIN, FRAMES
    from builder.estimators.landmarks import LANDMARK_RATE, find_peaks

    counts: dict[str, list[int]] = {"recordings": [], "clips": [], "arranger": [], "arranger, damaged": []}
    found = []
    for number, peaks in enumerate(recordings):
        for first in (0, 2 * FRAMES):
            match = search.search(peaks.cut(first, first + FRAMES), number)
            found.append((number, match.number, match.landmarks))
    certain = {frozenset(row[:2]) for row in found if row[2] >= CERTAIN}
    twins = {row for row in found if frozenset(row[:2]) in certain}
    counts["recordings"] = [row[2] for row in found if row not in twins]
    for file in sorted(options.others.rglob("*.ogg")):
        counts["clips"].append(search.search(find_peaks(load_audio(file, LANDMARK_RATE))).landmarks)
    changes = list(list_changes().values())
    for place, clip in enumerate(arranged):
        counts["arranger"].append(search.search(find_clip_peaks(clip)).landmarks)
        damaged = changes[place % len(changes)][1](clip)
        counts["arranger, damaged"].append(search.search(find_clip_peaks(damaged)).landmarks)
    return counts, twins


def plant(
    options: argparse.Namespace, search: CopySearch, names: Sequence[str], arranged: Sequence[np.ndarray],
    twins: set[tuple[int, int]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Plant excerpts in clips of the arranger, damage the clips, and search them.

    Returns:
        Of each damage and length of excerpts, the landmarks in common with the right recording; 0 for another one.
    """
    from builder.audio import load_audio

    rng = np.random.default_rng(SEED)
    chosen = rng.permutation(len(names))[:PLANTED]
    audio = {number: load_audio(options.real / names[number], RATE) for number in chosen.tolist()}
    rows = []
    for seconds in EXCERPTS:
        clips = {}
        for place, (number, samples) in enumerate(audio.items()):
            clip, size = arranged[place].copy(), seconds * RATE
            start = rng.integers(len(samples) - size + 1)
            at = rng.integers(len(clip) - size + 1)
            clip[at : at + size] = samples[start : start + size]
            clips[number] = clip
        for name, (about, change) in list_changes().items():
            counts = []
            for number, clip in clips.items():
                match = search.search(find_clip_peaks(change(clip)))
                right = match.number == number or (number, match.number) in twins
                counts.append(match.landmarks if right else 0)
            rows.append({"damage": name, "about": about, "seconds": seconds, "landmarks": sorted(counts)})
            print(seconds, name, np.mean(np.array(counts) >= search.threshold), flush=True)
    return rows


def count_share(counts: Sequence[int], threshold: int) -> str:
    """The share of counts from a threshold on, with its exact 95 % interval (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    hits = sum(count >= threshold for count in counts)
    bounds = binomtest(hits, len(counts)).proportion_ci(0.95, "exact")
    return f"{hits / len(counts):.1%} [{100 * bounds.low:.1f}, {100 * bounds.high:.1f}]"


def format_page(figures: dict[str, Any]) -> str:
    """The page, from the figures alone."""
    return "\n".join(["# Copies of known recordings", "", *_format_recall(figures), *_format_others(figures)]) + "\n"


def _format_recall(figures: dict[str, Any]) -> Iterator[str]:
    threshold = figures["threshold"]
    lengths = sorted({row["seconds"] for row in figures["planted"]}, reverse=True)
    n = len(figures["planted"][0]["landmarks"])
    yield (
        f"`synthmir annotate --with copies:FOLDER` on {figures['recordings']} real recordings. Excerpts of {n} of "
        f"them replace a part of clips of the arranger of {CLIP} s, the clips are damaged, and searched. Found: the "
        f"right recording, with at least {threshold} landmarks in common, the threshold that the estimator sets "
        "for this folder. In brackets: exact 95 % intervals. The steps of 1 %, the range of 6 % and the "
        "margin of the threshold were chosen with these recordings and clips at hand: the rates are no independent "
        f"test. Opening the folder takes {figures['seconds_to_open']:g} s, searching "
        f"a clip {figures['milliseconds_a_clip']:g} ms, decoding not counted. Machine: {figures['record']['device']}. "
        "Written by `docs/results/copies.py`.\n"
    )
    yield "## Found\n"
    yield f"| the clip | {' | '.join(f'excerpt of {length} s' for length in lengths)} |"
    yield f"|---|{'---|' * len(lengths)}"
    planted = {(row["damage"], row["seconds"]): row for row in figures["planted"]}
    for damage in dict.fromkeys(row["damage"] for row in figures["planted"]):
        cells = [count_share(planted[damage, length]["landmarks"], threshold) for length in lengths]
        yield f"| {planted[damage, lengths[0]]['about']} | {' | '.join(cells)} |"


def _format_others(figures: dict[str, Any]) -> Iterator[str]:
    threshold = figures["threshold"]
    titles = {
        "recordings": "excerpts of 10 s of the recordings, searched in the others",
        "clips": "clips of a neural generator, MusicGen",
        "arranger": "clips of the arranger",
        "arranger, damaged": "the same, damaged as above",
    }
    yield "\n## Found where there is no copy\n"
    yield f"| clips | n | most landmarks in common | taken for a copy, from {threshold} on |"
    yield "|---|---:|---:|---|"
    for kind, counts in figures["others"].items():
        yield f"| {titles[kind]} | {len(counts)} | {max(counts)} | {count_share(counts, threshold)} |"
    every = [count for counts in figures["others"].values() for count in counts]
    yield f"| all | {len(every)} | {max(every)} | {count_share(every, threshold)} |"
    if twice := figures["twice"]:
        yield (
            f"\nLeft out of the first line: {len(twice)} excerpts with {twice[0]} to {twice[-1]} landmarks in common "
            "with a recording of another name. Two files hold the same music, which their tags do not say.\n"
        )
    yield "## The threshold\n"
    yield "| landmarks | taken for a copy without being one | found: noise of 0 dB, 5 s | found: tape at 95 %, 3 s |"
    yield "|---:|---|---|---|"
    planted = {(row["damage"], row["seconds"]): row["landmarks"] for row in figures["planted"]}
    for value in THRESHOLDS:
        hard = [count_share(planted[key], value) for key in (("noise:0", 5), ("tape:95", 3))]
        name = f"**{value}**" if value == threshold else value
        yield f"| {name} | {count_share(every, value)} | {' | '.join(hard)} |"
    yield (
        f"\nA folder of more recordings has more in common with any clip, so that the threshold grows with it; it is "
        f"at least {figures['fewest']}:\n"
    )
    yield "| recordings of the folder | threshold |"
    yield "|---:|---:|"
    for row in figures["smaller"]:
        yield f"| {row['recordings']} | {row['threshold']} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write copies.json and copies.md."""
    options = parse_options(arguments)
    file = options.out / "copies.json"
    if not options.page:
        figures = measure(options)
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (options.out / "copies.md").write_text(format_page(json.loads(file.read_text(encoding="utf-8"))), encoding="utf-8")
    print(options.out / "copies.md")


if __name__ == "__main__":
    main()
