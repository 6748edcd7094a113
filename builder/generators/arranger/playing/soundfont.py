"""Read SoundFont 2 and 3 files, and play held notes of version 1.

Implements the chunks, presets, and key and velocity zones of the SoundFont Technical Specification 2.04, sections 5 to
8. SoundFont 3 is the same with each sample as Ogg Vorbis. Version 1 plays zones with tuning, loops and attenuation
alone; version 2 plays them with everything that `synthesis.py` lists.
"""

from __future__ import annotations

import io
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....errors import BackendError

PERCUSSION_BANK = 128
MAX_SAMPLE = 1 << 24  # values of a compressed sample, 6 minutes at 44.1 kHz: more is a decompression bomb
_CACHE_BYTES = 64 << 20  # of decoded samples
_COMPRESSED = 0x10  # in the type of a sample: Ogg Vorbis
_VELOCITY = 100  # selects among a font's velocity zones in version 1
# Generators: numbers of section 8.1.2.
START, END, LOOP_START, LOOP_END = 0, 1, 2, 3
COARSE = {START: 4, END: 12, LOOP_START: 45, LOOP_END: 50}  # in units of 32,768 samples
INSTRUMENT, KEYS, VELOCITIES, ATTENUATION = 41, 43, 44, 48
SEMITONES, CENTS, SAMPLE, MODES, KEYTRACK, ROOT = 51, 52, 53, 54, 56, 58
_UNSIGNED = {INSTRUMENT, KEYS, VELOCITIES, SAMPLE, MODES}
_ADDED = (ATTENUATION, SEMITONES, CENTS)  # a preset's values of these add to its instrument's in version 1
_NOT_ADDED = {INSTRUMENT, KEYS, VELOCITIES, SAMPLE, MODES, *COARSE, *COARSE.values(), ROOT, 46, 47, 57}
Zone = dict[int, int]
DEFAULTS: Zone = {8: 13_500, KEYTRACK: 100, ROOT: -1} | dict.fromkeys(
    (21, 23, *range(25, 29), 30, *range(33, 37), 38), -12_000
)


class Modulator(NamedTuple):
    """A modulator (section 8.2): a source, the generator that it changes, an amount, and what scales the amount."""

    source: int
    target: int
    amount: int
    scale: int
    transform: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One recording in the font: its positions in the sample data, and its pitch."""

    start: int
    end: int
    loop_start: int
    loop_end: int
    rate: int
    root: int  # MIDI key
    correction: int  # cents
    link: int
    kind: int

    @property
    def compressed(self) -> bool:
        """Whether start and end are bytes of an Ogg Vorbis file."""
        return bool(self.kind & _COMPRESSED)


class SoundFont:
    """A sound font, mapped into memory. Raises BackendError for a file that cannot be read as one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            file = np.memmap(path, np.uint8, "r")
            parts = dict(_list_chunks(file))
            first, last = parts[b"smpl"]
            self._bytes = file[first:last]
            self._data = self._bytes[: (last - first) // 2 * 2].view("<i2")
            chunks = {name: file[first:last].tobytes() for name, (first, last) in parts.items() if name != b"smpl"}
            self.samples = [Sample(*fields[1:]) for fields in struct.iter_unpack("<20s5IBbHH", chunks[b"shdr"])]
            instruments = _read_zones(chunks, b"inst", "<20sH", b"ibag", b"igen", b"imod", SAMPLE)
            presets = _read_zones(chunks, b"phdr", "<20sHHHIII", b"pbag", b"pgen", b"pmod", INSTRUMENT)
            names = list(struct.iter_unpack("<20sHHHIII", chunks[b"phdr"]))
            self._instruments = [[zone for zone, _ in zones] for zones in instruments]
            self._modulators = [[modulators for _, modulators in zones] for zones in instruments]
            self.presets = {
                (head[2], head[1]): [zone for zone, _ in zones] for head, zones in zip(names, presets, strict=False)
            }
            self._check_references()
        except (OSError, KeyError, IndexError, ValueError, struct.error) as error:
            reason = f"it has no chunk {error}" if isinstance(error, KeyError) else str(error)
            raise BackendError(
                f"{path}: not a readable sound font ({reason:.200})", "name another one: generator.soundfont"
            ) from error
        self._decoded: OrderedDict[int, np.ndarray] = OrderedDict()

    def _check_references(self) -> None:
        """Raise ValueError if there is nothing to play, or a zone names what the font does not have."""
        if not any(self.presets.values()):
            raise ValueError("it has no preset with a sample")
        if any(zone[INSTRUMENT] >= len(self._instruments) for zones in self.presets.values() for zone in zones):
            raise ValueError("a preset names an instrument that is not there")
        if any(zone[SAMPLE] >= len(self.samples) for zones in self._instruments for zone in zones):
            raise ValueError("an instrument names a sample that is not there")

    def find_program(self, program: int, is_drum: bool) -> int | None:
        """Return a program that the font has.

        Args:
            program: The General-MIDI program, or the kit.
            is_drum: Whether it is a kit.

        Returns:
            The program itself; else the nearest one of its family of eight (pianos, organs, guitars, ...), else the
            nearest of all, the lower one of two. For a kit the standard one, else the nearest. None if there is none.
        """
        bank = PERCUSSION_BANK if is_drum else 0
        known = [number for (its_bank, number), zones in self.presets.items() if its_bank == bank and zones]
        if program in known or not known:
            return program if known else None
        if is_drum:
            return min(known)
        return min(known, key=lambda number: (number // 8 != program // 8, abs(number - program), number))

    def list_zones(
        self, program: int, is_drum: bool, key: int, velocity: int
    ) -> Iterator[tuple[Zone, list[Modulator]]]:
        """Yield the zones of a note, with the values of the preset added, and the modulators of each."""
        for preset in self.presets.get((PERCUSSION_BANK if is_drum else 0, program), ()):
            if not _covers(preset, key, velocity):
                continue
            number = preset[INSTRUMENT]
            for zone, modulators in zip(self._instruments[number], self._modulators[number], strict=True):
                if _covers(zone, key, velocity):
                    added = {
                        item: value + zone.get(item, DEFAULTS.get(item, 0))
                        for item, value in preset.items()
                        if item not in _NOT_ADDED
                    }
                    yield zone | added, modulators

    def sample_data(self, sample: Sample) -> tuple[np.ndarray, int]:
        """Return the values that a sample's positions are in, and the first position of the sample.

        Raises:
            BackendError: A compressed sample cannot be decoded, or is longer than `MAX_SAMPLE`.
        """
        if not sample.compressed:
            return self._data, sample.start
        if sample.start in self._decoded:
            self._decoded.move_to_end(sample.start)
            return self._decoded[sample.start], 0
        import soundfile

        try:
            stream = io.BytesIO(self._bytes[sample.start : sample.end].tobytes())
            values = soundfile.read(stream, frames=MAX_SAMPLE + 1, dtype="int16", always_2d=True)[0]
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise BackendError(
                f"{self.path}: a sample cannot be decoded ({error})", "name another sound font: generator.soundfont"
            ) from error
        if values.size > MAX_SAMPLE:
            raise BackendError(
                f"{self.path}: a sample has more than {MAX_SAMPLE:,} values once decoded",
                "name another sound font: generator.soundfont",
            )
        decoded = np.ascontiguousarray(values[:, 0])
        self._decoded[sample.start] = decoded
        while len(self._decoded) > 1 and sum(one.nbytes for one in self._decoded.values()) > _CACHE_BYTES:
            self._decoded.popitem(last=False)
        return decoded, 0

    def play(self, program: int, is_drum: bool, key: int, seconds: float, rate: int) -> np.ndarray:
        """Play a held key in version 1, with loops and all layers.

        Args:
            program: The General-MIDI program, or the kit; the font's first one stands in for a missing one.
            is_drum: Whether the percussion bank is used.
            key: The MIDI note number.
            seconds: How long the key is held.
            rate: The sampling rate in Hz.

        Returns:
            float32 [round(seconds * rate)], mono.
        """
        bank = PERCUSSION_BANK if is_drum else 0
        zones = self.presets.get((bank, program)) or self.presets.get((bank, 0), [])
        out = np.zeros(round(seconds * rate), np.float32)
        for preset in zones:
            if not _covers(preset, key, _VELOCITY):
                continue
            for zone in self._instruments[preset[INSTRUMENT]]:
                if _covers(zone, key, _VELOCITY):
                    both = zone | {item: zone.get(item, 0) + preset.get(item, 0) for item in _ADDED}
                    self._add(both, key, rate, out)
        return out

    def _add(self, zone: Zone, key: int, rate: int, out: np.ndarray) -> None:
        """Add one layer to `out`."""
        sample = self.samples[zone[SAMPLE]]
        start, end, loop_start, loop_end = (
            getattr(sample, name) + zone.get(item, 0) + 32_768 * zone.get(COARSE[item], 0)
            for name, item in (("start", START), ("end", END), ("loop_start", LOOP_START), ("loop_end", LOOP_END))
        )
        end = min(end, len(self._data))
        root = zone.get(ROOT, -1)
        semitones = (key - (root if root >= 0 else sample.root)) * zone.get(KEYTRACK, 100) / 100
        semitones += zone[SEMITONES] + (zone[CENTS] + sample.correction) / 100
        step = 2.0 ** (semitones / 12) * sample.rate / rate
        if zone.get(MODES, 0) & 1 and start <= loop_start < loop_end - 1 <= end:
            once, loop = self._data[start:loop_start], self._data[loop_start:loop_end]
            turns = 1 + max(0, int(len(out) * step) + 4 - len(once)) // len(loop)
            source = np.concatenate([once, np.tile(loop, turns)])
        else:
            source = self._data[start:end]
        source = np.pad(source.astype(np.float32), (1, 3))
        length = min(len(out), int((len(source) - 4) / step))
        place = np.arange(length) * step
        whole = place.astype(np.intp)
        gain = np.float32(10 ** (-0.4 * zone[ATTENUATION] / 200) / 32_768)
        out[:length] += gain * interpolate(source, whole, (place - whole).astype(np.float32))


def interpolate(source: np.ndarray, whole: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Catmull and Rom's cubic through the four samples around each place.

    Args:
        source: float32 [n], with one sample more in front.
        whole: The place of each value, rounded down.
        part: What is left of each place.
    """
    before, here, after, beyond = (source[shift:].take(whole) for shift in range(4))
    curve = part * (3.0 * (here - after) + beyond - before)
    curve = part * (2.0 * before - 5.0 * here + 4.0 * after - beyond + curve)
    return np.asarray(here + 0.5 * part * (after - before + curve))


def _list_chunks(data: np.ndarray) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield the chunks of a RIFF file by name, also those inside of lists, as (first byte, end)."""
    if data[:4].tobytes() != b"RIFF" or data[8:12].tobytes() != b"sfbk":
        raise ValueError("it has no RIFF sfbk header")
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4].tobytes(), int.from_bytes(data[place + 4 : place + 8].tobytes(), "little")
        if name == b"LIST":
            place += 12
            continue
        if place + 8 + size > len(data):
            raise ValueError("it is truncated")
        yield name, (place + 8, place + 8 + size)
        place += 8 + size
        if size % 2 and place < len(data) and data[place] == 0:  # some writers leave the padding out
            place += 1


def _read_zones(
    chunks: dict[bytes, bytes], head: bytes, form: str, bag: bytes, gen: bytes, mod: bytes, target: int
) -> list[list[tuple[Zone, list[Modulator]]]]:
    """The zones of each preset or instrument that have a `target`, with the values of its global zone as defaults."""
    heads = list(struct.iter_unpack(form, chunks[head]))
    firsts = [fields[3 if len(fields) > 2 else 1] for fields in heads]
    bounds = list(struct.iter_unpack("<HH", chunks[bag]))
    values = [
        (item, value if item in _UNSIGNED else value - 65_536 * (value > 32_767))
        for item, value in struct.iter_unpack("<HH", chunks[gen])
    ]
    modulators = [Modulator(*fields) for fields in struct.iter_unpack("<HHhHH", chunks.get(mod, b""))]
    zones_by_head = []
    for first, last in pairwise(firsts):
        zones = [
            (
                dict(values[bounds[bag][0] : bounds[bag + 1][0]]),
                modulators[bounds[bag][1] : bounds[bag + 1][1]],
            )
            for bag in range(first, last)
        ]
        common, shared = zones[0] if zones and target not in zones[0][0] else ({}, [])
        zones_by_head.append([(common | zone, [*shared, *own]) for zone, own in zones if target in zone])
    return zones_by_head


def _covers(zone: Zone, key: int, velocity: int) -> bool:
    """Whether a zone is for this key and velocity."""
    keys, velocities = zone.get(KEYS, 0x7F00), zone.get(VELOCITIES, 0x7F00)
    return keys & 255 <= key <= keys >> 8 and velocities & 255 <= velocity <= velocities >> 8
