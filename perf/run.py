"""Run every benchmark (or those named), then write RESULTS.md from the files they leave in perf/results/.

uv run perf/run.py [NAME...] [--quick] [--only-write]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
# These need recordings, a corpus, a GPU or packages of other environments: their first lines say how to run them.
ASIDE = (
    "annotation_peers",
    "basic_pitch_notes",
    "gpu",
    "heads",
    "musicnn_layers",
    "musicnn_package",
    "singing",
    "strategies",
    "synthesizers",
)
OTHERS = ("run", "table", *ASIDE)
SCRIPTS = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in OTHERS)
LONG = ("faults", "fuzz", "soak")  # an hour and more: run when named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(SCRIPTS)}")
    parser.add_argument("--quick", action="store_true", help="a minute a script at most")
    parser.add_argument("--only-write", action="store_true", help="write RESULTS.md from the files there are")
    options = parser.parse_args()
    if unknown := set(options.names) - set(SCRIPTS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    RESULTS.mkdir(exist_ok=True)
    for name in [] if options.only_write else options.names or sorted(set(SCRIPTS) - set(LONG)):
        print(f"== {name}", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(RESULTS / f"{name}.json")]
        subprocess.run(command + ["--quick"] * options.quick, check=True, cwd=HERE.parent)
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    (HERE / "RESULTS.md").write_text("".join(line + "\n" for line in page(found)))


def page(found: list[dict[str, Any]]) -> list[str]:
    """RESULTS.md: a table a script, with its machine and date."""
    lines = [
        "# Speed and fidelity, measured",
        "",
        "Written by `make perf` from `perf/results/*.json`: medians, with the spread of the ratio in brackets.",
        "A ratio compares the two sides of one run; milliseconds of different machines do not compare.",
    ]
    for result in found:
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        lines += ["", f"## {result['script']}", "", f"{result['device']}; {result['date']}; {versions}", ""]
        lines += ["| what | ours | peer | ratio | n | note |", "|---|---:|---:|---:|---:|---|"]
        for row in result["rows"]:
            peer = "" if row["peer"] is None else f"{row['peer']:.4g} {row['unit']} ({row['peer_name']})"
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
            if row["ratio_low"] is not None:
                ratio += f" [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"
            cells = (row["name"], f"{row['ours']:.4g} {row['unit']}", peer, ratio, row["n"], row["note"])
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return lines


if __name__ == "__main__":
    main()
