"""What many rows cost before the first step: seconds and peak memory of `weitiao train --plan`, each size in a fresh process.

    python benchmarks/scale_rows.py [--rows 1000 10000 100000 1000000] [--model minilm]

Synthetic rows: one short sentence and one of two labels. A plan reads the rows, splits them, tokenizes all splits and counts
a model without weights. Each size runs twice over a cache that begins empty: the second run finds the token ids of the first.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

NOUNS = ("film", "story", "actor", "ending", "scene", "picture", "script", "song", "camera", "director", "joke", "plot", "cast", "mood", "dialogue")
WORDS = {"good": ("fine", "warm", "bright", "moving", "witty", "graceful"), "bad": ("dull", "flat", "tired", "clumsy", "noisy", "hollow")}


def write(path: Path, rows: int) -> None:
    """Write rows of about twelve words; a number in each keeps texts from being equal."""
    draw = random.Random(rows)
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for n in range(rows):
            label = draw.choice(("good", "bad"))
            said = " ".join(f"the {draw.choice(NOUNS)} was {draw.choice(WORDS[label])}" for _ in range(draw.randint(2, 4)))
            file.write(f"review {n}: {said},{label}\n")


def planned(recipe: Path, home: Path) -> tuple[float, float]:
    """Return seconds and peak memory (GB) of one process that plans a recipe."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    command = [sys.executable, "-m", "weitiao", "train", str(recipe), "--plan", "--json"]
    child = os.posix_spawn(sys.executable, command, environment, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"the plan of {recipe} failed")
    return time.monotonic() - began, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--once", action="store_true", help="leave out the second run")
    asked = parser.parse_args()
    print(f"| rows | seconds | rows/s | peak GB | again: seconds | rows/s | peak GB |\n|{'---|' * 7}")
    for rows in asked.rows:
        with tempfile.TemporaryDirectory() as folder:
            top = Path(folder)
            write(top / "rows.csv", rows)
            (top / "recipe.yaml").write_text(f"model: {asked.model}\ndata: {{name: csv, train: rows.csv}}\ntask: text_classification\n", encoding="utf-8")
            cells = []
            for _ in range(1 if asked.once else 2):
                seconds, peak = planned(top / "recipe.yaml", top / "home")
                cells += [f"{seconds:.1f}", f"{rows / seconds:,.0f}", f"{peak:.2f}"]
            print(f"| {rows:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
