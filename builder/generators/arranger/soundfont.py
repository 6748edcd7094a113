"""Play held notes of a SoundFont 2 file with numpy: the same samples on every call, in every process.

Implements presets, key and velocity zones, tuning, loops and attenuation of the SoundFont Technical Specification
2.04, sections 7 to 9. Envelopes and filters are left to the sampler. Packaged synthesizers do not serve: symusic 0.5.9
plays many notes of the font a semitone off, and reads past the end of some samples, so its sound varies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...errors import BackendError

PERCUSSION_BANK = 128
_VELOCITY = 100  # selects among a font's velocity zones
# Generators: numbers of section 8.1.2.
_START, _END, _LOOP_START, _LOOP_END = 0, 1, 2, 3
_COARSE = {_START: 4, _END: 12, _LOOP_START: 45, _LOOP_END: 50}  # in units of 32,768 samples
_INSTRUMENT, _KEYS, _VELOCITIES, _ATTENUATION = 41, 43, 44, 48
_SEMITONES, _CENTS, _SAMPLE, _MODES, _KEYTRACK, _ROOT = 51, 52, 53, 54, 56, 58
_UNSIGNED = {_INSTRUMENT, _KEYS, _VELOCITIES, _SAMPLE, _MODES}
_ADDED = (_ATTENUATION, _SEMITONES, _CENTS)  # a preset's values of these add to its instrument's
Zone = dict[int, int]


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


class SoundFont:
    """A sound font in memory. Raises BackendError for a file that cannot be read as one."""

    def __init__(self, path: Path) -> None:
        try:
            chunks = dict(_chunks(path.read_bytes()))
            self._data = np.frombuffer(chunks[b"smpl"], "<i2")
            self._samples = [Sample(*fields[1:8]) for fields in struct.iter_unpack("<20s5IBbHH", chunks[b"shdr"])]
            self._instruments = _zones(chunks[b"inst"], "<20sH", chunks[b"ibag"], chunks[b"igen"], _SAMPLE)
            presets = _zones(chunks[b"phdr"], "<20sHHHIII", chunks[b"pbag"], chunks[b"pgen"], _INSTRUMENT)
            names = list(struct.iter_unpack("<20sHHHIII", chunks[b"phdr"]))
            self._presets = {(head[2], head[1]): zones for head, zones in zip(names, presets, strict=False)}
        except (OSError, KeyError, IndexError, ValueError, struct.error) as error:
            raise BackendError(
                f"{path}: not a readable sound font ({error!r})", "install pretty_midi again"
            ) from error

    def play(self, program: int, is_drum: bool, key: int, seconds: float, rate: int) -> np.ndarray:
        """Play a held key, with loops and all layers.

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
        zones = self._presets.get((bank, program)) or self._presets.get((bank, 0), [])
        out = np.zeros(round(seconds * rate), np.float32)
        for preset in zones:
            if not _covers(preset, key):
                continue
            for zone in self._instruments[preset[_INSTRUMENT]]:
                if _covers(zone, key):
                    both = zone | {item: zone.get(item, 0) + preset.get(item, 0) for item in _ADDED}
                    self._add(both, key, rate, out)
        return out

    def _add(self, zone: Zone, key: int, rate: int, out: np.ndarray) -> None:
        """Add one layer to `out`."""
        sample = self._samples[zone[_SAMPLE]]
        start, end, loop_start, loop_end = (
            getattr(sample, name) + zone.get(item, 0) + 32_768 * zone.get(_COARSE[item], 0)
            for name, item in (("start", _START), ("end", _END), ("loop_start", _LOOP_START), ("loop_end", _LOOP_END))
        )
        end = min(end, len(self._data))
        root = zone.get(_ROOT, -1)
        semitones = (key - (root if root >= 0 else sample.root)) * zone.get(_KEYTRACK, 100) / 100
        semitones += zone[_SEMITONES] + (zone[_CENTS] + sample.correction) / 100
        step = 2.0 ** (semitones / 12) * sample.rate / rate
        if zone.get(_MODES, 0) & 1 and start <= loop_start < loop_end - 1 <= end:
            once, loop = self._data[start:loop_start], self._data[loop_start:loop_end]
            turns = 1 + max(0, int(len(out) * step) + 4 - len(once)) // len(loop)
            source = np.concatenate([once, np.tile(loop, turns)])
        else:
            source = self._data[start:end]
        source = np.pad(source.astype(np.float32), (1, 3))
        length = min(len(out), int((len(source) - 4) / step))
        place = np.arange(length) * step
        whole = place.astype(np.intp)
        part = (place - whole).astype(np.float32)
        before, here, after, beyond = (source[whole + shift] for shift in range(4))
        # Catmull and Rom's cubic through the four samples around each place.
        curve = part * (3.0 * (here - after) + beyond - before)
        curve = part * (2.0 * before - 5.0 * here + 4.0 * after - beyond + curve)
        gain = np.float32(10 ** (-0.4 * zone[_ATTENUATION] / 200) / 32_768)
        out[:length] += gain * (here + 0.5 * part * (after - before + curve))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a RIFF file by name, also those inside of lists."""
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise KeyError("no RIFF sfbk header")
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name == b"LIST":
            place += 12
            continue
        yield name, data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def _zones(heads: bytes, form: str, bags: bytes, generators: bytes, target: int) -> list[list[Zone]]:
    """The zones of each preset or instrument that have a `target`, with the values of its global zone as defaults."""
    firsts = [fields[3 if len(fields) > 2 else 1] for fields in struct.iter_unpack(form, heads)]
    bounds = [first for first, _ in struct.iter_unpack("<HH", bags)]
    values = [
        (item, value if item in _UNSIGNED else value - 65_536 * (value > 32_767))
        for item, value in struct.iter_unpack("<HH", generators)
    ]
    zones_by_head = []
    for first, last in pairwise(firsts):
        zones = [dict(values[bounds[bag] : bounds[bag + 1]]) for bag in range(first, last)]
        common = zones[0] if zones and target not in zones[0] else {}
        zones_by_head.append([common | zone for zone in zones if target in zone])
    return zones_by_head


def _covers(zone: Zone, key: int) -> bool:
    """Whether a zone is for this key at _VELOCITY."""
    keys, velocities = zone.get(_KEYS, 0x7F00), zone.get(_VELOCITIES, 0x7F00)
    return keys & 255 <= key <= keys >> 8 and velocities & 255 <= _VELOCITY <= velocities >> 8
