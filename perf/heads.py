"""Which head generalises: choices of the classifier on the validation clips, clean and damaged. No real music is used.

    python perf/heads.py CORPUS [--embedder musicnn] [--seeds 3] [--out DIR]

Damaged clips stand for recordings that differ from the training clips. Writes heads-EMBEDDER.json and .md.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder.degradations import Damage
from builder.embedders.base import load_embedder
from builder.embedders.windows import embed_clips
from builder.io.atomic import write_text
from builder.resampling import resample
from builder.settings import EmbedderSettings, TrainingSettings
from evaluation.inference.predict import audio_source
from evaluation.inference.validation_audio import validation_clips
from training.data.features import load_features
from training.models.classifier import SynthmirConfig
from training.optim.loop import fit, start_accelerator

DAMAGES = ("noise:20", "lowpass:2000", "highpass:200", "mp3:64")
CHOICES: dict[str, dict[str, Any]] = {
    "mlp, 128 (default)": {},
    "logistic": {"head": "logistic"},
    "mlp, 512": {"hidden": (512,)},
    "mlp, 128 and 64": {"hidden": (128, 64)},
    "weight decay 0.1": {"weight_decay": 0.1},
    "weight decay 1": {"weight_decay": 1.0},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "mixup 0.2": {"mixup": 0.2},
    "mixup 1": {"mixup": 1.0},
    "mixup 0.2, label smoothing 0.1": {"mixup": 0.2, "label_smoothing": 0.1},
    "mlp, 512, mixup 1": {"hidden": (512,), "mixup": 1.0},
    "mixup 1, weight decay 1": {"mixup": 1.0, "weight_decay": 1.0},
}


def main() -> None:
    """Embed damaged validation clips, train each choice with each seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--embedder", default="musicnn")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    features = load_features(options.corpus, options.embedder, "genre")
    sets = {"clean": (features.validation.embeddings, features.validation.labels)}
    sets |= embed_damaged(options.corpus, options.embedder, features.names)
    rows = []
    for name, choice in CHOICES.items():
        accuracies = np.array([
            measure(features, TrainingSettings(seed=seed, **choice), sets) for seed in range(options.seeds)
        ])  # fmt: skip
        means = dict(zip(sets, accuracies.mean(axis=0).round(4).tolist(), strict=True))
        spread = round(float(accuracies[:, 1:].mean(axis=1).std()), 4)
        rows.append({"name": name, **means, "damaged": round(float(accuracies[:, 1:].mean()), 4), "spread": spread})
        print(rows[-1], file=sys.stderr, flush=True)
    columns = ("name", "damaged", "spread", *sets)
    lines = ["# Heads on validation clips", "", f"{options.embedder}, {len(features.validation)} validation clips, "
             f"accuracy, mean of {options.seeds} seeds; `damaged` is the mean of the damages, `spread` its standard "
             "deviation over seeds.", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]  # fmt: skip
    lines += ["| " + " | ".join(str(row[key]) for key in columns) + " |" for row in rows]
    command = f"python perf/heads.py CORPUS --embedder {options.embedder} --seeds {options.seeds}"
    lines += ["", f"`{command}`, {time.strftime('%Y-%m-%d')}, {platform.machine()}.", ""]
    options.out.mkdir(parents=True, exist_ok=True)
    document = {"script": "perf/heads.py", "command": command, "date": time.strftime("%Y-%m-%d"), "rows": rows}
    write_text(options.out / f"heads-{options.embedder}.json", json.dumps(document, indent=2) + "\n")
    write_text(options.out / f"heads-{options.embedder}.md", "\n".join(lines))


def embed_damaged(corpus: Path, name: str, labels: tuple[str, ...]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The validation clips through each damage: embeddings and labels."""
    embedder = load_embedder(EmbedderSettings(name=name))
    tracks = validation_clips(corpus, labels, "genre", 500, 0).tracks
    truth = torch.tensor([int(track.label) for track in tracks])  # type: ignore[arg-type]
    sets = {}
    for text in DAMAGES:
        damage, clips = Damage.parse(text), []
        for track in tracks:
            samples, rate = read_samples(audio_source(track))
            damaged = damage(samples, rate).mean(axis=1).astype(np.float32)
            clips.append(resample(damaged, rate, embedder.sampling_rate))
        sets[text] = torch.from_numpy(embed_clips(embedder, clips)), truth
    return sets


def read_samples(source: Path | bytes) -> tuple[np.ndarray, int]:
    """Samples [n, channels] of a clip and their rate."""
    import io

    import soundfile

    samples, rate = soundfile.read(io.BytesIO(source) if isinstance(source, bytes) else source, always_2d=True)
    return samples.astype(np.float32), rate


def measure(features: Any, settings: TrainingSettings, sets: dict[str, Any]) -> list[float]:
    """The accuracy of one training on each set."""
    names = dict(enumerate(features.names))
    config = SynthmirConfig(
        hidden=settings.hidden, embedder={"dim": features.dim}, id2label=names,
        label2id={label: number for number, label in names.items()},
    )  # fmt: skip
    model = fit(config, features, settings, start_accelerator()).model
    with torch.inference_mode():
        return [float((model(x).logits.argmax(dim=1) == y).float().mean()) for x, y in sets.values()]


if __name__ == "__main__":
    main()
