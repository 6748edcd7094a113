"""The package `musicnn` under TensorFlow, as a process that times itself: perf/embedding.py starts it by uv.

It reads lines from its input, writes the seconds to its output, and answers with arrays in files:

    session FILE.npy    spectrogram and features of float32 [windows, 48000] in a session that is kept: FILE.out.npy
    extractor FILE.wav  the package's documented function, which loads the model at each call: [windows, 200]
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import numpy as np

MODEL, RATE = "MSD_musicnn", 16_000


def main() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import librosa
    import tensorflow as tf
    from musicnn import configuration, models
    from musicnn.extractor import extractor

    tf.get_logger().setLevel("ERROR")
    frames = (
        int(librosa.time_to_frames(3, sr=RATE, n_fft=configuration.FFT_SIZE, hop_length=configuration.FFT_HOP)) + 1
    )
    graph = tf.Graph()
    with graph.as_default(), tf.name_scope("model"):
        x = tf.compat.v1.placeholder(tf.float32, [None, frames, configuration.N_MELS])
        training = tf.compat.v1.placeholder(tf.bool)
        penultimate = models.define_model(x, training, MODEL, 50)[-1]
        session = tf.compat.v1.Session()
        tf.compat.v1.train.Saver().restore(session, f"{Path(models.__file__).parent / MODEL}/")

    def embed(windows: np.ndarray) -> np.ndarray:
        spectra = []
        for window in windows:  # as extractor.batch_data computes them
            power = librosa.feature.melspectrogram(
                y=window, sr=RATE, hop_length=configuration.FFT_HOP, n_fft=configuration.FFT_SIZE,
                n_mels=configuration.N_MELS,
            )  # fmt: skip
            spectra.append(np.log10(10000 * power.T.astype(np.float16) + 1)[:frames])
        found: np.ndarray = session.run(penultimate, {x: np.stack(spectra), training: False})
        return found

    print("ready", flush=True)
    for line in sys.stdin:
        how, file = line.rstrip("\n").split(" ", 1)
        audio = np.load(file) if how == "session" else None
        clock = time.perf_counter()
        if audio is None:
            with contextlib.redirect_stdout(sys.stderr):
                features = extractor(file, model=MODEL, extract_features=True)[2]["penultimate"]
        else:
            features = embed(audio)
        seconds = time.perf_counter() - clock
        np.save(Path(file).with_suffix(".out.npy"), features)
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
