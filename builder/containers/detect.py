"""Where the audio is in a file: MPEG frames and Ogg pages are counted, sizes in WAV, AIFF and AU headers are checked.

libsndfile believes headers: it takes the length of an MP3 from its Xing frame or its first bitrate, reads only the
first of files that were joined end to end, and does not notice that the end of a file is missing. `find_streams` reads
the file itself and returns the bytes to give to a decoder.
"""

from __future__ import annotations

from typing import IO

from .headers import find_aiff_streams, find_au_streams, find_wave_streams
from .layout import Layout, View
from .mpeg import find_mpeg_streams
from .ogg import find_ogg_streams


def find_streams(file: IO[bytes]) -> Layout:
    """Find the audio streams of a file by its content, not its name.

    Args:
        file: A seekable file, opened to read bytes.

    Returns:
        The streams in order, and what is missing or damaged. A format that is not known here is one stream: the file
        as it is.
    """
    view = View(file)
    start = view.read(0, 12)
    if start[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and start[8:] == b"WAVE":
        return find_wave_streams(view, ">" if start[:4] == b"RIFX" else "<")
    if start[:4] == b"FORM" and start[8:] in (b"AIFF", b"AIFC"):
        return find_aiff_streams(view)
    if start[:4] in (b".snd", b"dns."):
        return find_au_streams(view, start)
    if start[:4] == b"OggS":
        return find_ogg_streams(view)
    if start[:4] == b"fLaC":
        return Layout()  # the decoder checks all of it
    return find_mpeg_streams(view, 0, view.size)
