"""The explorer as plain files: a page with the clips' sound and pictures beside it. It needs no server."""

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

from .clip_table import Clips, Source
from .picture import thumbnail

HERE = Path(__file__).parent
MARK = '<meta name="generator" content="synthmir explore --static">'
LIMIT = 500  # clips, unless told otherwise: some 170 MB of ten-second FLAC
NEIGHBOURS, PAIRS = 6, 60
ROUNDED = {"duration": 1, "loudness": 1, "peak": 1, "tempo_bpm": 0, "attempts": 0}
WORDS = {
    "genre": "Genre", "subgenre": "Sub-genre", "mood": "Mood", "instruments": "Instrument", "vocals": "Vocals",
    "split": "Split",
}  # fmt: skip
RANGES = {
    "tempo_bpm": ("Tempo", "bpm"), "loudness": ("Loudness", "LUFS"), "peak": ("Peak", "dBFS"),
    "duration": ("Length", "s"), "attempts": ("Attempts", ""),
}  # fmt: skip
Progress = Callable[[int, int], None]


def write_static(clips: Clips, out: Path, progress: Progress = lambda done, total: None) -> Path:
    """Write `out`/index.html with audio/ and pictures/; its path. DataError if `out` holds something else."""
    with replace_folder(out, _ours, "static page", "--static") as part:
        for name in ("audio", "pictures"):
            (part / name).mkdir()
        files = []
        for position, (data, suffix) in enumerate(clips.sounds()):
            name = f"{position:05d}"  # an id may hold anything
            files.append(name + suffix)
            (part / "audio" / files[-1]).write_bytes(data)
            (part / "pictures" / f"{name}.png").write_bytes(_picture(data))
            progress(position + 1, len(clips))
        write_text(part / CARD, card(clips))
        write_text(part / "index.html", page(clips, files))
    return out / "index.html"


def _ours(folder: Path) -> bool:
    try:
        return MARK in (folder / "index.html").read_text(encoding="utf-8")[:4000]
    except (OSError, UnicodeDecodeError):
        return False


def _picture(data: bytes) -> bytes:
    from builder.audio import decode, mono
    from builder.corpus.schema import LONGEST

    samples, rate = decode(data, LONGEST)
    return thumbnail(mono(samples), rate)


def card(clips: Clips) -> str:
    """README.md, by which the folder is also a Space that needs no machine to run."""
    name = clips.place.name.rpartition("/")[2]
    head: dict[str, Any] = {
        "title": f"{name} clips", "emoji": "🎧", "colorFrom": "indigo", "colorTo": "blue", "sdk": "static",
        "app_file": "index.html", "pinned": False, "tags": ["synthmir", "music", "audio", "synthetic"],
    }  # fmt: skip
    if clips.place.kind == "hub":
        head["datasets"] = [clips.place.name]
    about = f"# {name}\n\n{lead(clips.source)}. Open index.html in a browser, from this folder or from any web server."
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{about}\n"


def page(clips: Clips, files: list[str]) -> str:
    """The HTML of the page. What comes from the corpus is text in it, wherever it stands."""
    from ..rendering.html_page import html_environment
    from ..rendering.plot_style import COLOURS

    style = (HERE / "static.css").read_text(encoding="utf-8")
    script = (HERE / "static.js").read_text(encoding="utf-8")
    source, facets = clips.source, clips.facets()
    return (
        html_environment(HERE)
        .get_template("static.html.jinja")
        .render(
            mark=MARK,
            policy=policy(script, style),
            style=style,
            script=script,
            data=escaped(content(clips, files, COLOURS)),
            source=source,
            lead=lead(source),
            words={name: (label, facets[name]) for name, label in WORDS.items() if len(facets[name]) > 1},
            ranges={name: told for name, told in RANGES.items() if _varies(clips, name)},
            why=clips.why,
            has_map=clips.map() is not None,
        )
    )


def lead(source: Source) -> str:
    """How much there is, in a line."""
    drawn = source.clips < source.of
    told = [
        f"{source.clips:,} of {source.of:,} clips, drawn evenly from every genre"
        if drawn
        else f"{source.clips:,} clips"
    ]
    minutes = source.seconds / 60
    if source.seconds:
        told.append(f"{minutes / 60:.1f} h of music" if minutes >= 60 else f"{minutes:.0f} min of music")
    if source.generator:
        told.append(f"made by {source.generator}")
    return " · ".join(told)


def policy(script: str, style: str) -> str:
    """The page's Content-Security-Policy: its own script and style, files beside it, and nothing else."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src 'self' file:; media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def escaped(content: Any) -> str:
    """JSON that may stand in a <script>: no character in it ends one, or begins a comment."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)  # ASCII
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def content(clips: Clips, files: list[str], colours: tuple[str, ...]) -> dict[str, Any]:
    """What the script works on: a list for each column, and the places of points and neighbours."""
    table = clips.table
    columns: dict[str, list[Any]] = {}
    for name in ("id", "split", "prompt", "genre", "subgenre", "mood", "key", "vocals"):
        columns[name] = [value if isinstance(value, str) else None for value in table[name]]
    columns["instruments"] = [list(one) for one in table["instruments"]]
    for name, digits in ROUNDED.items():
        values = table[name].to_numpy(np.float64, na_value=np.nan)
        columns[name] = [round(float(v), digits) if np.isfinite(v) else None for v in values]
    points = clips.map()
    near = [clips.neighbours(position, NEIGHBOURS) for position in range(len(clips))]
    return {
        **columns,
        "file": files,
        "genres": clips.facets()["genre"],
        "light": list(colours),
        "dark": [lighter(colour) for colour in colours],
        "points": None if points is None else np.round(points.astype(np.float64), 4).tolist(),
        "near": [[[other, round(cosine, 3)] for other, cosine in one] for one in near],
        "pairs": [[left, right, round(cosine, 4)] for left, right, cosine in clips.duplicates()[:PAIRS]],
    }


def lighter(colour: str) -> str:
    """A "#rrggbb" on its way to white, for a dark page."""
    parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(part + 0.25 * (255 - part)):02x}" for part in parts)


def _varies(clips: Clips, column: str) -> bool:
    values = clips.table[column].dropna()
    return values.nunique() > 1
