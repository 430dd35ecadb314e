"""Instruction tuning, SmolLM2-135M on alpaca: weitiao beside transformers' Trainer + PEFT, in turn, in one run.

    python benchmarks/chat.py [--method lora|full] [--steps 8 --repeats 3] [--sides group]

Without --steps one whole epoch, with the loss on the held-out rows; with --steps only speed and memory. Both sides get the
same token ids and labels, batch size 8, no warm-up, linear to zero, learning rate 2e-4 (LoRA) or 2e-5 (full). tokens/s are
real tokens, padding is not counted. Keep the machine idle: only the ratios carry over to other machines.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from weitiao.core.contracts import IGNORED
from weitiao.core.recipe import Recipe
from weitiao.training.prepare import encode, prepare

HERE = Path(__file__).parent
RECIPE = HERE.parent / "recipes" / "alpaca.yaml"

parser = argparse.ArgumentParser()
parser.add_argument("--method", choices=["lora", "full"], default="lora")
parser.add_argument("--steps", type=int, default=None)
parser.add_argument("--repeats", type=int, default=1)
parser.add_argument("--rows", type=int, default=None, help="training rows, at most")
parser.add_argument("--sides", default="", help="part of the names of the rivals to measure, such as group")
asked = parser.parse_args()
rate = "2e-4" if asked.method == "lora" else "2e-5"
overrides = ["task.generate_rows=0", f"train.learning_rate={rate}", *([f"method={asked.method}"] if asked.method == "full" else [])]
overrides += [f"data.train_rows={asked.rows}"] if asked.rows else []
overrides += ["data.test_share=0.02"] if asked.steps else []  # only speed is asked for: few rows are scored

prepared, encoded = encode(prepare(Recipe.load(RECIPE, overrides=overrides)))


def plain(features: list) -> list[dict]:
    """Return ids and labels as transformers wants them: the label of a position is the token that stands there."""
    return [{"input_ids": list(f.input_ids), "labels": [IGNORED, *f.target[:-1]]} for f in features]


folder = tempfile.TemporaryDirectory()
rows = Path(folder.name) / "rows.json"
rows.write_text(json.dumps({"train": plain(encoded.train), "proof": plain(encoded.proof)}))


def rival(*options: str) -> dict:
    steps = ["--steps", str(asked.steps)] if asked.steps else []
    command = [
        sys.executable,
        HERE / "rivals" / "trainer_sft.py",
        "--model",
        prepared.located.place,
        "--rows",
        rows,
        "--method",
        asked.method,
        *steps,
        *options,
    ]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def ours(*options: str) -> dict:
    with tempfile.TemporaryDirectory() as run:
        steps = [f"train.steps={asked.steps}"] if asked.steps else []
        command = [sys.executable, "-m", "weitiao", "train", RECIPE, *overrides, *steps, *options, "--out", f"{run}/run", "--json"]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = {key: report[key] for key in ("tokens_per_second", "train_seconds", "peak_memory_gb")}
    loss = report["metrics"]["loss"]
    said = {"loss": round(loss["after"]["value"], 4), "before": round(loss["before"]["value"], 4)}
    return {**found, **said, "low": round(loss["after"]["low"], 4), "high": round(loss["after"]["high"], 4)}


SIDES = {
    "weitiao": ours,
    "Trainer, defaults": rival,
    "Trainer, group_by_length": lambda: rival("--group-by-length"),
    "Trainer, bf16 weights, group_by_length": lambda: rival("--bf16-weights", "--group-by-length"),
}
SIDES = {side: measure for side, measure in SIDES.items() if side == "weitiao" or asked.sides in side}
found: dict[str, list[dict]] = {side: [] for side in SIDES}
for repeat in range(asked.repeats):
    for side, measure in SIDES.items():
        found[side].append(measure())
        print(repeat + 1, side, found[side][-1], file=sys.stderr, flush=True)

middle = {side: {key: median(run[key] for run in runs) for key in runs[0]} for side, runs in found.items()}
print(f"| side | tokens/s | weitiao / side | held-out loss | seconds | peak GB |\n|{'---|' * 6}")
for side, values in middle.items():
    ratio = middle["weitiao"]["tokens_per_second"] / values["tokens_per_second"]
    interval = f" ({values['low']:.4f} to {values['high']:.4f})" if "low" in values else ""
    loss = f"{values['loss']:.4f}{interval}" if "loss" in values and not asked.steps else ""
    cells = [f"{values['tokens_per_second']:.0f}", f"{ratio:.2f}", loss, f"{values['train_seconds']:.0f}", f"{values['peak_memory_gb']:.2f}"]
    print(f"| {' | '.join([side, *cells])} |")
