"""The columns of a corpus: their types, and the descriptions that the card shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..annotations.annotation import STEMS
from ..clip import VOCALS, Clip

if TYPE_CHECKING:
    from datasets import Features

SAMPLING_RATE = 32_000  # Hz, of corpora whose recipe names no other
LONGEST = 60.0  # seconds of a clip that are decoded; recipes allow up to 30

COLUMNS = {
    "id": "unique and stable: genre, number in the genre, hash of the prompt",
    "audio": "the clip: {channels}, {rate}, FLAC (16 bits)",
    "prompt": "text prompt of the generator",
    "genre": "requested genre",
    "subgenre": "requested sub-genre, null where the prompt names none",
    "mood": "requested mood, null where the prompt names none",
    "instruments": "instruments that the prompt names; the clip may have others",
    "tempo_bpm": "requested tempo in beats per minute, null where the prompt gives none",
    "key": 'requested key ("A minor"), null where the prompt gives none',
    "vocals": "whether the prompt asks for vocals",
    "prompt_group": "clips with the same description share it, and are in the same split",
    "seed": "seed of the generator's random numbers",
    "generator": "name of the generator",
    "generator_revision": "revision of its weights, or of its code and data",
    "soundfont": "sound font that plays the clip, null where the generator has none",
    "production": "how the clip is mixed and mastered, as JSON, null where the generator reports nothing",
    "guidance": "classifier-free guidance scale, null where the generator has none",
    "temperature": "sampling temperature, null where the generator has none",
    "top_k": "number of tokens sampled from, null where the generator has none",
    "duration": "length in seconds",
    "loudness": "integrated loudness in LUFS (ITU-R BS.1770-4)",
    "peak": "highest sample in dBFS",
    "attempts": "number of times the clip was made until it passed the quality gate",
    "embedding": "mean of the embeddings of the clip's windows",
}
# Columns of what some generators report of a clip. Corpora of 0.1 do not have them.
DETAILS = ("soundfont", "production")
LABELS = ("genre", "subgenre", "mood", "instruments", "tempo_bpm", "key", "vocals", "prompt_group")


class LabelNames(Protocol):
    """The class names of the label columns, in order, as a taxonomy has them."""

    @property
    def genre_names(self) -> list[str]:
        """Class names of the column `genre`."""

    @property
    def mood_names(self) -> list[str]:
        """Class names of the column `mood`."""

    @property
    def instrument_names(self) -> list[str]:
        """Class names of the column `instruments`."""


def label_features(labels: LabelNames) -> dict[str, Any]:
    """Make the features of the label columns, which every config has."""
    from datasets import ClassLabel, List, Value

    return {
        "genre": ClassLabel(names=list(labels.genre_names)),
        "subgenre": Value("string"),
        "mood": ClassLabel(names=list(labels.mood_names)),
        "instruments": List(ClassLabel(names=list(labels.instrument_names))),
        "tempo_bpm": Value("int32"),
        "key": Value("string"),
        "vocals": ClassLabel(names=list(VOCALS)),
        "prompt_group": Value("string"),
    }


def audio_features(
    labels: LabelNames, details: Sequence[str] = DETAILS, sampling_rate: int = SAMPLING_RATE
) -> Features:
    """Make the features of the `default` config.

    Args:
        labels: The class names.
        details: Those of `DETAILS` that the corpus has.
        sampling_rate: Of the clips, in Hz.
    """
    from datasets import Audio, Features, Value

    return Features(
        {
            "id": Value("string"),
            "audio": Audio(sampling_rate=sampling_rate),
            "prompt": Value("string"),
            **label_features(labels),
            "seed": Value("int64"),
            "generator": Value("string"),
            "generator_revision": Value("string"),
            **{column: Value("string") for column in details},
            "guidance": Value("float32"),
            "temperature": Value("float32"),
            "top_k": Value("int32"),
            "duration": Value("float32"),
            "loudness": Value("float32"),
            "peak": Value("float32"),
            "attempts": Value("int8"),
        }
    )


def stem_features(sampling_rate: int = SAMPLING_RATE) -> Features:
    """Make the features of the config `stems`, of a corpus of this rate in Hz."""
    from datasets import Audio, ClassLabel, Features, Value

    return Features(
        {"id": Value("string"), "stem": ClassLabel(names=list(STEMS)), "audio": Audio(sampling_rate=sampling_rate)}
    )


def embedding_features(labels: dict[str, Any], dim: int) -> Features:
    """Make the features of an embedder's config.

    Args:
        labels: The label columns of the corpus.
        dim: Dimensions of the embeddings.
    """
    from datasets import Features, List, Value

    return Features({"id": Value("string"), "embedding": List(Value("float32"), length=dim), **labels})


class LabelEncoder:
    """Converts the labels of clips to the values that the label columns store."""

    def __init__(self, labels: LabelNames) -> None:
        self._genre = {name: i for i, name in enumerate(labels.genre_names)}
        self._mood = {name: i for i, name in enumerate(labels.mood_names)}
        self._instrument = {name: i for i, name in enumerate(labels.instrument_names)}

    def __call__(self, clip: Clip) -> dict[str, Any]:
        """The label columns of one row."""
        prompt = clip.prompt
        return {
            "genre": self._genre[prompt.genre],
            "subgenre": prompt.subgenre,
            "mood": None if prompt.mood is None else self._mood[prompt.mood],
            "instruments": [self._instrument[name] for name in prompt.instruments],
            "tempo_bpm": prompt.tempo_bpm,
            "key": prompt.key,
            "vocals": VOCALS.index(prompt.vocals),
            "prompt_group": clip.prompt_group,
        }
