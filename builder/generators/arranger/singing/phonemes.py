"""The speech sounds that singers use: formants of vowels, and how consonants lead into them."""

from __future__ import annotations

from dataclasses import dataclass

from ..rng import SeededRandom

Formants = tuple[float, float, float]  # F1 to F3 in Hz

# Peterson and Barney 1952, "Control methods used in a study of the vowels", table II: means of men, women, children.
VOWELS: dict[str, tuple[Formants, Formants, Formants]] = {
    "i": ((270, 2290, 3010), (310, 2790, 3310), (370, 3200, 3730)),
    "I": ((390, 1990, 2550), (430, 2480, 3070), (530, 2730, 3600)),
    "E": ((530, 1840, 2480), (610, 2330, 2990), (690, 2610, 3570)),
    "ae": ((660, 1720, 2410), (860, 2050, 2850), (1010, 2320, 3320)),
    "a": ((730, 1090, 2440), (850, 1220, 2810), (1030, 1370, 3170)),
    "O": ((570, 840, 2410), (590, 920, 2710), (680, 1060, 3180)),
    "U": ((440, 1020, 2240), (470, 1160, 2680), (560, 1410, 3310)),
    "u": ((300, 870, 2240), (370, 950, 2670), (430, 1170, 3260)),
    "uh": ((640, 1190, 2390), (760, 1400, 2780), (850, 1590, 3360)),
    "er": ((490, 1350, 1690), (500, 1640, 1960), (560, 1820, 2160)),
}


@dataclass(frozen=True, slots=True)
class Consonant:
    """A consonant before a vowel, or after one."""

    formants: Formants  # of a man, where the vowel's formants come from
    hold: float  # seconds from its start to the vowel
    voicing: float = 0.0  # amplitude of the voice meanwhile, relative to the vowel
    noise: str = ""  # the noise of NOISES at its constriction
    loudness: float = 0.0  # of that noise
    burst: bool = False  # the noise is short, where a closure opens
    aspiration: float = 0.0  # seconds of breath before the voice sets in


# Formants: Klatt 1980, "Software for a cascade/parallel formant synthesizer", tables II and III.
CONSONANTS: dict[str, Consonant] = {
    "p": Consonant((400, 1100, 2150), 0.07, noise="p", loudness=0.5, burst=True, aspiration=0.035),
    "t": Consonant((400, 1600, 2600), 0.07, noise="t", loudness=0.7, burst=True, aspiration=0.04),
    "k": Consonant((300, 1990, 2850), 0.075, noise="k", loudness=0.6, burst=True, aspiration=0.045),
    "b": Consonant((200, 1100, 2150), 0.06, 0.2, noise="p", loudness=0.25, burst=True),
    "d": Consonant((200, 1600, 2600), 0.055, 0.2, noise="t", loudness=0.3, burst=True),
    "g": Consonant((200, 1990, 2850), 0.06, 0.2, noise="k", loudness=0.3, burst=True),
    "m": Consonant((280, 1100, 2130), 0.07, 0.55),
    "n": Consonant((280, 1500, 2500), 0.06, 0.55),
    "s": Consonant((320, 1390, 2530), 0.11, noise="s", loudness=0.45),
    "sh": Consonant((300, 1840, 2750), 0.11, noise="sh", loudness=0.5),
    "f": Consonant((340, 1100, 2080), 0.09, noise="f", loudness=0.2),
    "v": Consonant((220, 1100, 2080), 0.06, 0.45, noise="f", loudness=0.08),
    "th": Consonant((270, 1290, 2540), 0.05, 0.45, noise="f", loudness=0.06),
    "z": Consonant((240, 1390, 2530), 0.08, 0.4, noise="s", loudness=0.2),
    "h": Consonant((500, 1450, 2450), 0.07, aspiration=0.07),
    "l": Consonant((310, 1050, 2880), 0.06, 0.65),
    "r": Consonant((310, 1060, 1380), 0.06, 0.65),
    "w": Consonant((290, 610, 2150), 0.065, 0.6),
    "y": Consonant((260, 2070, 3020), 0.055, 0.6),
}

# Noise of constrictions: centre in Hz, standard deviation in octaves.
NOISES: dict[str, tuple[float, float]] = {
    "p": (1000.0, 1.2),
    "t": (4500.0, 0.7),
    "k": (2000.0, 0.5),
    "s": (7000.0, 0.5),
    "sh": (3800.0, 0.55),
    "f": (6500.0, 1.4),
}

# About as often as in English words.
_ONSETS = {
    "": 12.0, "t": 8.0, "d": 7.0, "n": 8.0, "s": 7.0, "l": 8.0, "r": 6.0, "m": 7.0, "w": 6.0, "k": 4.0, "b": 5.0,
    "h": 6.0, "th": 7.0, "f": 3.0, "p": 3.0, "y": 4.0, "v": 2.0, "g": 3.0, "sh": 2.0, "z": 1.0,
}  # fmt: skip
_CODAS = {"": 60.0, "n": 10.0, "m": 4.0, "s": 5.0, "t": 5.0, "d": 4.0, "l": 5.0, "r": 4.0, "k": 2.0, "z": 2.0}
_NUCLEI = {
    ("uh",): 14.0, ("I",): 12.0, ("i",): 11.0, ("E",): 9.0, ("ae",): 8.0, ("a",): 9.0, ("O",): 5.0, ("U",): 3.0,
    ("u",): 8.0, ("er",): 3.0, ("a", "I"): 11.0, ("E", "i"): 7.0, ("O", "U"): 9.0, ("a", "U"): 3.0,
}  # fmt: skip
_VOCABLES = (("", ("O", "U")), ("", ("a",)), ("y", ("E", "ae")), ("w", ("O", "U")), ("h", ("E", "i")), ("", ("u",)))
_REFRAINS = ("l", "n", "d", "b")  # la la la, na na na, ...


@dataclass(frozen=True, slots=True)
class Syllable:
    """What a singer sings on a note: names of CONSONANTS or "", and one or two of VOWELS."""

    onset: str
    vowels: tuple[str, ...]
    coda: str = ""


def draw_syllables(rng: SeededRandom, count: int) -> tuple[Syllable, ...]:
    """Draw the text of a line: mostly word-like, sometimes vocables (oh, yeah) or one repeated syllable (la la la)."""
    kind = rng.weighted_choice({"words": 0.72, "vocables": 0.18, "refrain": 0.1})
    if kind == "refrain":
        onset, nucleus = rng.choice(_REFRAINS), (rng.choice(("a", "a", "uh", "u")),)
        return (Syllable(onset, nucleus),) * count
    if kind == "vocables":
        few = [rng.choice(_VOCABLES) for _ in range(2)]
        return tuple(Syllable(*few[rng.happens(0.35)]) for _ in range(count))
    return tuple(
        Syllable(rng.weighted_choice(_ONSETS), rng.weighted_choice(_NUCLEI), rng.weighted_choice(_CODAS))
        for _ in range(count)
    )


def vowel_formants(name: str, tract: float) -> Formants:
    """F1 to F3 of a vowel in Hz, for a vocal tract from 0 (a man's) over 1 (a woman's) to 2 (a child's)."""
    low = min(1, int(tract))
    first, second = VOWELS[name][low : low + 2]
    part = tract - low
    f1, f2, f3 = (one + part * (other - one) for one, other in zip(first, second, strict=True))
    return f1, f2, f3
