"""What the benchmarks share: their options, one table on the screen, and the file that RESULTS.md is written from."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from builder.records import describe_device, package_versions


def arguments(description: str | None) -> argparse.Namespace:
    """The options of every benchmark: quick, device, json."""
    return make_parser(description).parse_args()


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """The parser of these options, for benchmarks that have more."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute at most on two cores")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there as well")
    return parser


def row(
    name: str,
    unit: str,
    ours: float,
    peer: float | None = None,
    peer_name: str = "",
    n: int = 1,
    note: str = "",
    spread: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """One line: ours beside the peer's, and their ratio ours / peer with its lowest and highest of `n` rounds."""
    low, high = spread or (None, None)
    return {
        "name": name,
        "unit": unit,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": ours / peer if peer else None,
        "ratio_low": low,
        "ratio_high": high,
        "n": n,
        "note": note,
    }


def paired(
    name: str, unit: str, ours: Sequence[float], peer: Sequence[float], peer_name: str, note: str = ""
) -> dict[str, Any]:
    """One line from interleaved rounds: medians, the median of the rounds' ratios, and the spread of these."""
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
    line = row(
        name,
        unit,
        statistics.median(ours),
        statistics.median(peer),
        peer_name,
        len(ratios),
        note,
        (min(ratios), max(ratios)),
    )
    return line | {"ratio": statistics.median(ratios)}


def finish(script: str, rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the table; write it where `--json` says."""
    cells = [("what", "ours", "peer", "ratio", "n", "note")]
    for line in rows:
        ratio = "" if line["ratio"] is None else f"{line['ratio']:.2f}"
        if line["ratio_low"] is not None:
            ratio += f" [{line['ratio_low']:.2f}, {line['ratio_high']:.2f}]"
        peer = "" if line["peer"] is None else f"{line['peer']:.4g} ({line['peer_name']})"
        cells.append((line["name"], f"{line['ours']:.4g} {line['unit']}", peer, ratio, str(line["n"]), line["note"]))
    widths = [max(len(cell[column]) for cell in cells) for column in range(len(cells[0]))]
    for cell in cells:
        print("  ".join(text.ljust(width) for text, width in zip(cell, widths, strict=True)).rstrip())
    print(f"\n{described()}")
    if options.json is not None:
        save(options.json, script, rows)


def described() -> str:
    """The machine and the packages, in a line."""
    return f"{describe_device()}; " + ", ".join(f"{name} {version}" for name, version in package_versions().items())


def save(file: Path, script: str, rows: list[dict[str, Any]], **more: Any) -> None:
    """Write the file that RESULTS.md is made from; `more` is for those who look closer."""
    about = {"script": script, "date": datetime.now(UTC).date().isoformat(), "device": describe_device()}
    content = about | {"versions": package_versions(), "rows": rows} | more
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
