"""Forecast beside what happened, over a grid of small real runs, each in a fresh process; prints ratios, and the worst and the median error.

    python benchmarks/forecast.py [--kept FILE] [--only PART] [--again]

Every run is appended to FILE with its peak memory and its times. A run that FILE holds already is not run again, so after a
change of `inspect/forecast.py` the same command shows at once what the change does. Times mean something only on an idle
machine; memory does not care. The last lines fit the constants of `inspect/forecast.py` to the runs: one factor for all
times, and what the memory forecast leaves over.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes"
ENCODER = ["data.train_rows=300", "data.test_share=0.05", "train.steps=6", "evaluate.best=false"]
DECODER = ["data.test_share=0.02", "task.generate_rows=0", "train.steps=3"]


def grid() -> dict[str, tuple[Path, list[str]]]:
    """Return name -> recipe and overrides."""
    found: dict[str, tuple[Path, list[str]]] = {}
    for method, length, rows in itertools.product(("full", "layers", "lora"), (64, 256), (8, 32)):
        found[f"minilm {method}, {rows} x {length}"] = (
            RECIPES / "quickstart.yaml",
            [*ENCODER, f"method={method}", f"task.max_length={length}", f"train.batch_size={rows}"],
        )
    for method in ("full", "lora"):
        checkpointed = [*ENCODER, f"method={method}", "task.max_length=256", "train.batch_size=32", "train.gradient_checkpointing=true"]
        found[f"minilm {method}, 32 x 256, checkpointing"] = (RECIPES / "quickstart.yaml", checkpointed)
    found["minilm full, sentences"] = (RECIPES / "sst2.yaml", ["data.train_rows=2000", "train.steps=30"])
    for method, (rows, packed) in itertools.product(("lora", "full"), ((8, 2048), (32, 512), (32, 2048))):
        more = [f"method={method}", f"train.batch_size={rows}", f"train.pack_tokens={packed}"]
        found[f"smollm2 {method}, {rows} rows in packs of {packed}"] = (RECIPES / "alpaca.yaml", [*DECODER, *more])
    for method in ("lora", "full"):
        more = [f"method={method}", "train.batch_size=32", "train.gradient_checkpointing=true"]
        found[f"smollm2 {method}, 32 rows, checkpointing"] = (RECIPES / "alpaca.yaml", [*DECODER, *more])
    found["smollm2 lora, padded"] = (RECIPES / "alpaca.yaml", [*DECODER, "train.packing=false"])
    return found


def child(recipe: str, overrides: list[str]) -> None:
    """Train in this process and print what it took: GB at the peak before the first step and in all, seconds of each part."""
    import weitiao
    from weitiao.core.events import Begun, Ended, Phase

    peaks, times = {}, {}

    def gigabytes() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9

    def recorder(event: object) -> None:
        if isinstance(event, Begun | Ended | Phase):
            name = event.said if isinstance(event, Phase) else type(event).__name__
            times.setdefault(name, time.monotonic() - began)
            peaks.setdefault(name, gigabytes())

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        report = weitiao.train(recipe, overrides=overrides, out=f"{folder}/run", recorders=[recorder])
    keys = ("peak_memory_gb", "train_seconds", "total_seconds", "steps", "tokens_seen")
    print(json.dumps({**{key: report[key] for key in keys}, "machine": report["machine"]["threads"], "peaks": peaks, "times": times}))


def measured(kept: Path | None, name: str, recipe: Path, overrides: list[str], *, again: bool) -> dict | None:
    """Return what a run took: from the file, or by running it."""
    if kept is not None and kept.is_file() and not again:
        for line in reversed(kept.read_text(encoding="utf-8").splitlines()):
            if json.loads(line)["name"] == name:
                return json.loads(line)
    done = subprocess.run([sys.executable, __file__, "--child", recipe, *overrides], capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    found = {"name": name, **json.loads(done.stdout.splitlines()[-1])}
    if kept is not None:
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kept", type=Path, default=None)
    parser.add_argument("--only", default="", help="part of the names of the runs")
    parser.add_argument("--again", action="store_true", help="run what FILE holds once more")
    asked = parser.parse_args()
    for name, (recipe, overrides) in grid().items():
        if asked.only in name:
            print(measured(asked.kept, name, recipe, overrides, again=asked.again), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        main()
