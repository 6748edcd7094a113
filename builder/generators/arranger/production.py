"""Draw how a clip is produced: amplifiers, mix, reverberation, medium and mastering, from wide ranges.

A corpus must not give a genre away by its production more than records do. So the ranges of all genres overlap widely,
and a share of the clips is produced plainly (domain randomisation: Tobin et al. 2017, arXiv 1703.06907). The style
data of a sub-genre only moves the middle of some ranges.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .amplifier import Amplifier
from .kit import DrumTuning
from .rng import SeededRandom
from .score import Score, Track
from .space import Space

GUITARS = range(26, 32)  # General-MIDI programs of electric guitars
BASSES = range(32, 40)
# LUFS of a stereo master: the lowest, the middle and the highest of a triangular distribution.
LOUDNESS = {
    "electronica": (-20.0, -11.0, -7.0),
    "pop": (-20.0, -11.0, -7.0),
    "rock": (-19.0, -11.0, -7.0),
    "metal": (-17.0, -10.0, -6.5),
    "hiphop": (-18.0, -11.0, -7.0),
    "disco": (-21.0, -13.0, -8.0),
    "funk": (-21.0, -14.0, -8.0),
    "reggae": (-21.0, -13.0, -8.0),
    "country": (-21.0, -13.0, -8.0),
    "blues": (-24.0, -15.0, -9.0),
    "jazz": (-27.0, -18.0, -11.0),
    "classical": (-31.0, -21.0, -13.0),
    "orchestral": (-31.0, -20.0, -11.0),
}
# Drums that may sound along with a drum, by General-MIDI keys.
_DRUM_LAYERS = {35: (36,), 36: (35, 41), 38: (40, 39, 54), 40: (38, 39), 39: (38, 40), 42: (44, 70), 46: (42,)}
_PLAIN = 0.1  # share of the clips with as few effects as a mix can have


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
        """The parameters of what is used, for JSON."""
        return _drop_unused(asdict(self))


def _drop_unused(value: Any) -> Any:
    """The dictionary without None."""
    if isinstance(value, dict):
        return {key: _drop_unused(item) for key, item in value.items() if item is not None}
    return value


def draw_production(score: Score) -> MixProduction:
    """Draw the production of a clip from its seed.

    Args:
        score: The score, with the production that the style suggests.
    """
    rng = SeededRandom(score.seed, "production")
    plain = rng.happens(_PLAIN)
    wild = 0.35 if plain else 1.0
    suggested = score.production
    tracks = {track.instrument: _draw_track(track, plain, rng) for track in score.tracks}
    low, middle, high = LOUDNESS.get(score.genre, (-24.0, -13.0, -8.0))
    return MixProduction(
        plain=plain,
        tracks=tracks,
        space=_draw_space(suggested.room_seconds, rng),
        wet=min(-2.0, 0.5 * suggested.room + 0.5 * rng.uniform(-26.0, -2.0) + rng.bell_curve(2.0)),
        pump=min(0.95, suggested.pump * rng.uniform(0.5, 1.5)) if suggested.pump else 0.0,
        pump_beats=rng.uniform(0.3, 0.9),
        drums=None if plain or rng.happens(0.4) else _draw_compression(rng, (-6.0, 8.0), (2.0, 10.0), 0.35),
        bus=None if plain or rng.happens(0.35) else _draw_compression(rng, (-8.0, 4.0), (1.3, 4.0), 0.6),
        equaliser=_draw_equaliser(score, wild, rng),
        medium=Medium() if plain else _draw_medium(rng),
        loudness=_triangle(rng, low, middle, high),
        clip=0.0 if plain else rng.uniform(0.0, 5.0),
        release=rng.uniform(0.04, 0.5),
        peak=-rng.uniform(0.1, 1.0) if rng.happens(0.7) else -rng.uniform(1.0, 9.0),
    )


def _triangle(rng: SeededRandom, low: float, middle: float, high: float) -> float:
    """A number of a triangular distribution."""
    share, at = (middle - low) / (high - low), rng.uniform(0.0, 1.0)
    if at < share:
        return float(low + (at * (high - low) * (middle - low)) ** 0.5)
    return float(high - ((1.0 - at) * (high - low) * (high - middle)) ** 0.5)


def _draw_track(track: Track, plain: bool, rng: SeededRandom) -> TrackProduction:
    """How a track is mixed: drums, basses, leads and voices near the centre, the others anywhere."""
    wild = 0.4 if plain else 1.0
    near = 0.15 if track.role in ("drums", "bass", "lead", "voice") else 0.8
    is_guitar = not track.is_drum and track.program in GUITARS
    is_bass = not track.is_drum and track.program in BASSES
    amplifier = _draw_amplifier(track.program, rng) if is_guitar else None
    if is_bass and not plain and rng.happens(0.3):
        amplifier = _draw_bass_amplifier(rng)
    low = rng.bell_curve(2.0) - (rng.uniform(0.0, 6.0) if track.role not in ("drums", "bass") else 0.0)
    high = rng.bell_curve(3.0 * wild)
    if amplifier is not None or rng.happens(0.4):  # the cabinet is the equaliser
        low = high = 0.0
    wide = track.role == "pad" or (track.role == "chords" and rng.happens(0.5))
    return TrackProduction(
        gain=rng.bell_curve(1.5 * wild),
        pan=rng.uniform(-near, near),
        bright=rng.bell_curve(3.0 * wild),
        low=low,
        high=high,
        send={"drums": -6.0, "bass": -14.0}.get(track.role, 0.0) + rng.bell_curve(3.0),
        width=rng.uniform(0.2, 0.9) if wide else 0.0,
        drive=rng.uniform(-6.0, 10.0) if not plain and amplifier is None and rng.happens(0.15) else None,
        chorus=rng.uniform(0.5, 3.0) if not plain and (wide or is_guitar) and rng.happens(0.25) else None,
        amplifier=amplifier,
        repeats=_draw_repeats(rng) if not plain and track.role in ("lead", "voice") and rng.happens(0.2) else None,
        movement=_draw_movement(track, rng) if not plain and not track.is_drum and rng.happens(0.3) else None,
        ambience=_draw_ambience(rng) if not plain and rng.happens(0.6 if track.is_drum else 0.12) else None,
        kit=_draw_kit(track, wild, rng) if track.is_drum else None,
    )


def _draw_movement(track: Track, rng: SeededRandom) -> Movement:
    """Vibrato for any part; tremolo and filters for chords and pads."""
    kind = rng.choice(("pitch", "level", "treble")) if track.role in ("chords", "pad") else "pitch"
    return Movement(
        kind=kind,
        beats=rng.choice((0.25, 0.33, 0.5)) if kind == "pitch" else rng.choice((0.25, 0.5, 1.0, 4.0, 8.0, 16.0)),
        depth=rng.uniform(0.1, 0.9),
        phase=rng.uniform(0.0, 1.0),
        corner=400.0 * 6.0 ** rng.uniform(0.0, 1.0),
    )


def _draw_ambience(rng: SeededRandom) -> Ambience:
    return Ambience(rng.uniform(0.08, 0.35), -rng.uniform(2.0, 16.0), 1500.0 * 6.0 ** rng.uniform(0.0, 1.0))


def _draw_kit(track: Track, wild: float, rng: SeededRandom) -> dict[int, DrumTuning]:
    """Tune the drums of a clip: all together, and each one."""
    tune = rng.bell_curve(1.5 * wild)
    kit = {}
    for key in sorted({note.pitch for note in track.notes}):
        layers = _DRUM_LAYERS.get(key, ())
        kit[key] = DrumTuning(
            semitones=tune + rng.bell_curve(1.5 * wild),
            decay=2.0 ** rng.bell_curve(0.4 * wild),
            gain=rng.bell_curve(2.0 * wild),
            layer=rng.choice(layers) if layers and wild == 1.0 and rng.happens(0.35) else 0,
            layer_gain=-rng.uniform(2.0, 14.0),
        )
    return kit


def _draw_amplifier(program: int, rng: SeededRandom) -> Amplifier:
    """An amplifier for an electric guitar: clean for programs 26 to 28 and 31, driven for 29 and distorted for 30."""
    low, high = {29: (8.0, 26.0), 30: (16.0, 38.0)}.get(program, (-8.0, 16.0))
    return Amplifier(
        gain=rng.uniform(low, high),
        stages=2 if program == 30 or rng.happens(0.3) else 1,
        bias=rng.uniform(0.0, 0.7),
        tight=rng.uniform(60.0, 350.0),
        tone=rng.uniform(2500.0, 9000.0),
        body=(rng.uniform(80.0, 160.0), rng.uniform(0.0, 6.0)),
        scoop=(rng.uniform(300.0, 900.0), rng.uniform(-8.0, 3.0)),
        bite=(rng.uniform(1600.0, 4200.0), rng.uniform(0.0, 8.0)),
        top=rng.uniform(3800.0, 7500.0),
    )


def _draw_bass_amplifier(rng: SeededRandom) -> Amplifier:
    return Amplifier(
        gain=rng.uniform(-4.0, 22.0),
        stages=1,
        bias=rng.uniform(0.0, 0.5),
        tight=rng.uniform(25.0, 60.0),
        tone=rng.uniform(1500.0, 6000.0),
        body=(rng.uniform(60.0, 110.0), rng.uniform(2.0, 8.0)),
        scoop=(rng.uniform(300.0, 800.0), rng.uniform(-6.0, 2.0)),
        bite=(rng.uniform(900.0, 3000.0), rng.uniform(-2.0, 6.0)),
        top=rng.uniform(3000.0, 6500.0),
    )


def _draw_repeats(rng: SeededRandom) -> Repeats:
    return Repeats(
        beats=rng.choice((0.25, 0.5, 0.5, 0.75, 0.75, 1.0)),
        feedback=rng.uniform(0.1, 0.5),
        level=-rng.uniform(8.0, 20.0),
        top=rng.uniform(1500.0, 7000.0),
    )


def _draw_compression(
    rng: SeededRandom, threshold: tuple[float, float], ratio: tuple[float, float], least: float
) -> Compression:
    return Compression(
        threshold=rng.uniform(*threshold),
        ratio=rng.uniform(*ratio),
        attack=0.001 * 40.0 ** rng.uniform(0.0, 1.0),
        release=0.05 * 10.0 ** rng.uniform(0.0, 1.0),
        blend=rng.uniform(least, 1.0),
    )


def _draw_space(seconds: float, rng: SeededRandom) -> Space:
    """A reverberation around the length that the style suggests: a room, a plate, a hall, or a gated one."""
    kind = rng.weighted_choice({"room": 4.0, "plate": 3.0, "hall": 3.0, "gated": 0.5})
    seconds = (seconds * 0.3 * 8.0 ** rng.uniform(0.0, 1.0)) ** 0.5
    factor = {"room": rng.uniform(0.4, 0.9), "hall": rng.uniform(0.9, 1.8)}.get(kind, rng.uniform(0.7, 1.5))
    return Space(
        seconds=min(3.5, max(0.15, seconds * factor)),
        predelay=rng.uniform(0.0, 0.03) if kind == "room" else rng.uniform(0.005, 0.08),
        rise={"hall": rng.uniform(0.01, 0.06), "room": rng.uniform(0.0, 0.01)}.get(kind, 0.0),
        damping=rng.uniform(1.2, 6.0),
        crossover=1000.0 * 6.0 ** rng.uniform(0.0, 1.0),
        early=-20.0 if kind == "plate" else rng.uniform(-8.0, 4.0),
        size=rng.uniform(0.01, 0.04) if kind == "room" else rng.uniform(0.03, 0.09),
        width=rng.uniform(0.6, 1.0),
        gate=rng.uniform(0.12, 0.35) if kind == "gated" else 0.0,
    )


def _draw_equaliser(score: Score, wild: float, rng: SeededRandom) -> Equaliser:
    """The master equaliser: the style's tilt and shelf, with wide changes."""
    suggested = score.production
    bells = tuple(
        (60.0 * 100.0 ** rng.uniform(0.0, 1.0), rng.bell_curve(2.5 * wild), rng.uniform(0.4, 2.0)) for _ in range(4)
    )
    old = wild == 1.0 and rng.happens(0.12)
    return Equaliser(
        tilt=0.6 * suggested.tilt + rng.bell_curve(0.8 * wild),
        low=(rng.uniform(70.0, 250.0), 0.6 * suggested.shelf + rng.bell_curve(2.5 * wild)),
        high=(rng.uniform(3000.0, 9000.0), rng.bell_curve(2.5 * wild)),
        bells=bells,
        bottom=rng.uniform(50.0, 140.0) if old else rng.uniform(18.0, 45.0),
        top=rng.uniform(4500.0, 8500.0) if old else rng.uniform(9_000.0, 16_000.0),
        slope=rng.integer(1, 4),
    )


def _draw_medium(rng: SeededRandom) -> Medium:
    """Nothing, tape, or rarely a record; often a codec."""
    kind = rng.weighted_choice({"digital": 3.5, "tape": 4.5, "cassette": 1.2, "vinyl": 0.8})
    tape, worn = kind in ("tape", "cassette"), kind in ("cassette", "vinyl")
    coded = rng.happens(0.75)
    noisy = kind != "digital"
    return Medium(
        drive=rng.uniform(-12.0, 4.0) if tape else None,
        emphasis=rng.uniform(0.0, 9.0) if tape else 0.0,
        wow=rng.uniform(0.02, 0.2) if worn else 0.0,
        flutter=rng.uniform(0.0, 0.08) if worn else 0.0,
        # Nothing is silent between its notes: rooms, microphones and amplifiers have noise too.
        hiss=-rng.uniform(28.0, 65.0) if noisy else -rng.uniform(35.0, 75.0),
        colour=rng.uniform(0.0, 1.0),
        hum=-rng.uniform(45.0, 65.0) if rng.happens(0.08) else None,
        mains=rng.choice((50.0, 60.0)),
        crackle=-rng.uniform(26.0, 46.0) if kind == "vinyl" else None,
        density=rng.uniform(2.0, 30.0) if kind == "vinyl" else 0.0,
        ratio=rng.uniform(5.0, 24.0) if coded else None,
        codec_top=rng.uniform(10_500.0, 16_000.0) if coded else 16_000.0,
    )
