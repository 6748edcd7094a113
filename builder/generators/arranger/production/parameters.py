"""How a clip is produced: the parameters of its mix, its medium and its mastering."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .amplifier import Amplifier
from .kit import DrumTuning
from .space import Space


@dataclass(frozen=True, slots=True)
class Compression:
    """A compressor: dB of the threshold relative to the sound's RMS, ratio, seconds, share of the compressed sound."""

    threshold: float
    ratio: float
    attack: float
    release: float
    blend: float = 1.0


@dataclass(frozen=True, slots=True)
class Repeats:
    """A delay: beats between the repeats, feedback, dB of the first one, Hz above which each one is darker."""

    beats: float
    feedback: float
    level: float
    top: float


@dataclass(frozen=True, slots=True)
class Movement:
    """What goes up and down.

    Attributes:
        kind: "level", "treble" or "pitch".
        beats: Of a turn.
        depth: 0..1.
        phase: Turns at the start.
        corner: Hz of the closed filter of the treble.
    """

    kind: str
    beats: float
    depth: float
    phase: float
    corner: float


@dataclass(frozen=True, slots=True)
class Ambience:
    """A small room around a track: seconds, dB relative to the track, Hz above which it is dull."""

    seconds: float
    level: float
    top: float


@dataclass(frozen=True, slots=True)
class TrackProduction:
    """How a track is mixed.

    Attributes:
        gain: dB, added to the balance of the arrangement.
        pan: -1 left .. 1 right.
        bright: dB of the bright part of the notes.
        low: dB below 250 Hz.
        high: dB above 3 kHz.
        send: dB of what goes to the reverberation.
        width: 0..1: how much a part that is spread over both sides differs between them.
        drive: Overdrive in dB.
        chorus: Depth in milliseconds of the chorus.
        double: Milliseconds by which a second take is later, which plays on the other side.
        amplifier: Of electric guitars and basses.
        repeats: A delay.
        movement: Tremolo, filter or vibrato.
        ambience: A small room.
        kit: The tuning of each drum by its General-MIDI key.
    """

    gain: float
    pan: float
    bright: float = 0.0
    low: float = 0.0
    high: float = 0.0
    send: float = 0.0
    width: float = 0.0
    drive: float | None = None
    chorus: float | None = None
    double: float | None = None
    amplifier: Amplifier | None = None
    repeats: Repeats | None = None
    movement: Movement | None = None
    ambience: Ambience | None = None
    kit: dict[int, DrumTuning] | None = None


@dataclass(frozen=True, slots=True)
class Equaliser:
    """The master equaliser.

    Attributes:
        tilt: dB per octave around 1 kHz.
        low: Corner in Hz and gain in dB of a low shelf.
        high: Corner in Hz and gain in dB of a high shelf.
        bells: Centre in Hz, gain in dB and width in octaves of each bell.
        bottom: Hz below which the sound is cut.
        top: Hz above which the sound is cut.
        slope: Order of the cut at the top, 1 to 4.
    """

    tilt: float
    low: tuple[float, float]
    high: tuple[float, float]
    bells: tuple[tuple[float, float, float], ...]
    bottom: float
    top: float
    slope: int


@dataclass(frozen=True, slots=True)
class Medium:
    """What the recording is kept on. Levels are in dB relative to the sound's RMS.

    Attributes:
        drive: Tape saturation: dB of the sound's RMS relative to the knee; None: no tape.
        emphasis: dB by which treble saturates earlier.
        wow: Slow change of the speed in percent.
        flutter: Fast change of the speed in percent.
        hiss: dB of the noise.
        colour: 0 white .. 1 dark noise.
        hum: dB of mains hum.
        mains: Hz.
        crackle: dB of the clicks of a record.
        density: Clicks a second.
        ratio: Signal-to-noise ratio in dB of a lossy codec.
        codec_top: Hz above which the codec keeps nothing.
    """

    drive: float | None = None
    emphasis: float = 0.0
    wow: float = 0.0
    flutter: float = 0.0
    hiss: float | None = None
    colour: float = 0.0
    hum: float | None = None
    mains: float = 50.0
    crackle: float | None = None
    density: float = 0.0
    ratio: float | None = None
    codec_top: float = 16_000.0


@dataclass(frozen=True, slots=True)
class MixProduction:
    """How a clip is mixed and mastered.

    Attributes:
        plain: Whether the clip is produced plainly.
        tracks: The tracks by their instruments.
        space: The reverberation.
        wet: dB of the reverberation relative to the dry sound.
        pump: How much the kick drum lowers the other instruments, 0..1.
        pump_beats: Beats until they are back.
        drums: The compressor of the drums.
        bus: The compressor of the mix.
        equaliser: The equaliser of the mix.
        medium: What the recording is kept on.
        loudness: LUFS.
        clip: dB of peaks that the first stage of the limiter clips softly.
        release: Seconds in which the limiter recovers by 10 dB.
        peak: dBFS of the highest peak that is allowed.
    """

    plain: bool
    tracks: dict[str, TrackProduction]
    space: Space
    wet: float
    pump: float
    pump_beats: float
    drums: Compression | None
    bus: Compression | None
    equaliser: Equaliser
    medium: Medium
    loudness: float
    clip: float
    release: float
    peak: float

    def describe(self) -> dict[str, Any]:
        """The parameters of what is used, for JSON. A drum's tuning is a list."""
        parameters: dict[str, Any] = _drop_unused(asdict(self))
        for track in parameters["tracks"].values():
            if "kit" in track:
                track["kit"] = {key: list(tuning.values()) for key, tuning in track["kit"].items()}
        return parameters


def _drop_unused(value: Any) -> Any:
    """The dictionary without None."""
    if isinstance(value, dict):
        return {key: _drop_unused(item) for key, item in value.items() if item is not None}
    return value
