"""Check the arranger's stems over clips: they add up to the clip, none is missing, and none is noise.

uv run python docs/results/stem_checks.py [--clips 500] [--version 2] [--stereo] [--json FILE]

Of each clip of the recipe `demo`:

* the error of the sum, as the generator returns it and as FLAC files keep it, in dB relative to the clip's RMS;
* whether each stem that has notes is there, and every sample is in [-1, 1];
* of each stem how much louder it is than the noise that it was given, in dB; how flat its spectrum is (1: white); and
  the correlation of its level, every 50 ms, with that of its tracks as they are played, before any effect.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy.signal import welch

from builder.audio import encode_flac
from builder.clip import Clip
from builder.corpus.building.plan import plan_clips
from builder.generators.arranger import Arranger, Score
from builder.generators.arranger.production.draw import draw_production
from builder.generators.arranger.render import play
from builder.generators.arranger.stems import SILENT, finish_stems
from builder.generators.arranger.version1.mix import play_track
from builder.recipe import Recipe
from builder.records import describe_device, package_versions

RATE = Arranger.sampling_rate
FRAME = RATE // 20
FLOOR = 1e-2  # of the loudest frame: -40 dB
COMPARED = 10  # one clip in so many is also made without stems


def main() -> None:
    """Check the clips, print a summary, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--version", choices=("1", "2"), default="2")
    parser.add_argument("--stereo", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    recipe = Recipe.load("demo").with_values(
        {"generator.revision": options.version, "generator.stereo": options.stereo}
    )
    arranger = Arranger(recipe.generator, recipe.labels)
    clips = sorted(plan_clips(recipe), key=lambda clip: clip.id)
    clips = clips[:: max(1, len(clips) // options.clips)][: options.clips]
    found = [check_clip(arranger, clip, number % COMPARED == 0) for number, clip in enumerate(clips)]
    about = {"date": datetime.now(UTC).date().isoformat(), "device": describe_device(), "versions": package_versions()}
    summary = {"version": options.version, "stereo": options.stereo, **summarise(found)}
    print(json.dumps(summary, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(about | {"summary": summary}, indent=1) + "\n", encoding="utf-8")


def check_clip(arranger: Arranger, clip: Clip, compare: bool) -> dict[str, Any]:
    """Make a clip with its stems, and measure them. `compare`: whether it is also made without stems."""
    score = arranger.compose(clip)
    mix, stems = arranger.render_stems(score)
    if compare:
        np.testing.assert_array_equal(mix, arranger.generate([clip])[0])
    wanted = list(dict.fromkeys(track.stem for track in score.tracks if track.notes))
    before, *raw = arranger._mix(score, wanted)  # without noise, before they are finished
    kept = {name: sound.copy() for name, sound in zip(wanted, raw, strict=True)}
    finished = finish_stems(before, dict(zip(wanted, raw, strict=True)))
    files = [read_flac(stem) for stem in stems.values()]
    total, whole = np.sum(files, axis=0), read_flac(mix)
    return {
        "id": clip.id,
        "sum_db": decibels(np.sum(list(stems.values()), axis=0) - mix, mix),
        "files_db": decibels(total / 32_768.0 - mix, mix),
        "files_equal": bool(np.array_equal(total, whole)),
        "missing": [name for name in wanted if name not in stems],
        "silent": [name for name in wanted if np.abs(kept[name]).max() <= SILENT],
        "peak": float(max(np.abs(stem).max() for stem in stems.values())),
        "moved": int(sum(np.count_nonzero(np.abs(kept[name]) > 1.0) for name in finished)),
        "stems": {
            name: {
                "over_noise_db": decibels(kept[name], finished[name] - kept[name]),
                "flatness": measure_flatness(finished[name]),
                "level_correlation": correlate_levels(finished[name], play_stem(arranger, score, name)),
            }
            for name in finished
        },
    }


def read_flac(sound: np.ndarray) -> np.ndarray:
    """The 16-bit values of a sound's FLAC file."""
    return np.asarray(soundfile.read(BytesIO(encode_flac(sound, RATE)), dtype="int16")[0].astype(np.int64))


def decibels(sound: np.ndarray, reference: np.ndarray) -> float:
    """The level of a sound relative to another one's."""
    power, base = (float(np.mean(np.square(one, dtype=np.float64))) for one in (sound, reference))
    return round(10.0 * float(np.log10(max(power, 1e-30) / max(base, 1e-30))), 2)


def measure_flatness(sound: np.ndarray) -> float:
    """The geometric mean of the mean power spectrum from 50 Hz to 8 kHz over its arithmetic mean (1: white noise)."""
    frequencies, power = welch(np.atleast_2d(sound).mean(axis=0), RATE, nperseg=4096)
    power = power[(frequencies > 50.0) & (frequencies < 8000.0)] + 1e-20
    return round(float(np.exp(np.mean(np.log(power))) / power.mean()), 5)


def play_stem(arranger: Arranger, score: Score, name: str) -> np.ndarray:
    """Play the tracks of a stem without effects: float32 [samples]."""
    length = round(arranger.seconds * RATE)
    out = np.zeros(length, np.float32)
    for track in score.tracks:
        if track.stem != name:
            continue
        if arranger.version == "1":
            play_track(track, [out], score.tempo, arranger._sampler, arranger._vocabulary)
        else:
            instruments = arranger._instruments(arranger._choose_font(score.seed))
            settings = draw_production(score).tracks[track.instrument]
            out += play(track, score, length, instruments, settings).mean(axis=0)
    return out


def correlate_levels(stem: np.ndarray, played: np.ndarray) -> float:
    """The correlation of two sounds' levels in dB, every 50 ms, down to 40 dB below the loudest. 1 if one is even."""
    levels = []
    for sound in (np.atleast_2d(stem).mean(axis=0), played):
        power = np.square(sound[: len(sound) // FRAME * FRAME].astype(np.float64)).reshape(-1, FRAME).mean(axis=1)
        levels.append(np.log10(np.maximum(power, FLOOR**2 * power.max() + 1e-20)))
    if min(level.std() for level in levels) < 0.1:  # 1 dB
        return 1.0
    return round(float(np.corrcoef(levels)[0, 1]), 4)


def summarise(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst of each figure over the clips, and where it is."""
    stems = [(clip["id"], name, values) for clip in found for name, values in clip["stems"].items()]
    pitched = [entry for entry in stems if entry[1] != "drums"]

    def worst(entries: list[Any], key: str, sign: float) -> dict[str, Any]:
        name, stem, values = max(entries, key=lambda entry: sign * entry[2][key])
        return {"value": values[key], "clip": name, "stem": stem}

    def percentiles(entries: list[Any], key: str) -> list[float]:
        return [round(float(q), 4) for q in np.percentile([values[key] for _, _, values in entries], [1, 10, 50, 90])]

    return {
        "clips": len(found),
        "stems": len(stems),
        "stems_by_name": {name: sum(entry[1] == name for entry in stems) for name in sorted({e[1] for e in stems})},
        "worst_sum_db": max(clip["sum_db"] for clip in found),
        "worst_files_db": max(clip["files_db"] for clip in found),
        "clips_whose_files_add_up_exactly": sum(clip["files_equal"] for clip in found),
        "stems_missing": sum(len(clip["missing"]) for clip in found),
        "of_these_silent": sum(len(clip["silent"]) for clip in found),
        "highest_peak": max(clip["peak"] for clip in found),
        "clips_with_samples_moved": sum(clip["moved"] > 0 for clip in found),
        "samples_moved_at_most": max(clip["moved"] for clip in found),
        "least_over_noise_db": worst(stems, "over_noise_db", -1.0),
        "over_noise_db_percentiles_1_10_50_90": percentiles(stems, "over_noise_db"),
        "flattest_pitched": worst(pitched, "flatness", 1.0),
        "flatness_of_pitched_percentiles_1_10_50_90": percentiles(pitched, "flatness"),
        "least_level_correlation": worst(stems, "level_correlation", -1.0),
        "level_correlation_percentiles_1_10_50_90": percentiles(stems, "level_correlation"),
    }


if __name__ == "__main__":
    main()
