"""Training speed and memory: weitiao beside transformers' Trainer (with PEFT), in turn, in one run; prints medians and ratios.

    python benchmarks/train_speed.py WORK [--repeats 3] [--rows N] [--epochs N] [--levers] [--sides PART_OF_A_NAME]

WORK: lora, full, classify, entities, head, layers, pretrain; see WORKS below. Both sides get the same token ids and labels, so the same
rows; `score` is measured on the same held-out rows. Rates are real tokens or examples (padding is not counted) over the
time from the first forward to the last step, compiling and computing cached features included; `outside` is the time that
the whole command took, seen from here. --levers: instead of the rival, weitiao with one lever off at a time.

Keep the machine idle: only the ratios carry over to other machines. Data: the folder `shared/data` beside the project.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from quality import plain as as_written
from quality import value_of

from weitiao.core.contracts import IGNORED, Prediction
from weitiao.core.recipe import Recipe
from weitiao.evaluation import score
from weitiao.training.prepare import Prepared, encode, prepare

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes"
SHAKESPEARE = HERE.parent.parent / "shared" / "data" / "tinyshakespeare" / "input.txt"


@dataclass(frozen=True)
class Work:
    """One line of the table: a recipe, what is laid over it, and the rival's script with the same settings."""

    recipe: str
    rows: int
    overrides: tuple[str, ...]
    rival: str
    options: tuple[str, ...]
    score: str
    sides: tuple[tuple[str, tuple[str, ...]], ...]
    levers: tuple[str, ...]

    @property
    def unit(self) -> str:
        return "tokens_per_second" if self.rival == "trainer_sft.py" else "examples_per_second"


GROUPED = (("Trainer, defaults", ()), ("Trainer, group_by_length", ("--group-by-length",)))
PACKED = (
    "train.share_prefix=false",
    "train.packing=false",
    "train.packing=false,train.bucketing=false",
    "train.keep_memory=false",
    "train.pack_tokens=4096",
)
PADDED = ("train.packing=false", "train.packing=false,train.bucketing=false", "train.compact_vocabulary=false", "train.keep_memory=false")
CHAT = ("task.generate_rows=0", "evaluate.best=false", "data.test_share=0.05")
WORKS = {
    "lora": Work("alpaca.yaml", 64, CHAT, "trainer_sft.py", ("--method", "lora", "--rate", "2e-4"), "loss", GROUPED, PACKED),
    "full": Work(
        "alpaca.yaml", 64, (*CHAT, "method=full", "train.learning_rate=2e-5"), "trainer_sft.py", ("--method", "full", "--rate", "2e-5"), "loss", GROUPED, PACKED
    ),
    "classify": Work("sst2.yaml", 4000, ("train.epochs=1",), "trainer_classify.py", ("--train", ".*"), "accuracy", GROUPED, PADDED),
    "entities": Work(
        "conll2003.yaml",
        1500,
        ("train.epochs=1", "evaluate.best=false"),
        "reference_tokens.py",
        ("--epochs", "1", "--batch", "16", "--rate", "2e-4", "--warmup", "0.1", "--decay", "0.01"),
        "f1",
        GROUPED,
        PADDED,
    ),
    "head": Work(
        "sst2.yaml",
        4000,
        ("method.name=layers", "method.pattern=^classifier", "method.head=false", "train.learning_rate=1e-3"),
        "trainer_classify.py",
        ("--train", "^classifier", "--epochs", "3", "--rate", "1e-3"),
        "accuracy",
        GROUPED,
        ("train.cache_features=false", *PADDED[:1]),
    ),
    "layers": Work(
        "sst2.yaml",
        4000,
        ("method.name=layers", "method.last=2", "train.learning_rate=2e-4"),
        "trainer_classify.py",
        ("--train", r"^classifier|pooler|layer\.[45]\.", "--epochs", "3", "--rate", "2e-4"),
        "accuracy",
        GROUPED,
        ("train.cache_features=false", *PADDED[:1]),
    ),
    "pretrain": Work(
        "alpaca.yaml",
        16,
        ("task.name=language_modeling", "task.max_length=2048", "method=full", "train.learning_rate=2e-5", "train.batch_size=2", "evaluate.best=false"),
        "trainer_sft.py",
        ("--method", "full", "--rate", "2e-5", "--batch", "2"),
        "loss",
        (("Trainer, batch 2", ()), ("Trainer, batch 1 x 2", ("--batch", "1", "--accumulation", "2"))),
        ("train.keep_memory=false",),
    ),
}


def recipe(work: Work, rows: int) -> tuple[Recipe, list[str]]:
    overrides = [*work.overrides, f"data.train_rows={rows}"]
    if "task.name=language_modeling" in overrides:  # whole blocks of the length of the context
        overrides += ["data.name=text", f"data.train={SHAKESPEARE}", "data.block_characters=12000", "data.test_share=0.03", "task.end_token=false"]
    return Recipe.load(RECIPES / work.recipe, overrides=overrides), overrides


def plain(features: list, *, tokens: bool) -> list[dict]:
    """Return ids and labels as transformers wants them: the label of a position is the token that stands there."""
    return [{"input_ids": list(f.input_ids), "labels": [IGNORED, *f.target[:-1]] if tokens else f.target} for f in features]


def rivals(work: Work) -> list[tuple[str, tuple[str, ...]]]:
    """Return the rival's settings; on a GPU each with bf16 too, which weitiao chooses there by itself."""
    import torch

    both = [(f"{side}, bf16", (*options, "--bf16")) for side, options in work.sides] if torch.cuda.is_available() else []
    return [*work.sides, *both]


def rival(work: Work, prepared: Prepared, rows: Path, *options: str) -> dict:
    command = [sys.executable, HERE / "rivals" / work.rival, "--model", prepared.located.place, "--rows", rows, *work.options, *options]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    if said := found.pop("predictions", None):
        task, proof = prepared.recipe.task, prepared.data.proof
        values = [Prediction(row.id, value_of(task, value)) for row, value in zip(proof, said, strict=True)]
        found["score"] = round(score.value(task.metrics()[0], values, [row.target for row in proof]), 4)
    return found


def ours(work: Work, overrides: list[str], *options: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        # an empty cache of states, so that nothing is at hand that was computed before; models and rows stay
        command = [sys.executable, "-m", "weitiao", "train", RECIPES / work.recipe, *overrides, *options, "--out", f"{folder}/run", "--json"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        report = json.loads(done.stdout)
    score = report["metrics"][work.score]["after"]
    keys = (work.unit, "train_seconds", "peak_memory_gb")
    return {**{key: report[key] for key in keys}, "score": round(score["value"], 4), "low": score["low"], "high": score["high"]}


def forget_states() -> None:
    import shutil

    from weitiao.core import environment

    shutil.rmtree(environment.cache_folder() / "states", ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=list(WORKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--epochs", type=float, default=None)
    parser.add_argument("--levers", action="store_true")
    parser.add_argument("--sides", default="", help="part of the names of the rivals to measure, such as group")
    asked = parser.parse_args()
    work = WORKS[asked.work]
    if asked.epochs:
        work = replace(work, overrides=(*work.overrides, f"train.epochs={asked.epochs}"), options=(*work.options, "--epochs", str(asked.epochs)))
    loaded, overrides = recipe(work, asked.rows or work.rows)
    prepared, encoded = encode(prepare(loaded))
    with tempfile.TemporaryDirectory() as folder:
        rows, tokens = Path(folder) / "rows.json", work.unit == "tokens_per_second"
        if work.rival == "reference_tokens.py":  # which makes its own tokens
            parts = {"train": prepared.data.splits.train, "proof": prepared.data.proof}
            given = {name: as_written(prepared.recipe.task, part) for name, part in parts.items()}
        else:
            given = {"train": plain(encoded.train, tokens=tokens), "proof": plain(encoded.proof, tokens=tokens)}
        rows.write_text(json.dumps(given))
        sides = {"weitiao": lambda: ours(work, overrides)}
        if asked.levers:
            sides |= {f"weitiao, {lever.replace(',', ' ')}": (lambda lever=lever: ours(work, overrides, *lever.split(","))) for lever in work.levers}
        else:
            sides |= {side: (lambda options=options: rival(work, prepared, rows, *options)) for side, options in rivals(work) if asked.sides in side}
        found: dict[str, list[dict]] = {side: [] for side in sides}
        for repeat in range(asked.repeats):
            for side, measure in sides.items():
                forget_states()
                began = time.perf_counter()
                found[side].append({**measure(), "outside": round(time.perf_counter() - began, 1)})
                print(repeat + 1, side, found[side][-1], file=sys.stderr, flush=True)
    show(asked.work, work, found, examples=len(encoded.train), tokens=sum(map(len, encoded.train)))


def show(name: str, work: Work, found: dict[str, list[dict]], *, examples: int, tokens: int) -> None:
    middle = {side: {key: median(run[key] for run in runs) for key in runs[0]} for side, runs in found.items()}
    unit = work.unit.replace("_per_second", "/s")
    print(f"{name}: {examples} examples of {tokens} tokens in an epoch; medians of {len(next(iter(found.values())))} runs in turn\n")
    print(f"| side | {unit} | weitiao / side | {work.score} | peak GB | memory of weitiao / side | seconds | outside |\n|{'---|' * 8}")
    first = middle["weitiao"]
    for side, values in middle.items():
        interval = f" ({values['low']:.4f} to {values['high']:.4f})" if "low" in values else ""
        cells = [
            f"{values[work.unit]:.0f}",
            f"{first[work.unit] / values[work.unit]:.2f}",
            f"{values['score']:.4f}{interval}",
            f"{values['peak_memory_gb']:.2f}",
            f"{first['peak_memory_gb'] / values['peak_memory_gb']:.2f}",
            f"{values['train_seconds']:.0f}",
            f"{values['outside']:.0f}",
        ]
        print(f"| {' | '.join([side, *cells])} |")


if __name__ == "__main__":
    main()
