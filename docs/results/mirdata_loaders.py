"""Read one track of every loader of mirdata, and write the page of what each gives.

python docs/results/mirdata_loaders.py

The tracks are those of the tests: files in the formats of the data sets, and no recordings.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

KINDS = ("beats", "downbeats", "tempo", "time_signature", "chords", "key", "sections", "melody", "notes")
HEAD = """# Data sets of mirdata

What `mirdata:DATASET:PATH` reads from each loader of mirdata {mirdata}: one track in the format of the data set, made
by the tests; no recordings. Made by `python docs/results/mirdata_loaders.py`, with Python {python} and NumPy {numpy}.

| data set | tracks | annotations | label | index |
|---|---|---|---|---|
"""


def describe(name: str, spec: str) -> str:
    """Read the sample of a loader, and return its row of the table."""
    from evaluation.benchmarks.annotated import HAS_TASK, load_annotated

    tracks = load_annotated(spec)
    annotations = [track.annotation for track in tracks]
    kinds = [kind for kind in KINDS if any(HAS_TASK[kind](one) for one in annotations)]
    reader = tracks.reader  # type: ignore[attr-defined]
    labels = {reader.read_labels(reader.open_track(identity), "genre") for identity in reader.ids}
    label = "genre" if any(labels) else ""
    entry = reader.data._index_data
    index = entry.filename.replace("_sample", "")
    address = entry.remote.url if entry.remote else ""
    where = f"[`{index}`]({address})" if address else f"`{index}`, which mirdata does not offer"
    failed = "" if annotations else "; ".join(tracks.notes)
    return f"| `{name}` | {reader.level}s | {', '.join(kinds) or failed} | {label} | {where} |\n"


def main() -> None:
    """Write the page."""
    from tests.evaluation.benchmarks.mirdata_miniatures import MAKERS
    from tests.evaluation.benchmarks.mirdata_samples import SAMPLES, WITHOUT, make_sample

    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted([*SAMPLES, *MAKERS]):
            home = Path(folder) / name
            home.mkdir()
            spec = make_sample(name, home) if name in SAMPLES else f"mirdata:{name}:{MAKERS[name](home)}"
            rows[name] = describe(name, spec)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = HEAD.format(mirdata=version("mirdata"), python=python, numpy=import_module("numpy").__version__)
    text += "".join(rows.values())
    text += "\nThe other loaders:\n\n| data sets | |\n|---|---|\n"
    for reason, names in WITHOUT.items():
        text += f"| {', '.join(f'`{name}`' for name in names)} | {reason} |\n"
    text += (
        "\n`tracks` or `multitracks`: what is scored by default; `?level=` chooses the other. Where a track has "
        "several annotations of a kind, [Evaluate](../guides/evaluate.md#data-sets-of-mirdata) says which counts.\n"
    )
    (HERE / "mirdata.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
