"""A corpus held against real music: every figure, each on as many clips of both sides as it needs."""

from __future__ import annotations

import re
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from builder.recipe import EmbedderSettings
from builder.records import record_run

from ..benchmarks.text import printable
from ..inference.evaluated_model import VALIDATION
from . import adherence, figures, frechet, kernel, pictures
from .coverage import NEIGHBOURS, coverage
from .diversity import vendi_score
from .duplicates import Duplicates, find_duplicates
from .excerpts import players, write_pairs
from .figures import FILE, Fidelity, Figure
from .intervals import extrapolation, mean, reach, share, with_error
from .neighbours import unit
from .sets import Embedded, Progress, open_corpus, open_reference
from .sides import Sides, described, too_few
from .two_sample import two_sample

SAMPLE = 5_000  # clips of a side, for figures whose time grows with their square
DIVERSE = 10_000  # clips of a side, for the Vendi score
HEARD = 1_000  # clips that a CLAP checkpoint listens to
COSINES = (-1.0, 1.0)
FLOOR = "clips of the same source: what the figures come to where nothing differs, and no word on real music"
FEW_FOR_BALLS, FEW_FOR_TEST = 2 * NEIGHBOURS, 20  # clips of a side


def measure(
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
    """Hold a corpus against `against` (see `sets.open_reference`) and write `out`/fidelity.json with its pictures.

    Against `validation` its own training split is held against its validation split: what the figures come to where
    both sides are from one source.

    `settings` choose the embedder (default: the one that the corpus was embedded with), `weights` override where its
    weights are, `clap` names a CLAP checkpoint,
    `similarity` a cosine from which on clips are duplicates (default: nearer than chance). What is drawn is drawn by
    `seed`. Raises DataError, RecipeError, BackendError.
    """
    out = Path(out)
    held_out = against == VALIDATION
    mine, settings = open_corpus(Path(corpus), settings, "train" if held_out else None)
    if weights is not None:
        settings = settings.model_copy(update={"weights": weights})
    heard = None
    if clap is not None:
        from .clap import Clap

        heard = Clap(clap)
    with record_run("fidelity", mine.fingerprint) as record:
        slug = re.sub(r"[^\w.-]+", "-", against).strip("-.")[-40:]
        digest = sha256(against.encode(errors="surrogateescape")).hexdigest()[:8]
        cache = out / "cache" / f"{slug}-{mine.embedder['name']}-{digest}"
        if held_out:
            other, _ = open_corpus(Path(corpus), settings, VALIDATION)
            other.notes.append(FLOOR)
        else:
            other = open_reference(against, settings, mine, cache, overwrite, progress)
        sides = Sides.of(mine, other, seed)
        left_out = too_few(sides)
        found = _Findings(sides, out, left_out, heard, similarity).all()
        record.rows = len(mine) + len(other)
        record.details = {
            "corpus": str(corpus), "against": other.name, "spec": printable(against), "held_out": held_out,
            "seed": seed, "sample": SAMPLE, "clap": clap, "similarity": similarity, "embedder": mine.embedder,
        }  # fmt: skip
    fidelity = Fidelity(schema=1, **found, record=asdict(record))
    fidelity.write(out / FILE)
    return fidelity


class _Findings:
    """One run: each method makes one part of the file."""

    def __init__(self, sides: Sides, out: Path, left_out: list[str], clap: Any, similarity: float | None) -> None:
        self.sides, self.out, self.left_out, self.clap, self.similarity = sides, out, left_out, clap, similarity
        self.bandwidth = kernel.median_bandwidth(sides.reference.vectors, sides.seed)

    def all(self) -> dict[str, Any]:
        """The whole file but the record."""
        sides = self.sides
        corpus, reference = sides.corpus, sides.reference
        everything, whole = np.arange(len(corpus)), np.arange(len(reference))
        distance = self.frechet()
        within, copies = self.within()
        against = self.against()
        probe = self.heard_as()
        said, cosines = self.text_audio()
        genres = [self.genre(name, copies, probe, cosines) for name in sides.genres]
        kernels = self.kernel(everything, whole)
        if kernels is None:
            raise ValueError("two clips of a side at least")
        shown = [side.vectors[sides.draw(np.arange(len(side)), pictures.POINTS, 9)] for side in (corpus, reference)]
        drawn = {
            "map": pictures.two_worlds(shown[0], shown[1], sides.seed),
            "genres": pictures.genre_bars(genres) if any(row.kernel for row in genres) else None,
            "extrapolation": pictures.extrapolation(distance.corpus_infinite) if distance.corpus_infinite else None,
        }
        return {
            "corpus": described(corpus),
            "reference": described(reference),
            "embedder": {**reference.embedder, **corpus.embedder},
            "dim": corpus.vectors.shape[1],
            "constant_dims": sides.constant,
            "frechet": distance,
            "kernel": kernels,
            "manifold": self.manifold(everything, whole),
            "diversity": self.diversity(),
            "within": within,
            "against": against,
            "two_sample": self.two_sample(everything, whole),
            "adherence": probe and _adherence(probe[0], probe[1]),
            "text_audio": said,
            "genres": genres,
            "left_out": self.left_out,
            "pictures": {name: pictures.put(self.out, f"{name}.svg", data) for name, data in drawn.items() if data},
        }

    def frechet(self) -> figures.Frechet:
        """The distance of the whole sets, its limits, and that of two halves of the reference."""
        x, y = self.sides.corpus.vectors, self.sides.reference.vectors
        a, b = frechet.gaussian(x), frechet.gaussian(y)
        value = frechet.frechet_distance(a, b)
        towards, back = frechet.extrapolate(x, b, self.sides.seed), frechet.extrapolate(y, a, self.sides.seed)
        halves = None
        if len(y) >= 4:
            order = np.random.default_rng(self.sides.seed).permutation(len(y))
            halves = frechet.frechet_distance(y[order[: len(y) // 2]], y[order[len(y) // 2 :]])
        both = None
        if towards and back:
            # To first order the two biases add up, so that what each side alone would lose is lost together.
            limit, half = towards.value + back.value - value, float(np.hypot(reach(towards), reach(back)))
            both = Figure(value=limit, low=limit - half, high=limit + half, n=len(x), n_reference=len(y))
        else:
            self.left_out.append("the Fréchet distance's extrapolation: it takes 20 clips a side")
        return figures.Frechet(
            distance=Figure(value=value, n=len(x), n_reference=len(y)),
            corpus_infinite=towards and extrapolation(towards, x.shape[1]),
            both_infinite=both,
            reference_halves=halves,
            reference_halves_n=len(y) // 2 if halves is not None else None,
        )

    def kernel(self, left: np.ndarray, right: np.ndarray, polynomial: bool = True) -> figures.Kernel | None:
        """Both kernels between clips `left` and recordings `right`."""
        left, right = self.sides.draw(left, SAMPLE, 1), self.sides.draw(right, SAMPLE, 2)
        x, y = self.sides.corpus.vectors[left], self.sides.reference.vectors[right]
        if min(len(x), len(y)) < 2:
            return None
        rbf = with_error(kernel.kernel_distance(x, y, kernel.gaussian_kernel(self.bandwidth)), x, y)
        cubic = with_error(kernel.kernel_distance(x, y, kernel.polynomial), x, y) if polynomial else rbf
        return figures.Kernel(rbf=rbf, bandwidth=self.bandwidth, polynomial=cubic)

    def manifold(self, left: np.ndarray, right: np.ndarray, name: str = "") -> figures.Manifold | None:
        """Precision, recall, density, coverage of as many clips as recordings."""
        size = min(len(left), len(right), SAMPLE)
        if size < FEW_FOR_BALLS:
            if not name:
                self.left_out.append(
                    f"precision, recall, density and coverage: they take {FEW_FOR_BALLS} clips a side"
                )
            return None
        left, right = self.sides.draw(left, size, 3), self.sides.draw(right, size, 4)
        found = coverage(self.sides.corpus.vectors[left], self.sides.reference.vectors[right])
        return figures.Manifold(
            k=NEIGHBOURS,
            precision=share(int(found.precise.sum()), size, size),
            recall=share(int(found.recalled.sum()), size, size),
            density=mean(found.dense, size),
            coverage=share(int(found.covered.sum()), size, size),
        )

    def diversity(self) -> figures.Diversity:
        """Vendi scores of both, of the same size."""
        sides = self.sides
        size = min(len(sides.corpus), len(sides.reference), DIVERSE)
        mine, other = (
            unit(side.vectors[sides.draw(np.arange(len(side)), size, 5)], sides.mean, sides.scale)
            for side in (sides.corpus, sides.reference)
        )
        return figures.Diversity(corpus=vendi_score(mine), reference=vendi_score(other), n=size)

    def within(self) -> tuple[figures.Duplicates, set[int]]:
        """Near-duplicates in the corpus, and the places of the clips that have one."""
        vectors, ids = self.sides.corpus.vectors, self.sides.corpus
        scale = vectors.std(axis=0, dtype=np.float64)
        rows = unit(vectors, vectors.mean(axis=0, dtype=np.float64), np.where(scale > 0, scale, 1.0))
        found = find_duplicates(rows, similarity=self.similarity)
        write_pairs(self.out, "corpus", found, ids, ids)
        return self._duplicates(found, ids), set(found.places.tolist())

    def against(self) -> figures.Duplicates:
        """Clips that are near-duplicates of a recording."""
        sides = self.sides
        mine, other = (unit(side.vectors, sides.mean, sides.scale) for side in (sides.corpus, sides.reference))
        found = find_duplicates(mine, other, self.similarity)
        write_pairs(self.out, "reference", found, sides.corpus, sides.reference)
        return self._duplicates(found, sides.reference)

    def _duplicates(self, found: Duplicates, right: Embedded) -> figures.Duplicates:
        left = self.sides.corpus
        groups = found.groups() if found.within else []
        rule = f"cosine of {self.similarity} or more" if self.similarity is not None else (
            f"nearer than {found.ratio:.3g} of the local scale, where chance puts one pair in a hundred such corpora"
            if found.ratio is not None else "the same embedding"
        )  # fmt: skip
        return figures.Duplicates(
            pairs=len(found.pairs),
            clips=len(found.places),
            spare=sum(len(group) - 1 for group in groups) if found.within else None,
            largest_group=max((len(group) for group in groups), default=1) if found.within else None,
            n=len(left),
            n_reference=None if found.within else len(right),
            rule=rule,
            dimension=found.dimension,
            ratio=found.ratio,
            nearest_median=float(np.median(found.nearest)),
            nearest_99=float(np.percentile(found.nearest, 99)),
            listed=players(self.out, found, left, right),
        )

    def two_sample(self, left: np.ndarray, right: np.ndarray, name: str = "") -> figures.TwoSample | None:
        """The classifier test on as many clips as recordings."""
        size = min(len(left), len(right), SAMPLE)
        sides, found = self.sides, None
        if size >= FEW_FOR_TEST:
            left, right = sides.draw(left, size, 6), sides.draw(right, size, 7)
            found = two_sample(
                sides.corpus.vectors[left],
                sides.reference.vectors[right],
                [sides.corpus.groups[i] for i in left],
                [sides.reference.groups[i] for i in right],
                sides.seed,
            )
        if found is None:
            if not name:
                self.left_out.append(f"the two-sample test: it takes {FEW_FOR_TEST} clips a side, of two groups")
            return None
        accuracy = Figure(value=found.accuracy, low=found.low, high=found.high, n=size, n_reference=size)
        return figures.TwoSample(accuracy=accuracy, auc=found.auc, p_value=found.p_value)

    def heard_as(self) -> tuple[adherence.Adherence, str] | None:
        """What a probe hears: one trained on the reference's genres, else on the corpus's own."""
        sides = self.sides
        labelled = np.flatnonzero(sides.borne != "")
        known = sorted(set(sides.borne[labelled]))
        number = {name: place for place, name in enumerate(known)}
        asked = np.flatnonzero([name in number for name in sides.asked])
        if len(known) > 1 and (missing := sorted(set(sides.genres) - set(known))):
            self.left_out.append(f"prompt adherence of {', '.join(missing)}: the reference has no such genre")
        if len(known) > 1:
            found = adherence.by_reference(
                sides.corpus.vectors[asked],
                np.array([number[name] for name in sides.asked[asked]]),
                sides.reference.vectors[labelled],
                np.array([number[name] for name in sides.borne[labelled]]),
                [sides.reference.groups[i] for i in labelled],
                known,
            )
            if found is not None:
                return found, "reference"
        names = sides.genres
        asked = np.flatnonzero(sides.asked != "")
        found = None
        if len(names) > 1:
            found = adherence.by_itself(
                sides.corpus.vectors[asked],
                np.array([names.index(name) for name in sides.asked[asked]]),
                [sides.corpus.groups[i] for i in asked],
                names,
            )
        if found is None:
            self.left_out.append("prompt adherence: it takes two genres, and two clips of each that share no prompt")
            return None
        return found, "corpus"

    def text_audio(self) -> tuple[figures.TextAudio | None, dict[str, np.ndarray]]:
        """CLAP's cosines, whole and by genre; nothing without a checkpoint."""
        if self.clap is None:
            return None, {}
        corpus = self.sides.corpus
        texts = corpus.texts()
        chosen = self.sides.draw(np.array([i for i, name in enumerate(corpus.ids) if texts.get(name)]), HEARD, 8)
        sound = corpus.sound([corpus.ids[i] for i in chosen])
        chosen = np.array([i for i in chosen if corpus.ids[i] in sound], dtype=np.int64)
        if len(chosen) < 2:
            self.left_out.append("text-audio similarity: the corpus has no clips with prompts")
            return None, {}
        prompts = [texts[corpus.ids[i]] for i in chosen]
        # Half way round: another clip's prompt, and each prompt as often as before.
        others = prompts[len(prompts) // 2 :] + prompts[: len(prompts) // 2]
        own, foreign = self.clap.cosines(prompts, others, [sound[corpus.ids[i]] for i in chosen])
        read = np.isfinite(own)
        own, foreign, chosen = own[read], foreign[read], chosen[read]
        if len(own) < 2:
            self.left_out.append("text-audio similarity: no clip could be read")
            return None, {}
        genre = self.sides.asked[chosen]
        return figures.TextAudio(
            checkpoint=self.clap.name,
            similarity=mean(own, limits=COSINES),
            shuffled=mean(foreign, limits=COSINES),
            own_wins=share(int((own > foreign).sum()), len(own)),
        ), {name: own[genre == name] for name in set(genre)}

    def genre(
        self,
        name: str,
        copies: set[int],
        probe: tuple[adherence.Adherence, str] | None,
        cosines: dict[str, np.ndarray],
    ) -> figures.Genre:
        """One genre's row."""
        sides = self.sides
        left, right = np.flatnonzero(sides.asked == name), np.flatnonzero(sides.borne == name)
        row = figures.Genre(genre=name, n=len(left), n_reference=len(right))
        more: dict[str, Any] = {"duplicates": len(copies & set(left.tolist()))}
        if len(left) >= 2:
            drawn = sides.draw(left, DIVERSE, 5)
            more |= {"vendi": vendi_score(unit(sides.corpus.vectors[drawn], sides.mean, sides.scale))}
            more |= {"vendi_n": len(drawn)}
        if min(len(left), len(right)) >= 2:
            x, y = sides.corpus.vectors[left], sides.reference.vectors[right]
            more["frechet"] = Figure(value=frechet.frechet_distance(x, y), n=len(x), n_reference=len(y))
            distance = self.kernel(left, right, polynomial=False)
            more["kernel"] = distance and distance.rbf
            if manifold := self.manifold(left, right, name):
                more |= {"coverage": manifold.coverage, "density": manifold.density}
            if test := self.two_sample(left, right, name):
                more["two_sample"] = test.accuracy
        if probe and name in probe[0].names:
            own = probe[0].asked == probe[0].names.index(name)
            if own.any():
                more["adherence"] = share(int((probe[0].heard == probe[0].asked)[own].sum()), int(own.sum()))
        if len(cosines.get(name, ())) >= 2:
            more["text_audio"] = mean(cosines[name], limits=COSINES)
        return row.model_copy(update=more)


def _adherence(found: adherence.Adherence, kind: str) -> figures.Adherence:
    size = len(found.names)
    cells = np.bincount(found.asked * size + found.heard, minlength=size * size).reshape(size, size)
    return figures.Adherence(
        probe=kind,  # type: ignore[arg-type]
        accuracy=share(int(np.trace(cells)), len(found.asked)),
        probe_accuracy=share(found.probe_correct, found.probe_n),
        labels=found.names,
        confusion_matrix=cells.tolist(),
    )
