"""Music theory: keys, scales, chords from Roman numerals, and voicings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

MAJOR, NATURAL_MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
SCALES = {"major": MAJOR, "minor": NATURAL_MINOR}
TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_DEGREES = {"I": 0, "II": 1, "III": 2, "IV": 3, "V": 4, "VI": 5, "VII": 6}
_NUMERAL = re.compile(r"^([b#]?)(IV|I{1,3}|VI{0,2}|iv|i{1,3}|vi{0,2})(.*)$")
# The suffix of a numeral: tones above the root in semitones. None is the third, major or minor by the numeral's case.
_QUALITIES: dict[str, tuple[int | None, ...]] = {
    "": (0, None, 7),
    "5": (0, 7),
    "6": (0, None, 7, 9),
    "7": (0, None, 7, 10),
    "9": (0, None, 7, 10, 14),
    "13": (0, None, 10, 14, 21),
    "maj7": (0, None, 7, 11),
    "maj9": (0, None, 7, 11, 14),
    "add9": (0, None, 7, 14),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "7sus4": (0, 5, 7, 10),
    "aug": (0, 4, 8),
    "dim": (0, 3, 6),
    "dim7": (0, 3, 6, 9),
    "m7b5": (0, 3, 6, 10),
}


@dataclass(frozen=True, slots=True)
class Key:
    """A tonic (0 is C) and a mode."""

    tonic: int
    mode: str  # "major" or "minor"

    @classmethod
    def parse(cls, label: str) -> Key:
        """Read "A minor", "Eb major". Raises ValueError."""
        match = re.fullmatch(r"([A-G])([b#]?) (major|minor)", label)
        if match is None:
            raise ValueError(f"{label!r} is not a key: write it as 'A minor' or 'Eb major'")
        letter, accidental, mode = match.groups()
        return cls((_LETTERS[letter] + {"": 0, "b": -1, "#": 1}[accidental]) % 12, mode)

    def __str__(self) -> str:
        return f"{TONICS[self.tonic]} {self.mode}"

    @property
    def scale(self) -> frozenset[int]:
        """The pitch classes of the major or natural minor scale."""
        return frozenset((self.tonic + step) % 12 for step in SCALES[self.mode])


@dataclass(frozen=True, slots=True)
class Chord:
    """A root and its tones."""

    root: int  # pitch class
    tones: tuple[int, ...]  # semitones above the root, ascending, the first is 0

    @property
    def classes(self) -> frozenset[int]:
        """The chord's pitch classes."""
        return frozenset((self.root + tone) % 12 for tone in self.tones)


def parse_numeral(text: str) -> tuple[int, int, bool, tuple[int | None, ...], bool]:
    """Read a Roman numeral: degree, accidental, whether it is major, tones, and whether the harmony may extend them.

    Raises ValueError for text that is not one.
    """
    match = _NUMERAL.match(text)
    if match is None or match[3] not in _QUALITIES:
        raise ValueError(
            f"{text!r} is not a chord: write a Roman numeral and one of {', '.join(filter(None, _QUALITIES))}"
        )
    accidental, numeral, quality = match.groups()
    degree = _DEGREES[numeral.upper()]
    return degree, {"": 0, "b": -1, "#": 1}[accidental], numeral.isupper(), _QUALITIES[quality], quality == ""


@lru_cache(maxsize=4096)
def parse_chord(text: str, key: Key, harmony: str = "triads") -> Chord:
    """The chord of a Roman numeral in a key. Degrees are those of the key's scale (VI in minor is bVI of major).

    Args:
        text: The numeral: "ii7", "bVII", "V7sus4", ...
        key: The key.
        harmony: What a numeral without a suffix means: "fifths", "triads", "sevenths" or "ninths" (from the scale), or
            "dominants" (a minor seventh on every chord, as in the blues).

    Raises:
        ValueError: The text is not a numeral.
    """
    degree, accidental, is_major, tones, plain = parse_numeral(text)
    root = (key.tonic + SCALES[key.mode][degree] + accidental) % 12
    third = 4 if is_major else 3
    built = [third if tone is None else tone for tone in tones]
    if plain and harmony == "fifths":
        built = [0, 7]
    elif plain:
        # A plain minor triad on the leading tone or the second of minor is diminished in the scale.
        if not is_major and (root + 7) % 12 not in key.scale and (root + 6) % 12 in key.scale:
            built[2] = 6
        if harmony == "dominants":
            built.append(10)
        elif harmony in ("sevenths", "ninths"):
            built += [tone for tone in (10, 11) if (root + tone) % 12 in key.scale][:1]
            if harmony == "ninths" and (root + 2) % 12 in key.scale:
                built.append(14)
    return Chord(root, tuple(built))


def nearest_pitch(pitch_class: int, around: float) -> int:
    """The pitch of a pitch class that is nearest to a pitch."""
    return round(around - ((around - pitch_class + 6) % 12 - 6))


def scale_walk(pitch: int, steps: int, classes: frozenset[int]) -> int:
    """Return the pitch a number of scale steps above or below a pitch.

    Args:
        pitch: MIDI note number, which need not be in the scale.
        steps: Number of scale steps; negative steps go down.
        classes: Pitch classes of the scale, 0 (C) to 11 (B), at least one.

    Returns:
        MIDI note number. It is in the scale, except for 0 steps from a pitch outside it.
    """
    direction = 1 if steps >= 0 else -1
    for _ in range(abs(steps)):
        pitch += direction
        while pitch % 12 not in classes:
            pitch += direction
    return pitch


def voice_chord(chord: Chord, centre: float, voices: int, shape: str, previous: tuple[int, ...]) -> tuple[int, ...]:
    """Choose the pitches of a chord.

    Args:
        chord: The chord.
        centre: The MIDI pitch around which the voicing is.
        voices: How many pitches it has, where the shape leaves that open.
        shape: "close" moves as little as possible from `previous`; "open" also drops the second voice from the top by
            an octave; "root" has the root lowest; "power" is root, fifth and octave; "shell" is third and seventh.
        previous: The pitches of the chord before.

    Returns:
        The pitches, ascending.
    """
    if shape == "power":
        root = nearest_pitch(chord.root, centre)
        return (root, root + (7 if 7 in chord.tones else 6), root + 12)
    classes = [(chord.root + tone) % 12 for tone in chord.tones]
    if shape == "shell" and len(classes) > 3:
        classes = [classes[1], classes[3], *classes[4:5]]
    elif len(classes) > voices:  # the bass has the root, and the fifth matters least
        spare = [classes[0], (chord.root + 7) % 12] if voices < len(classes) - 1 else [(chord.root + 7) % 12]
        classes = [c for c in classes if c not in spare][:voices] or classes[:voices]
    if shape == "root":
        root = nearest_pitch(chord.root, centre - 4)
        pitches = [root]
        for pitch_class in classes[1:]:
            pitches.append(nearest_pitch(pitch_class, pitches[-1] + 4.5))
            if pitches[-1] <= pitches[-2]:
                pitches[-1] += 12
        return tuple(pitches)
    # Towards the chord before, but back to the centre in the long run.
    target = 0.4 * sum(previous) / len(previous) + 0.6 * centre if previous else centre
    candidates = [_stack_classes(classes[turn:] + classes[:turn], target) for turn in range(len(classes))]
    best = min(candidates, key=lambda pitches: (_measure_movement(pitches, previous, target), pitches))
    while len(best) < voices and shape != "shell":  # doubled above
        best = (*best, best[len(best) - len(classes)] + 12)
    if shape == "open" and len(best) > 2:
        best = tuple(sorted({*best[:-2], best[-2] - 12, best[-1]}))
    return best


def _measure_movement(pitches: tuple[int, ...], previous: tuple[int, ...], target: float) -> float:
    """How far a chord's voices are from the previous ones, plus the distance of its mean pitch from the target."""
    moved = sum(min(abs(pitch - before) for before in previous) for pitch in pitches) if previous else 0
    return moved + abs(sum(pitches) / len(pitches) - target)


def _stack_classes(classes: list[int], centre: float) -> tuple[int, ...]:
    """Stack pitch classes upwards, each less than an octave above the one before, with their mean near `centre`."""
    pitches = [classes[0]]
    for pitch_class in classes[1:]:
        pitches.append(pitches[-1] + ((pitch_class - pitches[-1]) % 12 or 12))
    shift = 12 * round((centre - sum(pitches) / len(pitches)) / 12)
    return tuple(pitch + shift for pitch in pitches)
