"""Does the arranger play what the prompts ask for, and do its clips differ? Measured on the demo's clips.

uv run perf/fidelity.py [--quick] [--json FILE]
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import librosa
import numpy as np
import table

from builder.clip import Clip
from builder.corpus.building.plan import plan_clips
from builder.generators.arranger import Arranger, Score
from builder.recipe import Recipe

TOLERANCE = 0.04  # of the asked tempo
OCTAVES, COMPOUND = (0.5, 1.0, 2.0), (1 / 3, 2 / 3, 1.5, 3.0)
HOP = 256  # 125 frames a second: 4 % apart up to 180 beats per minute


def estimated_tempo(audio: np.ndarray, rate: int) -> float:
    """librosa's tempo: the strongest period of the onset strength."""
    onsets = librosa.onset.onset_strength(y=audio, sr=rate, hop_length=HOP)
    return float(librosa.feature.tempo(onset_envelope=onsets, sr=rate, hop_length=HOP)[0])


def near(found: float, asked: float, factors: Sequence[float]) -> bool:
    """Whether a tempo is the asked one, or one of its multiples."""
    return any(abs(found / (asked * factor) - 1.0) <= TOLERANCE for factor in factors)


def picture(audio: np.ndarray, rate: int) -> np.ndarray:
    """The log-mel picture, standardised: float32 [64 bands * frames]; a dot product of two is their correlation."""
    mel = librosa.feature.melspectrogram(y=audio, sr=rate, n_fft=2048, hop_length=1024, n_mels=64)
    flat = librosa.power_to_db(mel, top_db=80.0).ravel()
    return np.asarray((flat - flat.mean()) / (flat.std() * np.sqrt(len(flat))), dtype=np.float32)


def closest(pictures: np.ndarray) -> float:
    """The largest correlation of two different pictures."""
    correlations = pictures @ pictures.T
    np.fill_diagonal(correlations, -1.0)
    return float(correlations.max())


def named_are_played(clip: Clip, score: Score) -> bool:
    """Whether every instrument that the prompt names has notes."""
    playing = {track.instrument for track in score.tracks if track.notes}
    return set(clip.prompt.instruments) <= playing


def main() -> None:
    options = table.arguments(__doc__)
    warnings.filterwarnings("ignore")  # librosa's, of its own dependencies
    recipe = Recipe.load("demo")
    clips = plan_clips(recipe)
    clips = clips[:: 4 if options.quick else 1]
    arranger = Arranger(recipe.generator, recipe.labels)
    rate = arranger.sampling_rate
    scores = [arranger.compose(clip) for clip in clips]
    tempi: list[tuple[float, int]] = []
    pictures = []
    for score in scores:
        audio = arranger.render(score)
        pictures.append(picture(audio, rate))
        if any(track.is_drum for track in score.tracks):
            tempi.append((estimated_tempo(audio, rate), score.tempo))
    keyed = [score.in_key() for clip, score in zip(clips, scores, strict=True) if clip.prompt.key]
    subgenres = {(name, sub) for name, genre in recipe.labels.genres.items() for sub in genre.subgenres}
    heard_subgenres = {(score.genre, score.subgenre) for score in scores}
    usable = {name for genre in recipe.labels.genres.values() for name in genre.instruments}
    usable |= {
        name for genre in recipe.labels.genres.values() for sub in genre.subgenres.values() for name in sub.instruments
    }
    heard = {track.instrument for score in scores for track in score.tracks}

    def share(
        name: str, value: float, bound: float, n: int, note: str = "", at: str = "at least"
    ) -> dict[str, object]:
        return table.row(name, "share", value, bound, at, n, note)

    plain = float(np.mean([near(found, asked, OCTAVES) for found, asked in tempi]))
    compound = float(np.mean([near(found, asked, OCTAVES + COMPOUND) for found, asked in tempi]))
    rows = [
        share(
            "tempo heard within 4 %, octaves allowed",
            plain,
            0.8,
            len(tempi),
            "clips with drums; librosa.feature.tempo",
        ),
        share("the same, thirds of compound metre allowed too", compound, 0.8, len(tempi)),
        share(
            "notes in the asked key's scale, mean", float(np.mean(keyed)), 0.85, len(keyed), "clips that ask for a key"
        ),
        share("notes in the asked key's scale, worst clip", float(np.min(keyed)), 0.85, len(keyed)),
        share(
            "clips with every named instrument in the score",
            float(np.mean([named_are_played(clip, score) for clip, score in zip(clips, scores, strict=True)])),
            1.0,
            len(clips),
        ),
        share(
            "closest two log-mel pictures, correlation", closest(np.stack(pictures)), 0.98, len(clips), at="at most"
        ),
        share("sub-genres heard", len(heard_subgenres) / len(subgenres), 1.0, len(subgenres)),
        share("instruments of its genres heard", len(heard & usable) / len(usable), 0.9, len(usable)),
    ]
    table.finish("fidelity", rows, options)


if __name__ == "__main__":
    main()
