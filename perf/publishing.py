"""Publishing a corpus to a Hub on this machine: what the checks cost beside `upload_folder`; is memory flat?

uv run perf/publishing.py [--quick] [--json FILE]

The Hub is a process of its own that hashes what comes and keeps none of it. Each publication is a process of its own,
so that its peak memory is its own too. `send` is all but the check of the folder, which `upload_folder` has not.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import table

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder.corpus.building.build import build
from builder.corpus.card.card import write_card
from builder.corpus.corpus import write_sums
from builder.corpus.shards import read_footer, write_shard
from builder.recipe import Recipe

RECIPE = "{name: perf, prompts: {per_genre: 4}, generator: {name: tone, seconds: 10}, split: {validation: 0.1}}"
CLIP_BYTES = 4.3e5  # of ten seconds of the tone and its noise, about


def enlarge(corpus: Path, clips: int) -> None:
    """Let every shard hold its clip so many times, under ids of their own: a sound corpus in no time.

    A number behind each clip's last frame keeps Parquet from storing equal ones once.
    """
    import pyarrow.parquet as pq
    from datasets import Features

    for path in sorted((corpus / "data").glob("*.parquet")):
        footer, (row,) = read_footer(path), pq.read_table(path).to_pylist()
        rows = (
            [row | {"id": f"{row['id']}-{i}", "audio": row["audio"] | {"bytes": row["audio"]["bytes"] + b"%08d" % i}}]
            for i in range(clips)
        )
        write_shard(path, rows, Features.from_arrow_schema(pq.read_schema(path)), footer | {"planned": clips})
    write_card(corpus)
    write_sums(corpus, {})


def serve(place: str, port: multiprocessing.Queue[int]) -> None:
    """The Hub's process."""
    from tests.builder.hub.loopback_hub import LoopbackHub

    hub = LoopbackHub(Path(place), keep=False)
    port.put(hub.port)
    hub.thread.join()


def publish_with(how: str, corpus: Path) -> tuple[float, float, float]:
    """Seconds of the check and of sending, and peak bytes of memory, of a fresh process and a fresh Hub."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place:
        port = context.Queue()
        server = context.Process(target=serve, args=(place, port), daemon=True)
        server.start()
        environ = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{port.get()}",
            "HF_TOKEN": "hf_test",
            "HF_HOME": place,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        command = [sys.executable, __file__, "--one", how, str(corpus)]
        done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
        server.terminate()
    check, send, memory = json.loads(done.stdout.splitlines()[-1])
    return check, send, memory


def one(how: str, corpus: Path) -> None:
    """The process that publishes."""
    begun, checked = time.monotonic(), 0.0
    if how == "ours":
        from builder.hub import publish

        check = publish.check

        def timed(*arguments: object) -> None:
            nonlocal checked
            clock = time.monotonic()
            check(*arguments)  # type: ignore[arg-type]
            checked += time.monotonic() - clock

        publish.check = timed
        begun = time.monotonic()
        publish.publish(corpus, "org/perf", revision="v1")
    else:
        from huggingface_hub import HfApi

        begun = time.monotonic()
        HfApi().create_repo("org/perf", repo_type="dataset")
        HfApi().upload_folder(repo_id="org/perf", folder_path=corpus, repo_type="dataset")
    spent = time.monotonic() - begun
    print(json.dumps([checked, spent - checked, peak()]))


def peak() -> int:
    """The most memory that this process has held, in bytes; rusage would count what started it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])


def main() -> None:
    options = table.arguments(__doc__)
    from tests.builder import fakes

    fakes.register()
    gigabytes, rounds = (0.2, 1) if options.quick else (2.0, 3)
    place = Path(tempfile.mkdtemp())
    try:
        (place / "perf.yaml").write_text(RECIPE)
        build(Recipe.load(place / "perf.yaml"), place / "corpus", clips_per_shard=1, workers=1)
        enlarge(place / "corpus", round(gigabytes * 1e9 / CLIP_BYTES / 20))
        shards = list((place / "corpus/data").iterdir())
        size = sum(path.stat().st_size for path in shards)
        note = f"{size / 1e9:.2f} GB in {len(shards)} shards"
        pairs = [
            (publish_with("ours", place / "corpus"), publish_with("peer", place / "corpus")) for _ in range(rounds)
        ]
    finally:
        shutil.rmtree(place)
    ours, peers = zip(*pairs, strict=True)
    rows = [
        table.paired("send", "s", [run[1] for run in ours], [run[1] for run in peers], "upload_folder", note),
        table.row("check before it", "s", sorted(run[0] for run in ours)[rounds // 2], n=rounds, note=note),
        table.paired(
            "peak memory", "MB", [run[2] / 1e6 for run in ours], [run[2] / 1e6 for run in peers], "upload_folder", note
        ),
    ]
    table.finish("publishing", rows, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
