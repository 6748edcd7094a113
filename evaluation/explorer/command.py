"""The command `synthmir explore`: serve the explorer's page, or write it as plain files or as a Space."""

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
    """Serve the page until Ctrl-C, or write it.

    Args:
        run: A run, a corpus folder, or NAMESPACE/NAME[@REVISION] on the Hub.
        against: Another one to compare it with.
        host: The address to listen on.
        port: 0 takes any free port.
        limit: How many clips at most, evenly from all genres.
        export: Write a Space into this folder instead of serving.
        static: Write plain files into this folder instead of serving.
        repo: Where the Space finds the corpus on the Hub. Default: it is copied into the Space.
        browser: Open the page in the user's browser.
        meter: Called with a stage's name and unit; gives the function that reports (done, total).

    Returns:
        Lines that name the files that were written.

    Raises:
        RecipeError: The options do not go together.
        BackendError: Gradio is not installed, or the port is taken.
        DataError: The run is not a corpus, or an output folder holds other files.
        HubError: The repository cannot be read.
    """
    if static is not None and against is not None:
        raise RecipeError("--static shows one corpus, so --against has no use", "leave it out, or use --export")
    if repo is not None and export is None:
        raise RecipeError("--repo is where a Space finds its corpus, so it needs --export", "add --export DIR")
    if static is not None and export is not None and static.resolve() == export.resolve():
        raise RecipeError(f"--static and --export: both are {static}", "give each its own folder")
    written = []
    if static is not None:
        from .static_page import DEFAULT_LIMIT, write_static_page

        clips = Clips.open(run, limit=limit or DEFAULT_LIMIT)
        with meter("static", " clips") as progress:
            written.append(f"page  {write_static_page(clips, static, progress)}")
    if export is not None:
        from .export import APP, write_space

        clips, other = Clips.open(run, limit=limit), Clips.open(against, limit=limit) if against else None
        with meter("export", " files") as progress:
            written.append(f"space {write_space(clips, export, repo, other, limit, progress) / APP}")
    if not written:
        from .server import serve

        serve(run, against, host=host, port=port, limit=limit, browser=browser)
    return written
