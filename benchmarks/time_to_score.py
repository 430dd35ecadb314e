"""Time to a score: how long weitiao trains until dev is as good as it is after the whole training of transformers' Trainer.

    python benchmarks/time_to_score.py [--repeats 3] [--rows 4000]

MiniLM on rows of SST-2, every weight, three epochs. The Trainer runs with its defaults and with length groups, at the usual
settings (5e-5, batch 32); weitiao with `recipes/sst2_recommended.yaml`, dev scored every 16 steps. Seconds are those of training
on both sides, the scoring of dev not counted on either. Data: the folder `shared/data` beside the project.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median

from train_speed import GROUPED, RECIPES, WORKS, plain, rival

import weitiao
from weitiao.core.recipe import Recipe
from weitiao.training.prepare import encode, prepare

parser = argparse.ArgumentParser()
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--rows", type=int, default=4000)
asked = parser.parse_args()

RECIPE, EVERY = RECIPES / "sst2_recommended.yaml", 16
overrides = [f"data.train_rows={asked.rows}", f"evaluate.every={EVERY}"]
prepared, encoded = encode(prepare(Recipe.load(RECIPE, overrides=overrides)))


def curve(folder: str) -> list[tuple[float, float]]:
    """Train, and return (seconds of training, accuracy on dev) along the way."""
    weitiao.train(RECIPE, overrides=overrides, out=f"{folder}/run", recorders=[])
    found, seconds = [], 0.0
    for line in Path(f"{folder}/run/log.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["event"] == "step":
            seconds = event["train_seconds"]
        elif event["event"] == "evaluated":
            found.append((seconds, event["metrics"]["accuracy"]))
    return found


ratios: dict[str, list[float]] = {side: [] for side, _ in GROUPED}
with tempfile.TemporaryDirectory() as folder:
    rows = Path(folder) / "rows.json"
    rows.write_text(json.dumps({"train": plain(encoded.train, tokens=False), "proof": plain(encoded.dev, tokens=False)}))
    print("| run | side | seconds | its last score | weitiao got there after | share of its time |\n|---|---|---|---|---|---|")
    for turn in range(asked.repeats):
        with tempfile.TemporaryDirectory() as own:
            ours = curve(own)
        for side, options in GROUPED:
            found = rival(WORKS["classify"], prepared, rows, "--epochs", "3", *options)
            reached = next((seconds for seconds, score in ours if score >= found["score"]), float("inf"))
            ratios[side].append(reached / found["train_seconds"])
            print(f"| {turn + 1} | {side} | {found['train_seconds']:.0f} | {found['score']:.4f} | {reached:.1f} s | {ratios[side][-1]:.2f} |", flush=True)
for side, shares in ratios.items():
    print(f"{side}: {median(shares):.2f} of its time, median of {len(shares)}")
