"""The arranger: composes a clip from its labels by rules, and plays it with a General-MIDI sound font."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...annotations.annotation import STEMS, Annotation
from ...annotations.midi import write_midi
from ...clip import Clip
from ...errors import RecipeError
from ...settings import VERSIONS
from ...soundfonts import DEFAULT, FontFile, find_font
from .annotating.annotate import annotate_score
from .composing.compose import compose_score
from .playing.instruments import Instruments
from .playing.perform import perform_score
from .playing.soundfont import SoundFont
from .production.draw import draw_production
from .render import render_score
from .revision import make_revision
from .rng import SeededRandom
from .score import Note, Score, Track
from .singing.vocals import describe_vocals
from .stems import finish_stems
from .style import Vocabulary, read_styles
from .version1.mix import mix_score
from .version1.sampler import Sampler

if TYPE_CHECKING:
    from ...settings import GeneratorSettings
    from ...taxonomy import Taxonomy

__all__ = ["Arranger", "Note", "Score", "Track"]

_CACHE_BYTES = 256 << 20  # of played notes, for all sound fonts together
_NOT_USED = ("model", "guidance", "temperature", "top_k", "top_p", "dtype")


class Arranger:
    """The default generator: no weights, no download, 32 kHz.

    What a prompt leaves open (key, tempo, instruments, ...) is drawn from the genre's style data by the clip's seed.
    `settings.revision` is the version of the sound: "1", that of 0.1, or "2", the default.

    Raises:
        RecipeError: Settings that the arranger has no use for, or faults in the taxonomy's style data; all are listed.
        BackendError: A sound font that is not installed.
    """

    name = "arranger"
    sampling_rate = 32_000
    license = "cc-by-4.0"
    samples = False
    single_core = True
    about = (
        "General-MIDI arrangements, composed by rules from the prompt's own attributes and played with sound fonts. "
        "No neural model is involved: the clips stand for music in tests and lessons, not for MusicGen's."
    )

    def __init__(self, settings: GeneratorSettings, taxonomy: Taxonomy) -> None:
        _refuse_unused(settings)
        self.version, self._channels = str(settings.version), settings.channels
        self.seconds = settings.seconds
        self.rows_at_once = settings.batch_size or 16
        self._taxonomy = taxonomy
        self._vocabulary = Vocabulary.load()
        self._styles = read_styles(taxonomy, self._vocabulary)
        self._fonts = [find_font(font) for font in settings.soundfont]
        self._instruments = lru_cache(None)(self._open_font)
        self._compose = lru_cache(64)(self._compose_score)  # generated clips are described, too

    @staticmethod
    def check_settings(settings: GeneratorSettings) -> None:
        """Raise BackendError for a sound font that is not installed, or cannot be read as one."""
        for font in settings.soundfont:
            SoundFont(find_font(font).path)

    @cached_property
    def revision(self) -> str:
        """Equal for equal clips: see `make_revision`."""
        taxonomy = json.dumps(self._taxonomy.model_dump(mode="json"), sort_keys=True).encode()
        return make_revision(self.version, taxonomy, [font.digest for font in self._fonts])

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.sampling_rate, self._vocabulary)

    def compose(self, clip: Clip) -> Score:
        """Compose a clip's score. Raises RecipeError for a prompt that names what the taxonomy does not have."""
        return self._compose(clip, self.seconds)

    def _choose_font(self, seed: int) -> FontFile:
        return SeededRandom(seed, "soundfont").choice(self._fonts)

    def _open_font(self, font: FontFile) -> Instruments:
        cache_bytes = _CACHE_BYTES // len(self._fonts)
        return Instruments(SoundFont(font.path), self.sampling_rate, self._channels, self._vocabulary, cache_bytes)

    def _compose_score(self, clip: Clip, seconds: float) -> Score:
        score = compose_score(clip, self._taxonomy, self._styles, self._vocabulary, seconds, self.version)
        if self.version == "1":
            return score
        return perform_score(score, self._styles[score.genre, score.subgenre].looseness, seconds)

    def render(self, score: Score) -> np.ndarray:
        """Play a score: float32 [samples], in stereo [samples, 2], in [-1, 1]."""
        return _to_clip(self._mix(score)[0])

    def render_stems(self, score: Score) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Play a score, and each of its stems: see `generate_stems`."""
        names = [name for name in STEMS if any(track.stem == name and track.notes for track in score.tracks)]
        mix, *sounds = self._mix(score, names)
        stems = finish_stems(mix, dict(zip(names, sounds, strict=True)))
        return _to_clip(mix), {name: _to_clip(stem) for name, stem in stems.items()}

    def _mix(self, score: Score, stems: Sequence[str] = ()) -> list[np.ndarray]:
        """The mix and the wanted stems: float32 [channels, samples] each, version 1 [samples]."""
        if self.version == "1":
            return mix_score(score, self.seconds, self._sampler, self._vocabulary, stems)
        return render_score(score, self.seconds, self._instruments(self._choose_font(score.seed)), stems)

    def generate(self, rows: Sequence[Clip]) -> list[np.ndarray]:
        """Make a clip for each row: float32 [samples] or [samples, 2] in [-1, 1], `seconds` long at 32 kHz."""
        return [self.render(self.compose(row)) for row in rows]

    def generate_stems(self, rows: Sequence[Clip]) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Make a clip for each row, with its stems.

        Returns:
            The clip, equal to that of `generate`, and its stems by their names in `STEMS`, of the same shape, without
            silent ones. Their 16-bit values, as FLAC keeps them, add up to those of the clip: see `finish_stems`.
        """
        return [self.render_stems(self.compose(row)) for row in rows]

    def annotate(self, row: Clip) -> Annotation:
        """Return what is played in a clip, at the times of its sound.

        Everything comes from the score, and nothing is rendered. Notes start and end as in MIDI, without what a
        sample's attack, a release or an echo adds. `midi` is their MIDI file.
        """
        score = self.compose(row)
        player = self._sampler if self.version == "1" else self._instruments(self._choose_font(score.seed))
        annotation = annotate_score(score, row.id, self.seconds, self.sampling_rate, self.version, player.find_tuning)
        return replace(annotation, midi=write_midi(annotation))

    def describe(self, row: Clip) -> dict[str, str]:
        """Return the sound font and the production of a clip: its columns `soundfont` and `production`."""
        score = self.compose(row)
        font = self._choose_font(row.seed)
        production = asdict(score.production)
        if self.version != "1":
            production = draw_production(score).describe() | describe_vocals(score)
            if substitutes := self._instruments(font).list_substitutes(score):
                production["substitutes"] = substitutes
        return {"soundfont": font.name, "production": json.dumps(_round(production))}


def _to_clip(sound: np.ndarray) -> np.ndarray:
    """A sound of one channel as [samples], of two as [samples, 2]."""
    return sound if sound.ndim == 1 else sound[0] if len(sound) == 1 else np.ascontiguousarray(sound.T)


def _round(value: Any) -> Any:
    """The value with its numbers rounded to four significant digits."""
    if isinstance(value, dict):
        return {key: _round(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_round(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _refuse_unused(settings: GeneratorSettings) -> None:
    """Raise RecipeError for settings that only other generators follow."""
    defaults = type(settings)()
    faults = [
        f"generator.{field}: {getattr(settings, field)!r} means nothing to the arranger"
        for field in _NOT_USED
        if getattr(settings, field) != getattr(defaults, field)
    ]
    if settings.revision is not None and settings.revision not in VERSIONS["arranger"]:
        known = " and ".join(VERSIONS["arranger"])
        faults.append(f"generator.revision: the arranger has the versions {known}, not {settings.revision!r}")
    if settings.stereo and settings.version == "1":
        faults.append("generator.stereo: version 1 of the arranger is mono")
    if settings.version == "1" and settings.soundfont != defaults.soundfont:
        faults.append(f"generator.soundfont: version 1 of the arranger is played with {DEFAULT} alone")
    if settings.device not in ("auto", "cpu"):
        faults.append(f"generator.device: {settings.device!r}, but the arranger plays on the CPU")
    if faults:
        raise RecipeError("\n".join(faults), "change or remove these keys, or name the generator that they are for")
