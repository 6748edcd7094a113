"""Console output of publishing: addresses and code that loads what was published, or the plan of a dry run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .publish import Target


def format_targets(targets: Sequence[Target], dry_run: bool = False) -> Iterator[str]:
    """Format what `publish` returned.

    Args:
        targets: The repositories.
        dry_run: Whether to list the files instead.

    Yields:
        Lines of text.
    """
    for number, target in enumerate(targets):
        if number:
            yield ""
        if dry_run:
            yield from _format_plan(target)
            continue
        yield f"{target.part}  {target.pull_url or target.address}" + (f"  ({target.tag})" if target.tag else "")
        yield from (f"    {line}" for line in target.lines)


def _format_plan(target: Target) -> Iterator[str]:
    size = sum(item.size for item in target.send)
    new = "" if target.head else ", a new repository"
    yield f"{target.part}  {target.address}{new}"
    for item in target.send:
        yield f"  send    {_format_bytes(item.size):>9}  {item.path}"
    for path in target.delete:
        yield f"  delete  {'':>9}  {path}"
    sent, kept = len(target.send), target.total - len(target.send)
    yield f"  {sent} file(s), {_format_bytes(size)} to send; {kept} there already; {len(target.delete)} to delete"


def _format_bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
