"""Forecast beside what happened, over a grid of small real runs, each in a fresh process; prints ratios, and the worst and the median error.

    python benchmarks/forecast.py [--kept FILE] [--only PART] [--again] [--run COMMAND]

Every run is appended to FILE with its peak memory and its times. A run that FILE holds already is not run again, so after a
change of `inspect/forecast.py` the same command shows at once what the change does. Times mean something only on an idle
machine; memory does not care. The last lines fit the times of `Fitted` in `inspect/forecast.py` to the runs, by least squares
of relative errors; its memory is fitted by hand, a row of the table at a time.
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

import numpy as np
import torch
from scipy.optimize import nnls

from weitiao.core.recipe import Recipe
from weitiao.training.plan import facts, make_plan, promised
from weitiao.training.prepare import encode, prepare

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes"
ENCODER = ["data.train_rows=300", "data.test_share=0.05", "train.steps=6", "evaluate.best=false"]
DECODER = ["data.test_share=0.02", "task.generate_rows=0", "train.steps=3"]


KINDS = {
    "products": "products",
    "elementwise": "elementwise",
    "attention": "attention",
    "mapped": "mapped",
    "operations": "operation_s",
    "optimizer": "optimizer",
    "steps": "step_s",
}
"""Kind of work -> the number of `Fitted` that it is multiplied with."""


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
    print(json.dumps({**{key: report[key] for key in keys}, "threads": report["machine"]["threads"], "peaks": peaks, "times": times}))


def measured(kept: Path | None, name: str, recipe: Path, overrides: list[str], *, again: bool, before: list[str]) -> dict | None:
    """Return what a run took: from the file, or by running it."""
    if kept is not None and kept.is_file() and not again:
        for line in reversed(kept.read_text(encoding="utf-8").splitlines()):
            if json.loads(line)["name"] == name:
                return json.loads(line)
    done = subprocess.run([*before, sys.executable, __file__, "--child", recipe, *overrides], check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    found = {"name": name, **json.loads(done.stdout.splitlines()[-1])}
    if kept is not None:
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
    return found


def looked_at(recipe: Path, overrides: list[str], found: dict) -> tuple[dict, dict[str, float]]:
    """Return the forecast for a run as the present code makes it, with as many threads as the run had, and the work of its mean step."""
    torch.set_num_threads(found["threads"])
    asked = Recipe.load(recipe, overrides=overrides)
    prepared, encoded = encode(prepare(asked))
    known = facts(asked, prepared, encoded)
    made = make_plan(asked, known)
    steps = promised(asked, known, made, range(found["steps"]))
    return made.forecast, {kind: sum(work[kind] for work in steps) / len(steps) for kind in steps[0]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kept", type=Path, default=None)
    parser.add_argument("--only", default="", help="part of the names of the runs")
    parser.add_argument("--again", action="store_true", help="run what FILE holds once more")
    parser.add_argument("--run", default="", help="command before each run, such as `nice`")
    asked = parser.parse_args()
    errors: dict[str, list[float]] = {"memory": [], "time": []}
    rows, seconds = [], []
    print(f"| run | GB forecast | GB | ratio | s/step forecast | s/step | ratio |\n|{'---|' * 7}")
    for name, (recipe, overrides) in grid().items():
        if asked.only not in name or (found := measured(asked.kept, name, recipe, overrides, again=asked.again, before=asked.run.split())) is None:
            continue
        forecast, work = looked_at(recipe, overrides, found)
        took = found["train_seconds"] / found["steps"]
        ratios = {"memory": forecast["memory_gb"] / found["peak_memory_gb"], "time": forecast["seconds_per_step"] / took}
        for what, ratio in ratios.items():
            errors[what].append(abs(ratio - 1))
        rows.append([work[kind] / took for kind in KINDS])
        seconds.append(took)
        cells = [f"{forecast['memory_gb']:.2f}", f"{found['peak_memory_gb']:.2f}", f"{ratios['memory']:.2f}"]
        cells += [f"{forecast['seconds_per_step']:.3f}", f"{took:.3f}", f"{ratios['time']:.2f}"]
        print(f"| {' | '.join([name, *cells])} |", flush=True)
    for what, sizes in errors.items():
        print(f"{what}: worst error {max(sizes):.0%}, median {median(sizes):.0%}, over {len(sizes)} runs")
    fitted, _ = nnls(np.array(rows), np.ones(len(rows)))  # relative errors count, so that short steps weigh as much as long ones
    print("Fitted(" + ", ".join(f"{field}={value:.3g}" for field, value in zip(KINDS.values(), fitted, strict=True)) + ")")
    left = np.array(rows) @ fitted - 1
    print(f"with these: worst error of time {np.abs(left).max():.0%}, median {np.median(np.abs(left)):.0%}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        main()
