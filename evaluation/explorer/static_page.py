"""The explorer as plain files: a page with the clips' audio and spectrograms beside it. It needs no server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from builder.corpus.corpus import CARD
from builder.io.atomic import replace_folder, write_text

from ..rendering.piano_roll import describe_annotation, format_production, render_piano_roll
from .clip_table import Clips, CorpusSummary
from .thumbnail import render_thumbnail

HERE = Path(__file__).parent
GENERATOR_META = '<meta name="generator" content="synthmir explore --static">'  # by which a page is recognised
DEFAULT_LIMIT = 500  # clips; about 170 MB of ten-second FLAC
NEIGHBOURS, PAIRS, TAGS = 6, 60, 4
DECIMALS = {"duration": 1, "loudness": 1, "peak": 1, "tempo_bpm": 0, "attempts": 0}
LABEL_FILTERS = {
    "genre": "Genre", "subgenre": "Sub-genre", "mood": "Mood", "instruments": "Instrument", "vocals": "Vocals",
    "split": "Split",
}  # fmt: skip
RANGE_FILTERS = {
    "tempo_bpm": ("Tempo", "bpm"), "loudness": ("Loudness", "LUFS"), "peak": ("Peak", "dBFS"),
    "duration": ("Duration", "s"), "attempts": ("Attempts", ""),
}  # fmt: skip
Progress = Callable[[int, int], None]


def write_static_page(clips: Clips, out: Path, progress: Progress = lambda done, total: None) -> Path:
    """Write the page and its files atomically.

    Args:
        clips: The corpus.
        out: The folder to write: index.html, README.md, audio/, pictures/, and stems/ and production/ where the corpus
            has them. A static page that is there is replaced.
        progress: Called with the number of clips that are written, and of all.

    Returns:
        The path of index.html.

    Raises:
        DataError: `out` holds other files, or a clip cannot be read.
    """
    with replace_folder(out, _is_static_page, "a static page", "--static") as part:
        for name in ("audio", "pictures"):
            (part / name).mkdir()
        files, played = [], []
        for position, (data, suffix) in enumerate(clips.read_all_audio()):
            name = f"{position:05d}"  # ids may contain characters that file names may not
            files.append(name + suffix)
            (part / "audio" / files[-1]).write_bytes(data)
            (part / "pictures" / f"{name}.png").write_bytes(_render_spectrogram(data))
            played.append(_write_played(clips, position, part, name))
            progress(position + 1, len(clips))
        write_text(part / CARD, render_card(clips))
        write_text(part / "index.html", render_page(clips, files, played))
    return out / "index.html"


def _write_played(clips: Clips, position: int, part: Path, name: str) -> dict[str, Any]:
    """Write the piano roll, the stems and the production of a clip, and return what the script needs of them."""
    annotation = clips.read_annotation(position)
    if annotation is not None:
        (part / "pictures" / f"{name}.svg").write_text(render_piano_roll(annotation), encoding="utf-8")
    stems: list[list[str]] = []
    for stem in clips.list_stems(position):
        data, suffix = clips.read_stem(position, stem)
        stems.append([stem, f"{name}-{len(stems)}{suffix}"])
        (part / "stems").mkdir(exist_ok=True)
        (part / "stems" / stems[-1][1]).write_bytes(data)
    if production := clips.read_production(position):
        (part / "production").mkdir(exist_ok=True)
        (part / "production" / f"{name}.txt").write_text(format_production(production) + "\n", encoding="utf-8")
    text = None if annotation is None else describe_annotation(annotation)
    return {"played": text, "stems": stems, "production": bool(production)}


def _is_static_page(folder: Path) -> bool:
    """Whether a folder holds a static page, which may be replaced."""
    try:
        return GENERATOR_META in (folder / "index.html").read_text(encoding="utf-8")[:4000]
    except (OSError, UnicodeDecodeError):
        return False


def _render_spectrogram(data: bytes) -> bytes:
    from builder.audio import decode_audio, to_mono
    from builder.corpus.schema import LONGEST

    samples, rate = decode_audio(data, LONGEST)
    return render_thumbnail(to_mono(samples), rate)


def render_card(clips: Clips) -> str:
    """Render README.md with the metadata of a static Space, so that the folder can be published as one."""
    name = clips.source.name.rpartition("/")[2]
    head: dict[str, Any] = {
        "title": f"{name} clips", "emoji": "🎧", "colorFrom": "indigo", "colorTo": "blue", "sdk": "static",
        "app_file": "index.html", "pinned": False, "tags": ["synthmir", "music", "audio", "synthetic"],
    }  # fmt: skip
    if clips.source.kind == "hub":
        head["datasets"] = [clips.source.name]
    summary = describe_corpus(clips.summary)
    text = f"# {name}\n\n{summary}. Open index.html in a browser, from this folder or from any web server."
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{text}\n"


def render_page(clips: Clips, files: list[str], played: list[dict[str, Any]]) -> str:
    """Render index.html. All text of the corpus is escaped.

    Args:
        clips: The corpus.
        files: Each clip's file name in audio/.
        played: What is played in each, its stems, and whether its production is there.
    """
    from ..rendering.html_page import html_environment
    from ..rendering.plot_style import COLOURS

    style = (HERE / "static_page.css").read_text(encoding="utf-8")
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in ("static_page.js", "timeline.js"))
    facets = clips.facets()
    return (
        html_environment(HERE)
        .get_template("static_page.html.jinja")
        .render(
            generator_meta=GENERATOR_META,
            policy=content_security_policy(script, style),
            style=style,
            script=script,
            data=encode_json(page_data(clips, files, played, COLOURS)),
            name=clips.summary.name,
            description=describe_corpus(clips.summary),
            fingerprint=clips.summary.fingerprint,
            label_filters={
                name: (label, facets[name]) for name, label in LABEL_FILTERS.items() if len(facets[name]) > 1
            },
            range_filters={
                name: texts for name, texts in RANGE_FILTERS.items() if clips.table[name].dropna().nunique() > 1
            },
            no_embeddings_reason=clips.no_embeddings_reason,
            has_map=clips.map_points() is not None,
        )
    )


def describe_corpus(summary: CorpusSummary) -> str:
    """Describe size and generator of a corpus in a line."""
    count = f"{summary.clips:,} clips"
    if summary.clips < summary.total_clips:
        count = f"{summary.clips:,} of {summary.total_clips:,} clips, drawn evenly from every genre"
    parts, minutes = [count], summary.seconds / 60
    if summary.seconds:
        parts.append(f"{minutes / 60:.1f} h of music" if minutes >= 60 else f"{minutes:.0f} min of music")
    if summary.generator:
        parts.append(f"generated by {summary.generator}")
    return " · ".join(parts)


def content_security_policy(script: str, style: str) -> str:
    """Return a policy that allows this script, this style, and images and audio beside the page."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src 'self' file:; media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def encode_json(content: Any) -> str:
    """Encode JSON for a <script> element: no character in it can end the element or begin a comment."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)  # ASCII
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def page_data(
    clips: Clips, files: list[str], played: list[dict[str, Any]], colours: tuple[str, ...]
) -> dict[str, Any]:
    """Collect what the script needs: a list for each column, the map's points, neighbours and near-duplicates.

    Args:
        clips: The clips of the corpus.
        files: Each clip's file name in audio/.
        played: As in `render_page`.
        colours: The genres' colours on a light background. Those on a dark background are made from them.

    Returns:
        A dictionary that JSON can hold. "points" is None without embeddings or with fewer than three clips.
    """
    table = clips.table
    columns: dict[str, list[Any]] = {}
    for name in ("id", "split", "prompt", "genre", "subgenre", "mood", "key", "vocals"):
        columns[name] = [value if isinstance(value, str) else None for value in table[name]]
    columns["tags"] = [
        [f"{tag} {share:.0%}" for tag, share in clips.predict_tags(position, TAGS)] for position in range(len(clips))
    ]
    columns["instruments"] = [list(names) for names in table["instruments"]]
    for name, decimals in DECIMALS.items():
        values = table[name].to_numpy(np.float64, na_value=np.nan)
        columns[name] = [round(float(value), decimals) if np.isfinite(value) else None for value in values]
    points = clips.map_points()
    neighbours = [clips.find_neighbours(position, NEIGHBOURS) for position in range(len(clips))]
    return {
        **columns,
        "file": files,
        **{name: [values[name] for values in played] for name in ("played", "stems", "production")},
        "genres": clips.facets()["genre"],
        "light": list(colours),
        "dark": [lighten(colour) for colour in colours],
        "points": None if points is None else np.round(points.astype(np.float64), 4).tolist(),
        "neighbours": [[[other, round(cosine, 3)] for other, cosine in nearest] for nearest in neighbours],
        "pairs": [[left, right, round(cosine, 4)] for left, right, cosine in clips.find_duplicates()[:PAIRS]],
    }


def lighten(colour: str) -> str:
    """Move a colour "#rrggbb" a quarter of the way to white, for dark backgrounds."""
    parts = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return "#" + "".join(f"{round(part + 0.25 * (255 - part)):02x}" for part in parts)
