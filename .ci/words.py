"""Words that keep a reader out, and the field's term for each: the check of `make check`.

`python .ci/words.py [PATH ...]` prints each place of one, and exits with 1 if there is any. With `--count` it prints a
number a file.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSTEAD = {  # a pattern, as a whole word or a part of an identifier -> what to write
    "tell|tells|told|telling|retell|retells|retold": "report, describe, map, relabel",
    "hear|hears|heard|hearer|hearers|hearing": "embed, embedded, predict, predicted",
    "mend|mends|mended|mending": "repair, repaired",
    "harm|harms|harmed|harming": "damage, damaged",
    "stranger|strangers|anybody": "untrusted",
    "judge|judges|judged|judging": "evaluate, metric, prediction",
    "anew": "again",
    "thrice": "three times",
    "nought": "zero",
    "of ours|our own": "synthmir's, or nothing",
    "as ever": "(leave it out)",
    "whole or not at all": "atomically",
    "no number|no numbers": "NaN, non-finite",
    "goes on|go on|going on|went on": "resumes, continues",
    "in words": "as text",
    "a word on": "about",
}
# Keys in files of 0.1, which stay readable; names of packages and data sets.
ON_DISK = re.compile(r'PROGRESS_KEY = "told"|mended_shards|hear21passt|HEAR 2021|hearbenchmark/hear-leaderboard')
KINDS = {".py", ".md", ".jinja", ".yaml", ".toml", ".js", ".css", ".c", ".json", ".ipynb"}
EXEMPT = re.compile(r"\.ci/words\.py|builder/taxonomies/.*")  # prompts' texts, which must not change
WORD = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(INSTEAD)})(?![A-Za-z])", re.IGNORECASE)


def instead(word: str) -> str:
    """The field's terms for a word."""
    return next(terms for pattern, terms in INSTEAD.items() if re.fullmatch(pattern, word, re.IGNORECASE))


def main(arguments: list[str]) -> int:
    """Print the places, or the count of each file."""
    paths = [argument for argument in arguments if not argument.startswith("--")]
    listed = subprocess.run(["git", "ls-files", "-z", *paths], cwd=ROOT, check=True, capture_output=True, text=True)
    counts: Counter[str] = Counter()
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix not in KINDS or EXEMPT.fullmatch(name) or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in WORD.finditer(ON_DISK.sub("", line)):
                counts[name] += 1
                if "--count" not in arguments:
                    print(f"{name}:{number}: {match[0]!r}; fix: write {instead(match[0])}")
    if "--count" in arguments:
        print("\n".join(f"{count:5} {name}" for name, count in sorted(counts.items())))
    if counts:
        print(f"{counts.total()} in {len(counts)} files")
    return bool(counts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
