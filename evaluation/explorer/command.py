"""What `synthmir explore` does: serve the page, or write it as plain files or as a Space."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from builder.errors import RecipeError

from .clip_table import Clips

Meter = Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]


def explore(
    run: str,
    against: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    limit: int | None = None,
    export: Path | None = None,
    static: Path | None = None,
    repo: str | None = None,
    browser: bool = True,
    meter: Meter,
) -> list[str]:
    """Serve until Ctrl-C; or write, and say in lines what was written. `meter(stage, unit)` shows how far it is.

    Raises RecipeError for options that do not go together, and what serving and writing raise.
    """
    if static is not None and against is not None:
        raise RecipeError("--static shows one corpus, so --against has no use", "leave it out, or take --export")
    if repo is not None and export is None:
        raise RecipeError("--repo tells a Space where the corpus is, so it needs --export", "add --export DIR")
    if static is not None and export is not None and static.resolve() == export.resolve():
        raise RecipeError(f"--static and --export: both are {static}", "give each a folder of its own")
    told = []
    if static is not None:
        from .static import LIMIT, write_static

        clips = Clips.open(run, limit=limit or LIMIT)
        with meter("static", " clips") as progress:
            told.append(f"page  {write_static(clips, static, progress)}")
    if export is not None:
        from .export import APP, write_space

        clips, other = Clips.open(run, limit=limit), Clips.open(against, limit=limit) if against else None
        with meter("export", " files") as progress:
            told.append(f"space {write_space(clips, export, repo, other, limit, progress) / APP}")
    if not told:
        from .serve import serve

        serve(run, against, host=host, port=port, limit=limit, browser=browser)
    return told
