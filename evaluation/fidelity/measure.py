"""`measure_fidelity`: all metrics of a corpus and a reference, each on as many clips as it needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from builder.estimators.clap_model import ClapEncoder
from builder.records import record_run
from builder.settings import EmbedderSettings

from ..benchmarks.text import printable
from ..inference.evaluated_model import VALIDATION
from ..results import fidelity as results
from ..results.fidelity import FILE, Fidelity, Figure
from . import plots
from .adherence import Probe, ProbePredictions, predict_by_corpus, predict_by_reference, summarize_adherence
from .clap import compute_cosines
from .copies import measure_copies
from .duplicate_pairs import summarize_duplicates, write_pairs
from .duplicates import Duplicates, find_duplicates
from .embedded_sets import EmbeddedSet, Progress, open_corpus_set, open_reference_set
from .frechet import extrapolate_frechet, fit_gaussian, frechet_distance
from .intervals import (
    distance_with_interval,
    extrapolation_with_interval,
    half_width,
    mean_with_interval,
    share_with_interval,
)
from .kernel_distance import gaussian_kernel, kernel_distance, median_bandwidth, polynomial_kernel
from .neighbours import unit_vectors
from .prdc import NEIGHBOURS, compute_prdc
from .set_pair import SetPair, describe_missing_genres, describe_set
from .tags import measure_tagging
from .two_sample import two_sample_test
from .vendi import vendi_score

SAMPLE = 5_000  # clips of a set, for metrics whose time grows with the square of n
VENDI_SAMPLE = 10_000  # clips of a set, for the Vendi score
CLAP_SAMPLE = 1_000  # clips that CLAP embeds
COSINES = (-1.0, 1.0)  # the range of a cosine
HELD_OUT = "clips of the same source: the values to expect if nothing differs; they do not describe real music"
MIN_PRDC, MIN_TEST = 2 * NEIGHBOURS, 20  # clips of a set


def measure_fidelity(
    corpus: Path,
    against: str,
    out: Path,
    settings: EmbedderSettings | None = None,
    *,
    weights: str | None = None,
    clap: str | None = None,
    similarity: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Fidelity:
    """Compare a corpus with a reference, and write fidelity.json with its plots.

    Args:
        corpus: A corpus folder.
        against: The reference, see `open_reference_set`. "validation" compares the corpus's training split with its
            validation split: the values to expect if both sets are of one source.
        out: The folder to write.
        settings: The embedder. Default: the one that the corpus was embedded with.
        weights: The embedder's weights, in place of those in its settings.
        clap: A CLAP checkpoint, which adds the similarity of prompts and clips.
        similarity: The lowest cosine of near-duplicates. Default: closer than chance.
        seed: Of all random samples.
        overwrite: Embed the reference again.
        progress: Called with the number of clips that are embedded, and of all.

    Raises:
        DataError: A set cannot be read, or the sets are of different embedders.
        RecipeError: There is no such benchmark or embedder.
        BackendError: The embedder or the CLAP checkpoint cannot be loaded.
    """
    out, corpus = Path(out), Path(corpus)
    held_out = against == VALIDATION
    own, settings = open_corpus_set(corpus, settings, "train" if held_out else None)
    if weights is not None:
        settings = settings.model_copy(update={"weights": weights})
    checkpoint = ClapEncoder(clap) if clap is not None else None
    with record_run("fidelity", own.fingerprint) as record:
        if held_out:
            reference, _ = open_corpus_set(corpus, settings, VALIDATION)
            reference.notes.append(HELD_OUT)
        else:
            slug = re.sub(r"[^\w.-]+", "-", against).strip("-.")[-40:]
            digest = sha256(against.encode(errors="surrogateescape")).hexdigest()[:8]
            cache = out / "cache" / f"{slug}-{own.embedder['name']}-{digest}"
            reference = open_reference_set(against, settings, own, cache, overwrite, progress)
        content = _Measurement(
            SetPair.of(own, reference, seed), out, checkpoint, similarity, held_out, settings.weights, corpus
        ).measure_all()
        record.rows = len(own) + len(reference)
        record.details = {
            "corpus": str(corpus), "against": reference.name, "spec": printable(against), "held_out": held_out,
            "seed": seed, "sample": SAMPLE, "clap": clap, "similarity": similarity, "embedder": own.embedder,
        }  # fmt: skip
    fidelity = Fidelity(schema=1, **content, record=asdict(record))
    fidelity.write(out / FILE)
    return fidelity


class _Measurement:
    """Computes each section of the file; `left_out` collects what cannot be computed."""

    def __init__(
        self,
        pair: SetPair,
        out: Path,
        clap: ClapEncoder | None,
        similarity: float | None,
        held_out: bool,
        weights: str | None,
        folder: Path,
    ) -> None:
        self.pair, self.out, self.clap, self.similarity = pair, out, clap, similarity
        self.held_out, self.weights, self.folder = held_out, weights, folder
        self.corpus, self.reference = pair.corpus, pair.reference
        self.all_clips, self.all_recordings = np.arange(len(pair.corpus)), np.arange(len(pair.reference))
        self.bandwidth = median_bandwidth(pair.reference.vectors, pair.seed)
        self.left_out = describe_missing_genres(pair)

    def measure_all(self) -> dict[str, Any]:
        """Compute the whole file but the record."""
        distance = self.measure_frechet()
        within, duplicated = self.find_duplicates_within()
        against, copies = self.find_duplicates_against()
        predictions = self.predict_genres()
        text_audio, cosines = self.measure_text_audio()
        clips = self.pair.sample(self.all_clips, SAMPLE, 8)
        tagging, reason = measure_tagging(self.pair, clips, self.weights, self.held_out)
        self.left_out += [f"prompt adherence by tags: {reason}"] if reason else []
        genres = [self.measure_genre(name, duplicated, predictions, cosines) for name in self.pair.genres]
        kernel = self.measure_kernel(self.all_clips, self.all_recordings)
        assert kernel is not None  # `open_corpus_set` and `open_reference_set` require two clips
        return {
            "corpus": describe_set(self.corpus),
            "reference": describe_set(self.reference),
            "embedder": {**self.reference.embedder, **self.corpus.embedder},
            "dim": self.corpus.vectors.shape[1],
            "constant_dims": self.pair.constant,
            "frechet": distance,
            "kernel": kernel,
            "manifold": self.measure_prdc(self.all_clips, self.all_recordings),
            "diversity": self.measure_diversity(),
            "within": within,
            "against": against,
            "copies": copies,
            "two_sample": self.test_two_samples(self.all_clips, self.all_recordings),
            "adherence": predictions and summarize_adherence(*predictions),
            "text_audio": text_audio,
            "tagging": tagging,
            "genres": genres,
            "left_out": self.left_out,
            "pictures": self.write_plots(genres, distance),
        }

    def write_plots(self, genres: list[results.Genre], distance: results.Frechet) -> dict[str, str]:
        """Draw the plots; their names in the file and on disk."""
        sampled = [
            side.vectors[self.pair.sample(rows, plots.POINTS, 9)]
            for side, rows in ((self.corpus, self.all_clips), (self.reference, self.all_recordings))
        ]
        line = distance.corpus_infinite
        drawn = {
            "map": plots.plot_map(sampled[0], sampled[1], self.pair.seed),
            "genres": plots.plot_genres(genres) if any(row.kernel for row in genres) else None,
            "extrapolation": plots.plot_extrapolation(line) if line else None,
        }
        return {name: plots.write_plot(self.out, f"{name}.svg", data) for name, data in drawn.items() if data}

    def measure_frechet(self) -> results.Frechet:
        """Compute the Fréchet distance, its extrapolations, and that between two halves of the reference."""
        x, y, seed = self.corpus.vectors, self.reference.vectors, self.pair.seed
        a, b = fit_gaussian(x), fit_gaussian(y)
        value = frechet_distance(a, b)
        corpus_line, reference_line = extrapolate_frechet(x, b, seed), extrapolate_frechet(y, a, seed)
        halves = None
        if len(y) >= 4:
            order = np.random.default_rng(seed).permutation(len(y))
            halves = frechet_distance(y[order[: len(y) // 2]], y[order[len(y) // 2 :]])
        both = None
        if corpus_line and reference_line:
            # To first order the biases of the two sets add up, so their corrections do too.
            limit = corpus_line.value + reference_line.value - value
            half = float(np.hypot(half_width(corpus_line), half_width(reference_line)))
            both = Figure(value=limit, low=limit - half, high=limit + half, n=len(x), n_reference=len(y))
        else:
            self.left_out.append("the extrapolation of the Fréchet distance: it needs 20 clips of each set")
        return results.Frechet(
            distance=Figure(value=value, n=len(x), n_reference=len(y)),
            corpus_infinite=corpus_line and extrapolation_with_interval(corpus_line, x.shape[1]),
            both_infinite=both,
            reference_halves=halves,
            reference_halves_n=len(y) // 2 if halves is not None else None,
        )

    def measure_kernel(
        self, clips: np.ndarray, recordings: np.ndarray, polynomial: bool = True
    ) -> results.Kernel | None:
        """Compute the kernel distances. Without `polynomial` that section repeats the Gaussian one."""
        x = self.corpus.vectors[self.pair.sample(clips, SAMPLE, 1)]
        y = self.reference.vectors[self.pair.sample(recordings, SAMPLE, 2)]
        if min(len(x), len(y)) < 2:
            return None
        rbf = distance_with_interval(kernel_distance(x, y, gaussian_kernel(self.bandwidth)), len(x), len(y))
        cubic = rbf
        if polynomial:
            cubic = distance_with_interval(kernel_distance(x, y, polynomial_kernel), len(x), len(y))
        return results.Kernel(rbf=rbf, bandwidth=self.bandwidth, polynomial=cubic)

    def measure_prdc(self, clips: np.ndarray, recordings: np.ndarray, genre: str = "") -> results.Manifold | None:
        """Compute precision, recall, density and coverage of equally many clips and recordings."""
        size = min(len(clips), len(recordings), SAMPLE)
        if size < MIN_PRDC:
            if not genre:
                self.left_out.append(
                    f"precision, recall, density and coverage: they need {MIN_PRDC} clips of each set"
                )
            return None
        x = self.corpus.vectors[self.pair.sample(clips, size, 3)]
        y = self.reference.vectors[self.pair.sample(recordings, size, 4)]
        prdc = compute_prdc(x, y)
        return results.Manifold(
            k=NEIGHBOURS,
            precision=share_with_interval(int(prdc.precision.sum()), size, size),
            recall=share_with_interval(int(prdc.recall.sum()), size, size),
            density=mean_with_interval(prdc.density, size),
            coverage=share_with_interval(int(prdc.coverage.sum()), size, size),
        )

    def measure_diversity(self) -> results.Diversity:
        """Compute the Vendi scores of equally many clips of both sets."""
        size = min(len(self.corpus), len(self.reference), VENDI_SAMPLE)
        return results.Diversity(
            corpus=vendi_score(self.standardised(self.corpus, self.pair.sample(self.all_clips, size, 5))),
            reference=vendi_score(self.standardised(self.reference, self.pair.sample(self.all_recordings, size, 5))),
            n=size,
        )

    def standardised(self, side: EmbeddedSet, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return unit vectors of some rows, standardised by the reference."""
        return unit_vectors(side.vectors[rows], self.pair.mean, self.pair.scale)

    def find_duplicates_within(self) -> tuple[results.Duplicates, set[int]]:
        """Find near-duplicates within the corpus, and the clips that have one."""
        vectors = self.corpus.vectors
        scale = vectors.std(axis=0, dtype=np.float64)
        rows = unit_vectors(vectors, vectors.mean(axis=0, dtype=np.float64), np.where(scale > 0, scale, 1.0))
        duplicates = find_duplicates(rows, similarity=self.similarity)
        write_pairs(self.out, "corpus", duplicates, self.corpus, self.corpus)
        return self.summarize(duplicates, self.corpus), set(duplicates.indices.tolist())

    def summarize(self, duplicates: Duplicates, right: EmbeddedSet) -> results.Duplicates:
        """Count duplicates and list the nearest pairs. `right` is the set of the second clips."""
        return summarize_duplicates(self.out, duplicates, self.corpus, right, self.similarity)

    def find_duplicates_against(self) -> tuple[results.Duplicates, results.Copies | None]:
        """Find clips that are near-duplicates of a recording, and the nearest recording of each clip."""
        rows, reference = self.standardised(self.corpus), self.standardised(self.reference)
        duplicates = find_duplicates(rows, reference, self.similarity)
        write_pairs(self.out, "reference", duplicates, self.corpus, self.reference)
        copies = None
        if not self.held_out:
            copies = measure_copies(self.out, duplicates, self.corpus, self.reference, self.folder)
        return self.summarize(duplicates, self.reference), copies

    def test_two_samples(self, clips: np.ndarray, recordings: np.ndarray, genre: str = "") -> results.TwoSample | None:
        """Run the classifier two-sample test on equally many clips and recordings."""
        size = min(len(clips), len(recordings), SAMPLE)
        test = None
        if size >= MIN_TEST:
            clips, recordings = self.pair.sample(clips, size, 6), self.pair.sample(recordings, size, 7)
            test = two_sample_test(
                self.corpus.vectors[clips],
                self.reference.vectors[recordings],
                [self.corpus.groups[row] for row in clips],
                [self.reference.groups[row] for row in recordings],
                self.pair.seed,
            )
        if test is None:
            if not genre:
                self.left_out.append(f"the two-sample test: it needs {MIN_TEST} clips of each set, in two groups")
            return None
        accuracy = Figure(value=test.accuracy, low=test.low, high=test.high, n=size, n_reference=size)
        return results.TwoSample(accuracy=accuracy, auc=test.auc, p_value=test.p_value)

    def predict_genres(self) -> tuple[ProbePredictions, Probe] | None:
        """Predict genres by a probe of the reference, or else of the corpus."""
        pair = self.pair
        labelled = np.flatnonzero(pair.labelled != "")
        known = sorted(set(pair.labelled[labelled]))
        if len(known) > 1:
            if missing := sorted(set(pair.genres) - set(known)):
                self.left_out.append(f"prompt adherence of {', '.join(missing)}: the reference has no such genre")
            index = {name: number for number, name in enumerate(known)}
            prompted = np.flatnonzero([name in index for name in pair.prompted])
            predictions = predict_by_reference(
                self.corpus.vectors[prompted],
                np.array([index[name] for name in pair.prompted[prompted]]),
                self.reference.vectors[labelled],
                np.array([index[name] for name in pair.labelled[labelled]]),
                [self.reference.groups[row] for row in labelled],
                known,
            )
            if predictions is not None:
                return predictions, "reference"
        if len(names := pair.genres) > 1:
            prompted = np.flatnonzero(pair.prompted != "")
            predictions = predict_by_corpus(
                self.corpus.vectors[prompted],
                np.array([names.index(name) for name in pair.prompted[prompted]]),
                [self.corpus.groups[row] for row in prompted],
                names,
            )
            if predictions is not None:
                return predictions, "corpus"
        self.left_out.append("prompt adherence: it needs two genres, and clips of two prompts in each")
        return None

    def measure_text_audio(self) -> tuple[results.TextAudio | None, Mapping[str, np.ndarray]]:
        """Compute CLAP's cosines, for all clips and by genre; nothing without a checkpoint."""
        if self.clap is None:
            return None, {}
        ids, prompts_of = self.corpus.ids, self.corpus.read_prompts()
        with_prompt = np.array([row for row, identity in enumerate(ids) if prompts_of.get(identity)])
        rows = self.pair.sample(with_prompt, CLAP_SAMPLE, 8)
        audio = self.corpus.read_audio([ids[row] for row in rows])
        rows = np.array([row for row in rows if ids[row] in audio], dtype=np.int64)
        if len(rows) < 2:
            self.left_out.append("text-audio similarity: the corpus has no clips with prompts")
            return None, {}
        prompts = [prompts_of[ids[row]] for row in rows]
        # Shifted by half: each clip gets another clip's prompt, and each prompt is used once.
        others = prompts[len(prompts) // 2 :] + prompts[: len(prompts) // 2]
        own, other = compute_cosines(self.clap, prompts, others, [audio[ids[row]] for row in rows])
        decoded = np.isfinite(own)
        own, other, rows = own[decoded], other[decoded], rows[decoded]
        if len(own) < 2:
            self.left_out.append("text-audio similarity: no clip could be decoded")
            return None, {}
        genres = self.pair.prompted[rows]
        return results.TextAudio(
            checkpoint=self.clap.name,
            similarity=mean_with_interval(own, limits=COSINES),
            shuffled=mean_with_interval(other, limits=COSINES),
            own_wins=share_with_interval(int((own > other).sum()), len(own)),
        ), {name: own[genres == name] for name in set(genres)}

    def measure_genre(
        self,
        name: str,
        duplicated: set[int],
        predictions: tuple[ProbePredictions, Probe] | None,
        cosines: Mapping[str, np.ndarray],
    ) -> results.Genre:
        """Compute the values of one genre."""
        clips = np.flatnonzero(self.pair.prompted == name)
        recordings = np.flatnonzero(self.pair.labelled == name)
        values: dict[str, Any] = {"duplicates": len(duplicated & set(clips.tolist()))}
        if len(clips) >= 2:
            sampled = self.pair.sample(clips, VENDI_SAMPLE, 5)
            values |= {"vendi": vendi_score(self.standardised(self.corpus, sampled)), "vendi_n": len(sampled)}
        if min(len(clips), len(recordings)) >= 2:
            distance = frechet_distance(self.corpus.vectors[clips], self.reference.vectors[recordings])
            values["frechet"] = Figure(value=distance, n=len(clips), n_reference=len(recordings))
            if kernel := self.measure_kernel(clips, recordings, polynomial=False):
                values["kernel"] = kernel.rbf
            if prdc := self.measure_prdc(clips, recordings, name):
                values |= {"coverage": prdc.coverage, "density": prdc.density}
            if test := self.test_two_samples(clips, recordings, name):
                values["two_sample"] = test.accuracy
        if predictions and name in predictions[0].names:
            own = predictions[0].prompted == predictions[0].names.index(name)
            if own.any():
                values["adherence"] = share_with_interval(int(predictions[0].is_correct()[own].sum()), int(own.sum()))
        if len(cosines.get(name, ())) >= 2:
            values["text_audio"] = mean_with_interval(cosines[name], limits=COSINES)
        return results.Genre(genre=name, n=len(clips), n_reference=len(recordings), **values)
