"""Synthesizers for the arranger's sound fonts: speed, stability, and agreement of notes with FluidSynth.

    uv run --no-project --with tinysoundfont --with pyfluidsynth perf/synthesizers.py FONT.sf2 --json FILE

Needs the library of FluidSynth (apt-get install libfluidsynth3). Each note is held for 0.8 s at 32 kHz, stereo.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

RATE, SECONDS, VELOCITY = 32_000, 0.8, 100
NOTES = [(program, key) for program in range(0, 112, 5) for key in (48, 60, 67)]
Play = Callable[[int, int], np.ndarray]  # program and key -> float32 [samples, 2]


def open_own(path: str) -> Play:
    """The arranger's own synthesis."""
    from builder.generators.arranger.playing.soundfont import SoundFont
    from builder.generators.arranger.playing.synthesis import play_note

    font = SoundFont(Path(path))
    return lambda program, key: play_note(font, program, False, key, VELOCITY, SECONDS, RATE, 2).T


def open_tiny(path: str) -> Play:
    """tinysoundfont, the Python binding of TinySoundFont."""
    import tinysoundfont

    synth = tinysoundfont.Synth(samplerate=RATE, gain=0)
    font = synth.sfload(path)

    def play(program: int, key: int) -> np.ndarray:
        synth.sounds_off()
        synth.generate(1000)
        synth.program_select(0, font, 0, program)
        synth.noteon(0, key, VELOCITY)
        return np.frombuffer(bytes(synth.generate(round(SECONDS * RATE))), np.float32).reshape(-1, 2)

    return play


def open_fluid(path: str) -> Play:
    """FluidSynth without its reverberation and chorus."""
    import fluidsynth

    synth = fluidsynth.Synth(samplerate=float(RATE), gain=0.5)
    synth.setting("synth.reverb.active", 0)
    synth.setting("synth.chorus.active", 0)
    font = synth.sfload(path)

    def play(program: int, key: int) -> np.ndarray:
        synth.all_sounds_off(0)
        synth.get_samples(1000)
        synth.program_select(0, font, 0, program)
        synth.noteon(0, key, VELOCITY)
        return synth.get_samples(round(SECONDS * RATE)).astype(np.float32).reshape(-1, 2) / 32_768

    return play


def measure_levels(sound: np.ndarray) -> np.ndarray:
    """The level in dB of each 20 ms, against the loudest one, down to -60."""
    power = (sound.mean(axis=1) ** 2).reshape(-1, RATE // 50).mean(axis=1)
    return 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 1e-6))


def measure_bands(sound: np.ndarray) -> np.ndarray:
    """The level in dB of each octave from 62.5 Hz to 16 kHz, against the loudest one, down to -60."""
    spectrum = np.abs(np.fft.rfft(sound.mean(axis=1))) ** 2
    frequencies = np.fft.rfftfreq(len(sound), 1 / RATE)
    edges = 62.5 * 2.0 ** np.arange(9)
    power = np.array([spectrum[(frequencies >= a) & (frequencies < 2 * a)].sum() for a in edges[:-1]])
    return 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 1e-6))


def main() -> None:
    """Measure each synthesizer that is installed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("font")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows, reference = [], []
    for name, opened in (("FluidSynth", open_fluid), ("tinysoundfont", open_tiny), ("synthmir", open_own)):
        play = opened(arguments.font)
        play(0, 60)
        clock = time.process_time()
        notes = [play(*note) for note in NOTES]
        took = time.process_time() - clock
        again = [play(*note) for note in NOTES]
        reference = reference or notes
        pairs = list(zip(notes, reference, strict=True))
        far = [np.abs(measure_levels(one) - measure_levels(other)).mean() for one, other in pairs]
        bands = [np.abs(measure_bands(one) - measure_bands(other)).mean() for one, other in pairs]
        rows.append({
            "name": name,
            "ms_per_note": round(1000 * took / len(NOTES), 2),
            "same_again": sum(bool((one == other).all()) for one, other in zip(notes, again, strict=True)),
            "notes": len(NOTES),
            "sha256": hashlib.sha256(b"".join(note.tobytes() for note in notes)).hexdigest()[:16],
            "envelope_db": round(float(np.median(far)), 2),
            "bands_db": round(float(np.median(bands)), 2),
        })  # fmt: skip
    text = json.dumps({"font": Path(arguments.font).name, "machine": platform.machine(), "rows": rows}, indent=1)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
