"""Compare the labels of a clip with what estimators measured in its sound: `agrees`, one value for each label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..corpus.corpus import Corpus
from ..corpus.estimates import CONFIG, annotate_command, count_missing, read_entries
from ..embedders.musicnn import MUSICNN_TAGS
from ..errors import DataError
from ..io.hf_features import features_from_schema
from ..io.parquet_guard import check_parquet, read_batches
from ..io.storage import open_for_arrow
from ..names import normalize_label
from .annotate_corpus import read_label_names
from .clap import COLUMNS as CLAP_COLUMNS
from .tag_labels import INSTRUMENTAL, WITH_VOCALS, LabelTags, read_label_tags

TOLERANCE = 0.04  # of a tempo (Gouyon et al. 2006, "An experimental comparison of audio tempo induction algorithms")
OCTAVES = (1 / 3, 1 / 2, 1.0, 2.0, 3.0)  # that Accuracy 2 of that paper accepts
ROWS_AT_ONCE = 256
VERIFY = "list the damage with synthmir verify CORPUS"
LABELS = ("genre", "subgenre", "mood", "instruments", "tempo_bpm", "key", "vocals", "prompt_group")
Row = Mapping[str, Any]

AGREES = {
    "tempo": "tempo within 4 %",
    "tempo_octave": "tempo within 4 %, or of a third, half, double or triple of it",
    "key": "the same key",
    "key_score": "mir_eval's weighted score of the key: a fifth counts 0.5, the relative 0.3, the parallel key 0.2",
    "genre": "the genre is the most probable one",
    "genre_rank": "place of the genre among all, 1 the most probable",
    "mood": "the mood is the most probable one",
    "mood_rank": "place of the mood among all",
    "vocals": "a voice is more probable than not, or less where none was asked for",
    "vocals_probability": "probability of what was asked for, of a voice and an instrumental track",
    "instruments": "mean probability of the tags of the instruments",
    "instruments_rank": "mean place of the instruments among all, from 0 to 1, the most probable",
}
"""The columns of `agrees`, each None where nothing was asked for, or no estimator says anything of it."""
SHARES = ("tempo", "tempo_octave", "key", "genre", "mood", "vocals")  # true or false


def compare_labels(asked: Row, estimate: Row, among: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """Compare the labels of a clip with its estimates.

    Genre, mood and vocals follow from CLAP's probabilities where the corpus has them, else from musicnn's tags that
    mean a label; the label is compared with the others that have such tags.

    Args:
        asked: A row of a corpus: `genre`, `mood`, `instruments`, `tempo_bpm`, `key`, `vocals`, as names. What is
            missing or None was not asked for.
        estimate: A row of the config `estimates`.
        among: The labels of the corpus by column, which a label is compared with. Default: all that have tags.

    Returns:
        The columns of `AGREES`.
    """
    agrees: dict[str, Any] = dict.fromkeys(AGREES)
    tempo, measured = asked.get("tempo_bpm"), estimate.get("tempo")
    if tempo and measured:
        agrees["tempo"] = is_near(measured, tempo)
        agrees["tempo_octave"] = any(is_near(measured, tempo * share) for share in OCTAVES)
    if asked.get("key") and estimate.get("key"):
        agrees["key_score"] = score_key(asked["key"], estimate["key"])
        agrees["key"] = agrees["key_score"] == 1.0
    evidence = Evidence.of(estimate)
    for column in ("genre", "mood"):
        label = asked.get(column)
        rank = None if label is None else evidence.rank(column, label, (among or {}).get(column))
        agrees[f"{column}_rank"], agrees[column] = rank, None if rank is None else rank == 1
    if asked.get("vocals") in (WITH_VOCALS, INSTRUMENTAL) and (voice := evidence.voice()) is not None:
        agrees["vocals_probability"] = voice if asked["vocals"] == WITH_VOCALS else 1 - voice
        agrees["vocals"] = agrees["vocals_probability"] > 0.5
    instruments = asked.get("instruments") or ()
    agrees["instruments"] = evidence.tag_probability("instruments", instruments)
    agrees["instruments_rank"] = evidence.relative_rank("instruments", instruments)
    return agrees


def is_near(tempo: float, other: float) -> bool:
    """Whether a tempo is within 4 % of another one."""
    return abs(tempo / other - 1) <= TOLERANCE


def score_key(key: str, other: str) -> float:
    """mir_eval's weighted score of a key ("A minor" or "A:minor") for the true one `key`."""
    from mir_eval.key import weighted_score

    return float(weighted_score(key.replace(":", " "), other.replace(":", " ")))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a row of estimates says of labels: tags by name, and CLAP's probabilities by column and label."""

    tags: Mapping[str, float]
    clap: Mapping[str, Mapping[str, float]]
    dataset: str  # of the tagger: "MSD", "MTT", "" without tags

    @classmethod
    def of(cls, estimate: Row) -> Evidence:
        """Take the evidence from a row of estimates."""
        tags = estimate.get("tags") or {}
        clap = {column: estimate[name] for column, name in CLAP_COLUMNS.items() if estimate.get(name)}
        return cls(tags, clap, find_dataset(tags))

    def tagged(self, column: str) -> list[LabelTags]:
        """The rows of the table of tags for a column."""
        return [row for row in read_label_tags(self.dataset) if row.column == column] if self.dataset else []

    def score(self, row: LabelTags) -> float:
        """The highest probability of a row's tags."""
        return max(self.tags[tag] for tag in row.tags)

    def rank(self, column: str, label: str, among: Sequence[str] | None = None) -> int | None:
        """The place of a label among those of its column, 1 the most probable; None without evidence."""
        if label in self.clap.get(column, {}):
            scores = self.clap[column]
            return 1 + sum(score > scores[label] for score in scores.values())
        rows = [row for row in self.tagged(column) if among is None or any(_means(row, name) for name in among)]
        own = next((row for row in rows if _means(row, label)), None)
        if own is None or len(rows) < 2:
            return None
        return 1 + sum(self.score(row) > self.score(own) for row in rows)

    def voice(self) -> float | None:
        """The probability of a voice, of a voice and an instrumental track together; None without evidence."""
        if "vocals" in self.clap:
            return self.clap["vocals"][WITH_VOCALS]
        rows = {row.name: row for row in self.tagged("vocals")}
        if not {WITH_VOCALS, INSTRUMENTAL} <= rows.keys():
            return None
        voice, none = self.score(rows[WITH_VOCALS]), self.score(rows[INSTRUMENTAL])
        return voice / (voice + none) if voice + none > 0 else None

    def tag_probability(self, column: str, labels: Sequence[str]) -> float | None:
        """The mean probability of the tags of some labels; None where no label has a tag."""
        scores = [self.score(row) for label in labels for row in self.tagged(column) if _means(row, label)]
        return sum(scores) / len(scores) if scores else None

    def relative_rank(self, column: str, labels: Sequence[str]) -> float | None:
        """The mean place of some labels by CLAP, from 0 to 1, the most probable; None without CLAP."""
        scores = self.clap.get(column, {})
        known = [label for label in labels if label in scores]
        if not known or len(scores) < 2:
            return None
        places = [sum(score < scores[label] for score in scores.values()) / (len(scores) - 1) for label in known]
        return sum(places) / len(places)


def find_dataset(tags: Mapping[str, Any]) -> str:
    """What the tagger with these tags was trained on: "MSD" or "MTT"; "" for neither."""
    known = {name: {" ".join(tag.split()) for tag in text.split(",")} for name, text in MUSICNN_TAGS.items()}
    return next((name for name, names in known.items() if names == set(tags)), "")


def _means(row: LabelTags, label: str) -> bool:
    """Whether the tags of a row mean this label."""
    return normalize_label(label) in {normalize_label(one) for one in row.labels}


def iterate_compared_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield each clip of a corpus with its labels, its estimates and how they agree.

    Args:
        path: A corpus that `synthmir annotate` has measured.

    Yields:
        The columns of `estimates` with the `id`; `split`; the prompt and the labels as names, under `asked`; and what
        `compare_labels` says, under `agrees`.

    Raises:
        DataError: The corpus has no estimates, or not of all its clips.
    """
    corpus = Corpus.open(path)
    if not read_entries(corpus):
        raise DataError(
            f"{corpus.root}: has no estimates", f"measure its sound: synthmir annotate {corpus.root} --with tempo,key"
        )
    if missing := count_missing(corpus):
        raise DataError(
            f"{corpus.root}: {missing} shard(s) of its clips have no estimates yet",
            f"complete them: {annotate_command(corpus)}",
        )
    labels = read_label_names(corpus)
    among = {"genre": labels.genre, "mood": labels.mood}
    for name in corpus.shards():
        measured = f"{CONFIG}/{name.split('/', 1)[1]}"
        split = name.split("/", 1)[1].partition("-")[0]
        clips = _read_rows(corpus, name, ["id", "prompt", *LABELS])
        nothing: dict[str, Any] = {}
        for asked, estimate in zip_longest(clips, _read_rows(corpus, measured, None), fillvalue=nothing):
            if not asked or asked["id"] != estimate.get("id"):
                raise DataError(f"{corpus.root / measured}: its ids are not those of {name}", annotate_command(corpus))
            try:
                agrees = compare_labels(asked, estimate, among)
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise DataError(
                    f"{corpus.root / measured}: not a shard of estimates: {error!r:.200}", VERIFY
                ) from error
            yield {**estimate, "split": split, "asked": asked, "agrees": agrees}


def _read_rows(corpus: Corpus, name: str, columns: list[str] | None) -> Iterator[dict[str, Any]]:
    """Yield rows of a shard with class labels as names."""
    import pyarrow.parquet as pq

    path = corpus.root / name
    check_parquet(path, columns or ("id",))
    features = features_from_schema(pq.read_schema(open_for_arrow(path)), path)
    names = {key: getattr(getattr(kind, "feature", kind), "names", None) for key, kind in features.items()}
    for batch in read_batches(path, ROWS_AT_ONCE, columns):
        for row in batch.to_pylist():
            try:
                named = {key: _name(value, names[key]) for key, value in row.items()}
            except (LookupError, TypeError) as error:
                raise DataError(f"{path}: has labels that it does not name: {error!r:.200}", VERIFY) from error
            yield named


def _name(value: Any, names: Sequence[str] | None) -> Any:
    """A class label, or a list of them, as names."""
    if names is None or value is None:
        return value
    return [names[index] for index in value] if isinstance(value, list) else names[value]
