"""Note transcription: F-measures by onset, by onset and offset, and with the velocity."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import datasets
import evaluate
import mir_eval
import numpy as np

_DESCRIPTION = """
Precision, recall and F-measures of transcribed notes. A note is right if its pitch is, and its onset is within 50 ms;
then also its offset within 50 ms or a fifth of its length; then also its velocity within a tenth after scaling. The
scores of each track equal mir_eval's.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `list` of `dict`): for each track its estimated notes, `{"onset", "offset", "pitch",
        "velocity"}`: seconds, a MIDI note number, which may have a fraction, and 0 to 127 or `None`. Other fields may
        be there, as in the column `notes` of a corpus's `annotations`. Notes whose `is_drum` is true do not count.
    references (`list` of `list` of `dict`): for each track its true notes.
    groups (`list`, *optional*): for each track what is drawn together in the bootstrap, such as its artist; `None`
        for a track that is drawn alone. Without it every track is drawn alone.
    resamples (`int`, default 1000): bootstrap resamples of the intervals.
    seed (`int`, default 0): of the resamples.

Returns:
    f_measure, precision, recall (`float`): means over tracks, by pitch and onset, 0 .. 1.
    f_measure_with_offset (`float`): by pitch, onset and offset.
    f_measure_with_velocity (`float` or `None`): by pitch, onset, offset and velocity, over the tracks whose notes have
        velocities.
    intervals (`dict`): of each score its 95 % interval over the groups, `[low, high]`; `None` for a single group.
    n (`int`): how many tracks.
    per_track (`list` of `dict`): the scores of each track, `None` where a track does not define one.
    A track whose reference has no notes does not enter the means.

Raises:
    ValueError: no tracks, a note that ends before it begins, a negative onset.

Examples:
    >>> report = evaluate.load("note_report")
    >>> true = [{"onset": 0.5, "offset": 1.0, "pitch": 60, "velocity": 80}]
    >>> estimate = [{"onset": 0.52, "offset": 1.4, "pitch": 60, "velocity": 80}]
    >>> result = report.compute(predictions=[estimate], references=[true])
    >>> result["f_measure"], result["f_measure_with_offset"]
    (1.0, 0.0)
"""

_CITATION = r"""
@inproceedings{raffel2014mir_eval,
  title     = {{mir\_eval}: A Transparent Implementation of Common {MIR} Metrics},
  author    = {Raffel, C. and McFee, B. and Humphrey, E. J. and Salamon, J. and Nieto, O. and Liang, D. and
               Ellis, D. P. W.},
  booktitle = {Proceedings of the 15th International Society for Music Information Retrieval Conference},
  year      = {2014}
}
@inproceedings{hawthorne2018onsets,
  title     = {Onsets and Frames: Dual-Objective Piano Transcription},
  author    = {Hawthorne, C. and Elsen, E. and Song, J. and Roberts, A. and Simon, I. and Raffel, C. and Engel, J. and
               Oore, S. and Eck, D.},
  booktitle = {Proceedings of the 19th International Society for Music Information Retrieval Conference},
  year      = {2018}
}
"""

_SCORES = ("f_measure", "precision", "recall", "f_measure_with_offset", "f_measure_with_velocity")
_FIELDS = ("onset", "offset", "pitch", "velocity")
_NOTES = [{name: datasets.Value("float64") for name in _FIELDS}]


def score_notes(reference: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """Score the notes of one track through mir_eval.

    Args:
        reference: float64 [notes, 4], true notes: onset and offset in seconds, MIDI note number, and velocity, 0 to
            127 or NaN where it is not known.
        estimate: float64 [notes, 4], estimated notes.

    Returns:
        The scores, 0 to 1; NaN where the reference has no notes, or notes have no velocities.

    Raises:
        ValueError: A note ends before it begins, or begins before 0.
    """
    if not len(reference):
        return dict.fromkeys(_SCORES, np.nan)
    arrays = [(notes[:, :2], mir_eval.util.midi_to_hz(notes[:, 2])) for notes in (reference, estimate)]
    velocities = reference[:, 3], estimate[:, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # mir_eval's, of no notes
        by_onset = mir_eval.transcription.precision_recall_f1_overlap(*arrays[0], *arrays[1], offset_ratio=None)
        by_offset = mir_eval.transcription.precision_recall_f1_overlap(*arrays[0], *arrays[1])
        loudness = np.nan
        if not any(np.isnan(column).any() for column in velocities):
            (true, estimated), (first, second) = arrays, velocities
            loudness = mir_eval.transcription_velocity.precision_recall_f1_overlap(*true, first, *estimated, second)[2]
    precision, recall, f_measure, _ = by_onset
    values = (f_measure, precision, recall, by_offset[2], loudness)
    return {name: float(value) for name, value in zip(_SCORES, values, strict=True)}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class NoteReport(evaluate.Metric):
    """The `evaluate` module; see the card beside it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": _NOTES, "references": _NOTES}),
            reference_urls=["https://mir-eval.readthedocs.io/latest/api/transcription.html"],
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: object) -> None:
        """Add tracks: see `evaluate.EvaluationModule.add_batch`. Fields of notes that are not scored are left out."""
        chosen = [
            None if tracks is None else [_choose(track) for track in tracks] for tracks in (predictions, references)
        ]
        super().add_batch(predictions=chosen[0], references=chosen[1], **kwargs)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: object) -> None:
        """Add a track: see `evaluate.EvaluationModule.add`."""
        super().add(prediction=_choose(prediction), reference=_choose(reference), **kwargs)

    def _compute(
        self,
        predictions: list[list[dict[str, float]]],
        references: list[list[dict[str, float]]],
        groups: list[object] | None = None,
        resamples: int = 1000,
        seed: int = 0,
    ) -> dict[str, object]:
        tracks = []
        for index, notes in enumerate(zip(references, predictions, strict=True)):
            try:
                tracks.append(score_notes(*map(_read_notes, notes)))
            except ValueError as error:
                raise ValueError(f"track {index}: {error}") from error
        return _average_tracks(tracks, None, groups, resamples, seed)


def _choose(notes: Iterable[Mapping[str, float]]) -> list[dict[str, float | None]]:
    """Return the fields that are scored of notes that no drum plays."""
    return [{name: note.get(name) for name in _FIELDS} for note in notes if not note.get("is_drum")]


def _read_notes(notes: list[dict[str, float]]) -> np.ndarray:
    """Return notes as float64 [notes, 4]; a missing velocity is NaN."""
    return np.array([[note[name] for name in _FIELDS] for note in notes], np.float64).reshape(-1, len(_FIELDS))


def _average_tracks(
    tracks: list[dict[str, float]],
    weights: list[dict[str, float]] | None,
    groups: list[object] | None,
    resamples: int,
    seed: int,
) -> dict[str, object]:
    """Average each score over the tracks that define it, with percentile intervals of a bootstrap over groups."""
    if not tracks:
        raise ValueError("there are no tracks: give at least one prediction and reference")
    if groups is not None and len(groups) != len(tracks):
        raise ValueError(f"groups has {len(groups)} names for {len(tracks)} tracks: give one, or None, for each")
    values = np.array([list(track.values()) for track in tracks], np.float64)
    given = np.ones(values.shape) if weights is None else np.array([list(row.values()) for row in weights])
    given = np.where(np.isnan(values), 0.0, given)
    numbers: dict[object, int] = {}
    named = (
        range(len(tracks))
        if groups is None
        else [(name, index if name is None else None) for index, name in enumerate(groups)]
    )
    codes = [numbers.setdefault(name, len(numbers)) for name in named]
    sums, sizes = np.zeros((2, len(numbers), values.shape[1]))
    np.add.at(sums, codes, np.nan_to_num(values) * given)
    np.add.at(sizes, codes, given)
    drawn = np.random.default_rng(seed).integers(len(numbers), size=(resamples, len(numbers)))
    counts = np.stack([np.bincount(row, minlength=len(numbers)) for row in drawn])
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # scores that no track, or no track of a resample, defines
        means = sums.sum(axis=0) / sizes.sum(axis=0)
        bounds = np.nanquantile((counts @ sums) / (counts @ sizes), (0.025, 0.975), axis=0)
    names = list(tracks[0])
    single = len(numbers) == 1
    return {
        **{name: _number(mean) for name, mean in zip(names, means, strict=True)},
        "intervals": {
            name: None if single or np.isnan(mean) else [float(low), float(high)]
            for name, mean, low, high in zip(names, means, *bounds, strict=True)
        },
        "n": len(tracks),
        "per_track": [{name: _number(value) for name, value in track.items()} for track in tracks],
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
