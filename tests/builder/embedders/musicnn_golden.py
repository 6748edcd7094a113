"""Golden numbers of musicnn: a signal, and what the package itself computes from it under TensorFlow.

The package needs an old TensorFlow, so it runs in an environment of its own, which writes musicnn_golden.json:

    uv venv --python 3.11 golden && uv pip install --python golden "tensorflow==2.15.1" "librosa<0.11" "numpy<2"
    uv pip install --python golden --no-deps "musicnn==0.1.0"
    golden/bin/python tests/builder/embedders/musicnn_golden.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_suffix(".json")
RATE, SECONDS = 16_000, 7
MODELS = ("MSD_musicnn", "MTT_musicnn", "MSD_vgg", "MTT_vgg")
LAYERS = {
    "musicnn": ("timbral", "temporal", "cnn1", "cnn2", "cnn3", "mean_pool", "max_pool", "penultimate"),
    "vgg": ("pool1", "pool2", "pool3", "pool4", "pool5"),
}
SAMPLED = 150  # numbers kept of each layer


def make_signal() -> np.ndarray:
    """Seven seconds of a swelling tone, a chirp, clicks and noise: float32 [samples] in [-1, 1] at 16 kHz."""
    time = np.arange(SECONDS * RATE) / RATE
    state, noise = 1, np.empty(len(time))
    for i in range(len(time)):  # a linear congruential generator: the same on any platform
        state = (1_664_525 * state + 1_013_904_223) % 2**32
        noise[i] = state / 2**31 - 1
    tone = 0.3 * np.sin(2 * np.pi * 220 * time) * (1 + np.sin(2 * np.pi * 2 * time)) / 2
    chirp = 0.15 * np.sin(2 * np.pi * (200 * time + 350 * time**2))
    clicks = 0.5 * noise * np.exp(-60 * (time % 0.5))
    return (tone + chirp + clicks + 0.01 * noise).astype(np.float32)


def summarize(values: np.ndarray) -> dict[str, Any]:
    """The shape, the mean and the spread of an array, and evenly spaced numbers of it."""
    flat = np.asarray(values, np.float64).ravel()
    step = max(1, flat.size // SAMPLED)
    return {
        "shape": list(values.shape),
        "mean": float(flat.mean()),
        "std": float(flat.std()),
        "step": step,
        "values": [float(f"{value:.7g}") for value in flat[::step]],
    }


def compute() -> dict[str, Any]:
    """What the package gives for the signal: its log-mel spectrogram, and each model's layers for both windows."""
    import librosa
    import soundfile
    import tensorflow as tf
    from musicnn import configuration, extractor, models

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "signal.wav"
        soundfile.write(file, make_signal(), RATE, subtype="FLOAT")
        frames = int(librosa.time_to_frames(3, sr=RATE, n_fft=configuration.FFT_SIZE, hop_length=256)) + 1
        batch, spectrogram = extractor.batch_data(str(file), frames, frames)
    golden = {"log_mel": summarize(spectrogram), "tags": {}, "layers": {}}
    for model in MODELS:
        tf.compat.v1.reset_default_graph()
        with tf.name_scope("model"):
            x = tf.compat.v1.placeholder(tf.float32, [None, frames, configuration.N_MELS])
            training = tf.compat.v1.placeholder(tf.bool)
            logits, *layers = models.define_model(x, training, model, 50)
        with tf.compat.v1.Session() as session:
            prefix = Path(models.__file__).parent / model
            tf.compat.v1.train.Saver().restore(session, f"{prefix}/")
            outputs = session.run([tf.nn.sigmoid(logits), *layers], {x: batch, training: False})
        names = ("taggram", *LAYERS[model.partition("_")[2]])
        shaped = [values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values for values in outputs]
        golden["layers"][model] = {name: summarize(values) for name, values in zip(names, shaped, strict=True)}
        golden["tags"][model] = getattr(configuration, f"{model[:3]}_LABELS")
    return golden


if __name__ == "__main__":
    FILE.write_text(json.dumps(compute(), indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
