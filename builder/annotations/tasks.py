"""The tasks that are learnt from audio and its annotations, and what of an `Annotation` each needs."""

from __future__ import annotations

TASK_FIELDS = {
    "beats": ("beats", "positions"),
    "chords": ("chords",),
    "key": ("key",),
    "time_signature": ("time_signature",),
    "melody": ("melody",),
    "notes": ("notes",),
    "instruments": ("tracks",),
}
FRAME_TASKS = tuple(TASK_FIELDS)
CLIP_TASKS = ("key", "time_signature")  # one answer for a whole recording
LABEL_TASKS = ("key", "instruments")  # alone, these are label columns of a corpus, which a classifier learns
