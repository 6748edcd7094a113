"""Whether a music tagger notices the arranger's voice: vocal tags of clips with vocals against instrumental ones.

uv run perf/singing.py [--quick] [--clips 24] [--json FILE]

Clips of four genres, half with vocals, in versions 1 and 2 of the arranger. The score of a clip is the mean log
probability of the vocal tags of musicnn's MagnaTagATune model less that of its tags for no vocals; the figure is its
ROC-AUC.
"""

from __future__ import annotations

import numpy as np
import table
import torch
from sklearn.metrics import roc_auc_score

from builder.clip import Clip, Prompt
from builder.embedders.musicnn import MUSICNN_WINDOW, Musicnn
from builder.generators.arranger import Arranger
from builder.resampling import resample
from builder.settings import EmbedderSettings, GeneratorSettings
from builder.taxonomy import Taxonomy

GENRES = ("pop", "rock", "funk", "electronica")
KINDS = ("female", "male")
SUNG = ["vocal", "vocals", "singing", "voice", "woman", "man", *KINDS]
SUNG += [f"{kind} {part}" for kind in KINDS for part in ("vocal", "voice")]
UNSUNG = ("no vocals", "no vocal", "no voice")
FIRST = 1000  # seed


def main() -> None:
    parser = table.make_parser(__doc__)
    parser.add_argument("--clips", type=int, default=24, help="of each genre")
    options = parser.parse_args()
    count = 4 if options.quick else options.clips
    torch.set_num_threads(1)
    tagger = Musicnn(EmbedderSettings(name="musicnn", arch="MTT_musicnn", device="cpu"))
    scores, sung = {}, np.tile([False, True], len(GENRES) * count // 2)
    for version in ("1", "2"):
        arranger = Arranger(GeneratorSettings(revision=version), Taxonomy.load("paper"))
        rows = [
            Clip(
                "clip",
                Prompt("", "", genre, vocals=("instrumental", "with-vocals")[number % 2]),
                "",
                FIRST + number,
                "",
            )
            for genre in GENRES
            for number in range(count)
        ]
        scores[version] = np.array([measure_voice(arranger, row, tagger) for row in rows])
    genres = np.repeat(GENRES, count)
    parts = {"all genres": np.ones(len(sung), bool)} | {genre: genres == genre for genre in GENRES}
    rows = []
    for name, part in parts.items():
        new, old = (roc_auc_score(sung[part], scores[version][part]) for version in ("2", "1"))
        rows.append(table.row(f"vocal tags, {name}", "ROC-AUC", new, old, "version 1", note=f"{part.sum()} clips"))
    table.finish("singing", rows, options)


def measure_voice(arranger: Arranger, row: Clip, tagger: Musicnn) -> float:
    """How much more a clip has the tags of vocals than those of none."""
    audio = resample(arranger.generate([row])[0], arranger.sampling_rate, tagger.sampling_rate)
    windows = audio[: len(audio) // MUSICNN_WINDOW * MUSICNN_WINDOW].reshape(-1, MUSICNN_WINDOW)
    levels = dict(zip(tagger.tag_names, np.log(tagger.tags(windows).mean(axis=0) + 1e-4), strict=True))
    return float(np.mean([levels[tag] for tag in SUNG]) - np.mean([levels[tag] for tag in UNSUNG]))


if __name__ == "__main__":
    main()
