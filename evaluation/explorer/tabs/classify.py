"""The tab "Your audio": what the run's classifier predicts for an uploaded recording."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from builder.audio import AUDIO_SUFFIXES, encode_flac
from builder.errors import DataError, SynthmirError, make_printable

from ..html_parts import escape, render_error, render_note
from ..page_context import Component, PageContext
from ..recording import RecordingClassifier, WindowPredictions
from ..recording_html import render_predictions

MAX_PLAYBACK = 20 * 60  # seconds of a recording that can be played back


def add_classify_tab(context: PageContext, _: Component) -> None:
    """Add an upload, and the predictions over time."""
    gr = context.gradio
    if not context.clips.summary.has_model:
        note = f"{context.clips.summary.name} has no classifier beside it; synthmir train makes one."
        context.add_html(render_note(note))
        return
    context.add_html(
        render_note("Upload a recording: the run's classifier predicts its labels window by window. "
                    "The file is deleted right after that.")
    )  # fmt: skip
    file = gr.File(label="Your audio", file_count="single", type="filepath", height=140, elem_id="upload")
    output = context.add_clip_html(elem_id="predictions")
    loaded: list[RecordingClassifier] = []  # the classifier, once it is needed

    def classify(path: str | None) -> Any:
        if path is None or not is_upload(path):
            return gr.skip()
        name = Path(path).name
        try:
            if Path(path).suffix.lower() not in AUDIO_SUFFIXES:
                raise DataError("not an audio format that can be read", f"one of {', '.join(sorted(AUDIO_SUFFIXES))}")
            if not loaded:
                model = context.clips.model_folder
                if model is None:
                    raise DataError("the classifier has been removed", "synthmir train makes one")
                loaded.append(RecordingClassifier(model))
            predictions = loaded[0].predict(path)
        except SynthmirError as error:
            error.message = error.message.removeprefix(
                f"{make_printable(str(path))}: "
            )  # the server's path is not shown
            return f"<h2>{escape(name)}</h2>{render_error(error)}"
        finally:
            with contextlib.suppress(OSError):
                Path(path).unlink()
        audio = context.audio_cache.put(encode_playback(predictions))
        return render_predictions(predictions, name, f"sound/{audio}.flac")

    file.upload(
        classify, file, output, concurrency_limit=1, concurrency_id="classifier", api_name="classify",
        show_progress="full",
    )  # fmt: skip
    file.clear(lambda: "", None, output, show_progress="hidden", api_visibility="private")


def is_upload(path: str) -> bool:
    """Whether a file is in Gradio's upload folder. Other files are neither read nor deleted."""
    from gradio.utils import get_upload_folder

    return Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())


def encode_playback(predictions: WindowPredictions) -> bytes:
    """Encode the recording as FLAC, which all browsers play."""
    rate = predictions.sampling_rate
    return encode_flac(predictions.samples[: MAX_PLAYBACK * rate], rate)
