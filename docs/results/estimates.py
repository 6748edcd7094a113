"""Measure the estimators on clips whose truth is exact, and on clips of a neural generator beside their prompts.

python docs/results/estimates.py [--clips DIR] [--per-genre 60] [--work DIR]
python docs/results/estimates.py --page      # writes the page again from the figures

The truth is that of the arranger, which plays from a score: a corpus is built in the folder --work, measured by
`synthmir annotate` and compared by `synthmir agreement`. librosa's tempo is measured on the same clips, where it is
installed. DIR holds clips of a neural generator and SOURCE.tsv, with their file, model and prompt. Nothing of them is
copied: the results hold numbers and prompts.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

ESTIMATORS = ("tempo", "key", "loudness_range", "onset_rate", "spectral_centroid", "silence", "tags")
TAGGERS = ("MSD_musicnn", "MTT_musicnn")
SEED = 11  # of the prompts; the tempo's metre and the key's range of frequencies were chosen on 200 clips of seed 3
TOP = 3  # tags that are listed for a clip
Row = dict[str, Any]


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="a folder of clips with SOURCE.tsv")
    parser.add_argument("--per-genre", type=int, default=60, help="clips of the arranger in each of five genres")
    parser.add_argument("--work", type=Path, default=Path("runs/estimates"), help="the corpus")
    parser.add_argument("--out", type=Path, default=HERE, help="figures and page")
    parser.add_argument("--page", action="store_true", help="write the page again, measure nothing")
    return parser.parse_args(arguments)


def measure_arranger(options: argparse.Namespace) -> dict[str, Any]:
    """Build a corpus with exact annotations, measure it, and compare both."""
    import synthmir

    recipe = {
        "name": "estimates",
        "prompts": {
            "per_genre": options.per_genre, "seed": SEED, "vocals": ["unspecified", "with-vocals", "instrumental"],
        },
        "generator": {"name": "arranger", "seconds": 10},
        "annotations": True,
    }  # fmt: skip
    corpus = options.work / "corpus"
    synthmir.build(recipe, corpus, workers=1, progress=False)
    agreements = {}
    for tagger in TAGGERS:
        file = options.work / f"agreement-{tagger}" / "agreement.json"
        if file.exists():  # of a run that was stopped
            agreements[tagger] = json.loads(file.read_text(encoding="utf-8"))
            continue
        with_tagger = [name if name != "tags" else f"tags:{tagger}" for name in ESTIMATORS]
        synthmir.annotate(corpus, with_tagger, overwrite=True, progress=False)
        agreements[tagger] = synthmir.agreement(corpus, out=file.parent).model_dump(mode="json")
    return {"agreement": agreements, "librosa": _measure_librosa(corpus)}


def _measure_librosa(corpus: Path) -> dict[str, Any] | None:
    """The tempo accuracy of `librosa.beat.beat_track` on the same clips; None where librosa is not installed."""
    try:
        import librosa
    except ImportError:
        return None
    from builder.audio import load_audio
    from builder.estimators.agreement import OCTAVES, is_near

    right = octave = n = 0
    for file in sorted((corpus / "data").glob("*.parquet")):
        clips = pq.read_table(file, columns=["audio"]).to_pylist()
        truths = pq.read_table(corpus / "annotations" / file.name, columns=["tempo_bpm"]).to_pylist()
        for clip, truth in zip(clips, truths, strict=True):
            samples = load_audio(clip["audio"]["bytes"], 22_050)
            estimate = float(np.ravel(librosa.beat.beat_track(y=samples, sr=22_050)[0])[0])
            right += is_near(estimate, truth["tempo_bpm"]) if estimate else 0
            octave += any(is_near(estimate, truth["tempo_bpm"] * share) for share in OCTAVES)
            n += 1
    return {"version": librosa.__version__, "tempo": right / n, "tempo_octave": octave / n, "n": n}


def measure_clips(folder: Path) -> list[Row]:
    """Measure the clips of a folder: a row for each, with its prompt."""
    from builder.audio import load_audio
    from builder.estimators.base import EstimatorSettings, load_estimator
    from builder.estimators.sound import Sound

    names = [
        f"tags:{tagger}" if name == "tags" else name
        for name in ESTIMATORS
        for tagger in TAGGERS[: 1 + (name == "tags")]
    ]
    estimators = [(name, load_estimator(EstimatorSettings.parse(name))) for name in names]
    with (folder / "SOURCE.tsv").open(encoding="utf-8", newline="") as file:
        sources = list(csv.DictReader(file, delimiter="\t"))
    rows = []
    for source in sources:
        sound = Sound(load_audio(folder / source["file"], 32_000), source["file"], source["prompt"])
        row: Row = {"file": source["file"], "model": source["model"], "prompt": source["prompt"], "tags": {}}
        for name, estimator in estimators:
            (estimate,) = estimator.estimate([sound])
            estimate.pop("chroma", None)
            if name.startswith("tags:"):
                row["tags"][name.partition(":")[2]] = estimate["tags"]
                row.setdefault("voice", estimate["voice"])
            else:
                row |= estimate
        rows.append(row)
    return rows


def read_tempo(prompt: str) -> int | None:
    """The tempo that a prompt names: "140bpm"."""
    match = re.search(r"(\d{2,3})\s?bpm", prompt.lower())
    return int(match[1]) if match else None


def find_named_tags(prompt: str, tags: Iterator[str] | Sequence[str]) -> list[str]:
    """The tags that a prompt names, as words."""
    text = f" {' '.join(re.findall(r'[a-z0-9]+', prompt.lower()))} "
    return [tag for tag in tags if f" {' '.join(re.findall(r'[a-z0-9]+', tag.lower()))} " in text]


def rank_of(tags: dict[str, float], tag: str) -> int:
    """The place of a tag among all, 1 the most probable."""
    return 1 + sum(value > tags[tag] for value in tags.values())


def format_page(figures: dict[str, Any]) -> str:
    """The page, from the figures alone."""
    lines = ["# Estimators", "", *_format_arranger(figures)]
    if figures.get("clips"):
        lines += ["", *_format_clips(figures["clips"])]
    return "\n".join(lines) + "\n"


def _share(figure: dict[str, Any], percent: bool = True) -> str:
    if percent:
        return f"{figure['value']:.1%} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _format_arranger(figures: dict[str, Any]) -> Iterator[str]:
    from evaluation.agreement.page import TITLES

    first = figures["arranger"]["agreement"][TAGGERS[0]]
    yield (
        f"## Clips whose truth is exact\n\n{first['n']} clips of ten seconds of the arranger (other prompts "
        "than those that the estimators were set up on), measured by `synthmir annotate` and compared with their "
        "exact annotations by `synthmir agreement`. In brackets: 95 % intervals. "
        f"Machine: {first['record']['device']}. Written by `docs/results/estimates.py`.\n"
    )
    yield (
        "| label | estimator right | played as asked | estimate agrees with the prompt "
        "| disagreements: not played / misestimated |"
    )
    yield "|---|---|---|---|---|"
    for label in first["labels"]:
        if truth := label["truth"]:
            parts = [_share(truth["estimator"], label["share"]), _share(truth["generator"], label["share"])]
            yield (
                f"| {TITLES[label['name']]} | {' | '.join(parts)} | {_share(label['all'], label['share'])} "
                f"(n = {label['all']['n']}) | {truth['not_played']} / {truth['misestimated']} |"
            )
    if peer := figures["arranger"]["librosa"]:
        yield (
            f"\nTempo of the same {peer['n']} clips by `librosa.beat.beat_track` {peer['version']}: "
            f"{peer['tempo']:.1%} within 4 %, {peer['tempo_octave']:.1%} in any octave."
        )
    yield (
        "\nVoice, instruments and genres by tags of musicnn: how often a clip with the label has higher probabilities "
        "of its tags than one without (area under the ROC curve). `played` is the annotation, `asked` the prompt.\n"
    )
    yield "| label | model | which is | ROC-AUC | clips with / all |"
    yield "|---|---|---|---|---|"
    for tagger in TAGGERS:
        for row in figures["arranger"]["agreement"][tagger]["tags"]:
            if row["against"] == "played" or row["column"] == "genre":
                yield (
                    f"| {row['column']}: {row['label']} | {tagger} | {row['against']} | {_share(row['auc'])} | "
                    f"{row['positive']} / {row['auc']['n']} |"
                )


def _format_clips(rows: list[Row]) -> Iterator[str]:
    asked = [(read_tempo(row["prompt"]), row["tempo"]) for row in rows]
    asked = [(tempo, measured) for tempo, measured in asked if tempo and measured]
    near = sum(abs(measured / tempo - 1) <= 0.04 for tempo, measured in asked)
    octave = sum(
        any(abs(measured / (tempo * m) - 1) <= 0.04 for m in (1 / 3, 0.5, 1, 2, 3)) for tempo, measured in asked
    )
    yield (
        f"## {len(rows)} clips of MusicGen\n\nAsked beside measured. No truth is known: a disagreement is the "
        "generator's or the estimator's, and the table above says how often the latter errs. "
        f"{len(asked)} prompts name a tempo; the measured one is within 4 % of it for {near}, in any octave for "
        f"{octave}.\n"
    )
    yield "Tags that prompts name, and their median place among musicnn's 50 in clips with and without them:\n"
    yield "| tag | model | clips | median place where named | elsewhere |"
    yield "|---|---|---:|---:|---:|"
    for tagger in TAGGERS:
        tags = list(rows[0]["tags"][tagger])
        named = [find_named_tags(row["prompt"], tags) for row in rows]
        for tag in tags:
            places = [rank_of(row["tags"][tagger], tag) for row in rows]
            within = [place for place, own in zip(places, named, strict=True) if tag in own]
            others = [place for place, own in zip(places, named, strict=True) if tag not in own]
            if len(within) >= 2:
                yield f"| {tag} | {tagger} | {len(within)} | {np.median(within):g} | {np.median(others):g} |"
    yield "\n| clip | prompt | tempo asked | tempo (confidence) | key (confidence) | voice | onsets/s | first tags |"
    yield "|---|---|---:|---|---|---:|---:|---|"
    for row in rows:
        tags = row["tags"][TAGGERS[0]]
        top = sorted(tags, key=lambda tag: -tags[tag])[:TOP]
        tempo = f"{row['tempo']:.0f} ({row['tempo_confidence']:.2f})" if row["tempo"] else "–"
        key = f"{row['key']} ({row['key_confidence']:.2f})" if row["key"] else "–"
        prompt = row["prompt"].replace("|", "/")
        named = ", ".join(f"{tag} {tags[tag]:.2f}" for tag in top)
        cells = (Path(row["file"]).stem.rpartition("-")[2], prompt, read_tempo(row["prompt"]) or "", tempo, key)
        yield f"| {' | '.join(map(str, cells))} | {row['voice']:.2f} | {row['onset_rate']:.1f} | {named} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write estimates.json and estimates.md."""
    options = parse_options(arguments)
    file = options.out / "estimates.json"
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if not options.page:
        figures["arranger"] = measure_arranger(options)
        if options.clips is not None:
            figures["clips"] = measure_clips(options.clips)
        file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (options.out / "estimates.md").write_text(format_page(figures), encoding="utf-8")
    print(options.out / "estimates.md")


if __name__ == "__main__":
    main()
