"""How well the arranger follows its prompts, and how much its clips differ, on the demo's clips.

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

TOLERANCE = 0.04  # relative to the tempo in the prompt
OCTAVES, COMPOUND = (0.5, 1.0, 2.0), (1 / 3, 2 / 3, 1.5, 3.0)
HOP = 256  # 125 frames a second: 4 % apart up to 180 beats per minute


def estimate_tempo(audio: np.ndarray, rate: int) -> float:
    """Estimate the tempo in bpm by librosa: the strongest period of the onset strength."""
    onsets = librosa.onset.onset_strength(y=audio, sr=rate, hop_length=HOP)
    return float(librosa.feature.tempo(onset_envelope=onsets, sr=rate, hop_length=HOP)[0])


def matches_tempo(estimate: float, tempo: float, factors: Sequence[float]) -> bool:
    """Whether an estimate is the tempo multiplied by one of the factors."""
    return any(abs(estimate / (tempo * factor) - 1.0) <= TOLERANCE for factor in factors)


def standardised_spectrogram(audio: np.ndarray, rate: int) -> np.ndarray:
    """The log-mel spectrogram, float32 [64 bands * frames]. The dot product of two of them is their correlation."""
    mel = librosa.feature.melspectrogram(y=audio, sr=rate, n_fft=2048, hop_length=1024, n_mels=64)
    flat = librosa.power_to_db(mel, top_db=80.0).ravel()
    return np.asarray((flat - flat.mean()) / (flat.std() * np.sqrt(len(flat))), dtype=np.float32)


def highest_correlation(spectrograms: np.ndarray) -> float:
    """The highest correlation between two different spectrograms."""
    correlations = spectrograms @ spectrograms.T
    np.fill_diagonal(correlations, -1.0)
    return float(correlations.max())


def plays_named_instruments(clip: Clip, score: Score) -> bool:
    """Whether every instrument in the prompt has notes."""
    playing = {track.instrument for track in score.tracks if track.notes}
    return set(clip.prompt.instruments) <= playing


def main() -> None:
    options = table.arguments(__doc__)
    warnings.filterwarnings("ignore")  # of librosa's dependencies
    recipe = Recipe.load("demo")
    clips = plan_clips(recipe)
    clips = clips[:: 4 if options.quick else 1]
    arranger = Arranger(recipe.generator, recipe.labels)
    rate = arranger.sampling_rate
    scores = [arranger.compose(clip) for clip in clips]
    tempi: list[tuple[float, int]] = []
    spectrograms = []
    for score in scores:
        audio = arranger.render(score)
        spectrograms.append(standardised_spectrogram(audio, rate))
        if any(track.is_drum for track in score.tracks):
            tempi.append((estimate_tempo(audio, rate), score.tempo))
    in_key = [score.in_key() for clip, score in zip(clips, scores, strict=True) if clip.prompt.key]
    subgenres = {(name, sub) for name, genre in recipe.labels.genres.items() for sub in genre.subgenres}
    played_subgenres = {(score.genre, score.subgenre) for score in scores}
    usable = {name for genre in recipe.labels.genres.values() for name in genre.instruments}
    usable |= {
        name for genre in recipe.labels.genres.values() for sub in genre.subgenres.values() for name in sub.instruments
    }
    played = {track.instrument for score in scores for track in score.tracks}

    def share(
        name: str, value: float, bound: float, n: int, note: str = "", at: str = "at least"
    ) -> dict[str, object]:
        return table.row(name, "share", value, bound, at, n, note)

    plain = float(np.mean([matches_tempo(estimate, tempo, OCTAVES) for estimate, tempo in tempi]))
    compound = float(np.mean([matches_tempo(estimate, tempo, OCTAVES + COMPOUND) for estimate, tempo in tempi]))
    rows = [
        share(
            "estimated tempo within 4 % of the prompt's, or an octave from it",
            plain,
            0.8,
            len(tempi),
            "clips with drums; librosa.feature.tempo",
        ),
        share("the same, or a third from it (compound metre)", compound, 0.8, len(tempi)),
        share(
            "notes in the scale of the prompt's key, mean",
            float(np.mean(in_key)),
            0.85,
            len(in_key),
            "clips with a key in the prompt",
        ),
        share("notes in the scale of the prompt's key, lowest", float(np.min(in_key)), 0.85, len(in_key)),
        share(
            "clips that play every instrument in the prompt",
            float(np.mean([plays_named_instruments(clip, score) for clip, score in zip(clips, scores, strict=True)])),
            1.0,
            len(clips),
        ),
        share(
            "highest correlation of two log-mel spectrograms",
            highest_correlation(np.stack(spectrograms)),
            0.98,
            len(clips),
            at="at most",
        ),
        share("sub-genres that occur", len(played_subgenres) / len(subgenres), 1.0, len(subgenres)),
        share("instruments of the genres that occur", len(played & usable) / len(usable), 0.9, len(usable)),
    ]
    table.finish("fidelity", rows, options)


if __name__ == "__main__":
    main()
