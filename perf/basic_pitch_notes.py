# /// script
# requires-python = "==3.11.*"
# dependencies = ["basic-pitch[onnx]==0.4.0", "setuptools<81"]
# [tool.uv]
# override-dependencies = ["tensorflow; python_version < '3'"]
# ///
"""basic-pitch (Bittner et al., ICASSP 2022) as a process of its own: perf/annotation_peers.py starts it by uv.

It reads the path of an audio file from each line of its input, and answers with a line of JSON: a list of notes, each
onset and offset in seconds, MIDI note number, and velocity. It ships its weights, here those of its ONNX model: on
Python 3.11 it asks for a TensorFlow of 2023, which ONNX does not need.
"""

import contextlib
import json
import sys


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        from basic_pitch import FilenameSuffix, build_icassp_2022_model_path
        from basic_pitch.inference import Model, predict

        model = Model(build_icassp_2022_model_path(FilenameSuffix.onnx))
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            *_, notes = predict(line.strip(), model)
        rows = [[float(one[0]), float(one[1]), int(one[2]), round(127 * float(one[3]))] for one in notes]
        print(json.dumps(rows), flush=True)


if __name__ == "__main__":
    main()
