"""Draw how a clip is produced: amplifiers, mix, reverberation, medium and mastering, from wide ranges.

A corpus must not give a genre away by its production more than records do. So the ranges of all genres overlap widely,
and a share of the clips is produced plainly (domain randomisation: Tobin et al. 2017, arXiv 1703.06907). The style
data of a sub-genre only moves the middle of some ranges.
"""

from __future__ import annotations

from ..rng import SeededRandom
from ..score import Score, Track
from .amplifier import Amplifier
from .kit import DrumTuning
from .parameters import Ambience, Compression, Equaliser, Medium, MixProduction, Movement, Repeats, TrackProduction
from .space import Space

GUITARS = range(26, 32)  # General-MIDI programs of electric guitars
BASSES = range(32, 40)
# LUFS of a stereo master: the lowest, the middle and the highest of a triangular distribution.
LOUDNESS = {
    "electronica": (-27.0, -13.0, -7.0),
    "pop": (-26.0, -13.0, -7.0),
    "rock": (-25.0, -12.0, -7.0),
    "metal": (-22.0, -11.0, -6.5),
    "hiphop": (-24.0, -12.0, -7.0),
    "disco": (-26.0, -14.0, -8.0),
    "funk": (-26.0, -15.0, -8.0),
    "reggae": (-26.0, -14.0, -8.0),
    "country": (-26.0, -14.0, -8.0),
    "blues": (-28.0, -16.0, -9.0),
    "jazz": (-30.0, -18.0, -11.0),
    "classical": (-34.0, -21.0, -13.0),
    "orchestral": (-34.0, -20.0, -11.0),
}
# Drums that may sound along with a drum, by General-MIDI keys.
_DRUM_LAYERS = {35: (36,), 36: (35, 41), 38: (40, 39, 54), 40: (38, 39), 39: (38, 40), 42: (44, 70), 46: (42,)}
_PLAIN = 0.05  # share of the clips with as few effects as a mix can have


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
    low, middle, high = LOUDNESS.get(score.genre, (-27.0, -14.0, -8.0))
    return MixProduction(
        plain=plain,
        tracks=tracks,
        space=_draw_space(suggested.room_seconds, rng),
        wet=min(-2.0, 0.5 * suggested.room + 0.5 * rng.uniform(-26.0, -2.0) + rng.bell_curve(2.0)),
        pump=min(0.95, suggested.pump * rng.uniform(0.5, 1.5)) if suggested.pump else 0.0,
        pump_beats=rng.uniform(0.3, 0.9),
        drums=None if plain or rng.happens(0.25) else _draw_compression(rng, (-4.0, 10.0), (2.0, 8.0), 0.3),
        bus=None if plain or rng.happens(0.45) else _draw_compression(rng, (-6.0, 6.0), (1.2, 3.5), 0.5),
        equaliser=_draw_equaliser(score, wild, rng),
        medium=Medium() if plain else _draw_medium(rng),
        loudness=_triangle(rng, low, middle, high),
        clip=0.0 if plain or rng.happens(0.4) else rng.uniform(0.0, 4.0),
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
    if is_bass and not plain and rng.happens(0.45):
        amplifier = _draw_bass_amplifier(rng)
    low = rng.bell_curve(2.0) - (rng.uniform(0.0, 6.0) if track.role not in ("drums", "bass") else 0.0)
    # Close sampled drums are brighter and louder than those of most records.
    high = rng.bell_curve(3.0 * wild) - (1.5 if track.is_drum else 0.0)
    if amplifier is not None or rng.happens(0.4):  # the cabinet is the equaliser
        low = high = 0.0
    wide = track.role == "pad" or (track.role == "chords" and rng.happens(0.5))
    doubled = is_guitar and not plain and rng.happens(0.5 if track.program in (29, 30) else 0.2)
    near = 0.15 if doubled else near
    return TrackProduction(
        gain=rng.bell_curve(1.5 * wild) + _push(track, rng),
        pan=rng.uniform(-near, near),
        bright=-2.0 + rng.bell_curve(3.0 * wild),
        low=low,
        high=high,
        send={"drums": -6.0, "bass": -14.0}.get(track.role, 0.0) + rng.bell_curve(3.0),
        width=rng.uniform(0.2, 0.9) if wide else 0.0,
        drive=rng.uniform(-6.0, 10.0)
        if not plain and amplifier is None and rng.happens(0.5 if track.is_drum else 0.25)
        else None,
        chorus=rng.uniform(0.5, 3.0)
        if not plain and (wide or is_guitar) and not doubled and rng.happens(0.3)
        else None,
        double=rng.uniform(8.0, 28.0) if doubled else None,
        amplifier=amplifier,
        repeats=_draw_repeats(rng) if not plain and track.role in ("lead", "voice") and rng.happens(0.2) else None,
        movement=_draw_movement(track, rng) if not plain and rng.happens(0.5 if track.is_drum else 0.25) else None,
        ambience=_draw_ambience(rng) if not plain and rng.happens(0.85 if track.is_drum else 0.1) else None,
        kit=_draw_kit(track, wild, rng) if track.is_drum else None,
    )


def _push(track: Track, rng: SeededRandom) -> float:
    """dB by which distorted guitars are in front and drums are behind."""
    if track.is_drum:
        return -rng.uniform(0.0, 3.0)
    return rng.uniform(0.0, 3.0) if track.program in (29, 30) else 0.0


def _draw_movement(track: Track, rng: SeededRandom) -> Movement:
    """Vibrato for any part, tremolo and filters for chords and pads. A filter makes each hit of a drum another one."""
    if track.is_drum:
        beats, depth, corner = rng.uniform(0.3, 3.0), rng.uniform(0.2, 0.7), rng.uniform(1500.0, 6000.0)
        return Movement("treble", beats, depth, rng.uniform(0.0, 1.0), corner)
    kind = rng.choice(("pitch", "level", "treble")) if track.role in ("chords", "pad") else "pitch"
    return Movement(
        kind=kind,
        beats=rng.choice((0.25, 0.33, 0.5)) if kind == "pitch" else rng.choice((0.25, 0.5, 1.0, 4.0, 8.0, 16.0)),
        depth=rng.uniform(0.1, 0.9),
        phase=rng.uniform(0.0, 1.0),
        corner=400.0 * 6.0 ** rng.uniform(0.0, 1.0),
    )


def _draw_ambience(rng: SeededRandom) -> Ambience:
    return Ambience(rng.uniform(0.06, 0.25), -rng.uniform(0.0, 13.0), 1500.0 * 6.0 ** rng.uniform(0.0, 1.0))


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
    low, high = {29: (8.0, 26.0), 30: (16.0, 38.0)}.get(program, (-10.0, 10.0))
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
    # Sampled notes have more presence than records, whose octaves fall by about 2 dB each (Pestana et al. 2013).
    bells += ((rng.uniform(1800.0, 3600.0), rng.uniform(-7.0, 1.0), rng.uniform(1.0, 2.5)),)
    old = wild == 1.0 and rng.happens(0.12)
    return Equaliser(
        tilt=0.6 * suggested.tilt - 0.3 + rng.bell_curve(0.9 * wild),
        low=(rng.uniform(70.0, 250.0), 0.6 * suggested.shelf - 1.0 + rng.bell_curve(3.0 * wild)),
        high=(rng.uniform(3000.0, 9000.0), rng.bell_curve(2.5 * wild)),
        bells=bells,
        bottom=rng.uniform(50.0, 140.0) if old else 18.0 * 4.5 ** rng.uniform(0.0, 1.0),
        top=rng.uniform(4500.0, 8500.0) if old else rng.uniform(10_000.0, 24_000.0),
        slope=rng.integer(1, 4),
    )


def _draw_medium(rng: SeededRandom) -> Medium:
    """Nothing, tape, or rarely a record; often a codec."""
    kind = rng.weighted_choice({"digital": 2.5, "tape": 5.0, "cassette": 1.2, "vinyl": 0.8})
    tape, worn = kind in ("tape", "cassette"), kind in ("cassette", "vinyl")
    coded = rng.happens(0.85)
    noisy = kind != "digital"
    return Medium(
        drive=rng.uniform(-16.0, 2.0) if tape else None,
        emphasis=rng.uniform(0.0, 9.0) if tape else 0.0,
        wow=rng.uniform(0.02, 0.2) if worn else 0.0,
        flutter=rng.uniform(0.0, 0.08) if worn else 0.0,
        # Nothing is silent between its notes: rooms, microphones and amplifiers have noise too.
        hiss=-rng.uniform(28.0, 65.0) if noisy else -rng.uniform(35.0, 75.0),
        colour=rng.uniform(0.0, 1.0) ** 0.5,
        hum=-rng.uniform(45.0, 65.0) if rng.happens(0.08) else None,
        mains=rng.choice((50.0, 60.0)),
        crackle=-rng.uniform(26.0, 46.0) if kind == "vinyl" else None,
        density=rng.uniform(2.0, 30.0) if kind == "vinyl" else 0.0,
        ratio=rng.uniform(5.0, 24.0) if coded else None,
        codec_top=min(16_000.0, rng.uniform(11_000.0, 20_000.0)) if coded else 16_000.0,
    )
