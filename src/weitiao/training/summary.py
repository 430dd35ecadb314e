"""The report of a run, as plain values: scores before and after, what changed, curves, cost, and where it ran."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from weitiao.core import fingerprint, report, rundir
from weitiao.core.contracts import Capability, Prediction, Task
from weitiao.core.plan import Plan
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Row
from weitiao.core.version import __version__
from weitiao.evaluation import score
from weitiao.evaluation.changes import changes
from weitiao.inspect.machine import machine
from weitiao.models.load import auto_class
from weitiao.record import jsonl
from weitiao.training import state
from weitiao.training.features import FeatureTable
from weitiao.training.prepare import Encoded, Prepared


@dataclass(frozen=True)
class Outcome:
    """Predictions on the proof rows, before and after, and those of the baselines."""

    before_is: str
    before: list[Prediction]
    after: list[Prediction]
    baselines: dict[str, list[Any]]


def summarise(
    asked: Recipe,
    prepared: Prepared,
    plan: Plan,
    folder: rundir.RunFolder,
    progress: state.Progress,
    *,
    outcome: Outcome,
    encoded: Encoded,
    notes: Sequence[str],
    peak_memory_gb: float,
    began: float,
) -> dict[str, Any]:
    """Return the report but for the artifact's hash. began: monotonic time since which `progress` was not told."""
    recipe, task, data = prepared.recipe, prepared.recipe.task, prepared.data
    targets = [row.target for row in data.proof]
    compared = {metric.name: score.compare(metric, outcome.before, outcome.after, targets) for metric in task.metrics()}
    metrics = {name: entry for name, entry in compared.items() if entry is not None}
    main = task.metrics()[0].name
    baselines = {name: _scores(task, values, data.proof, outcome.after) for name, values in outcome.baselines.items()}
    tables = [task.breakdown([p.value for p in side], targets) for side in (outcome.before, outcome.after)]
    proof_name = f"proof ({data.split})"
    features = {"train": encoded.train, "dev": encoded.dev, proof_name: encoded.proof}
    seconds = max(progress.train_seconds, 1e-9)
    found: dict[str, Any] = {
        "format": 1,
        "name": folder.path.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "weitiao": __version__,
        "run": str(folder.path.resolve()),
        "artifact": str(folder.artifact.resolve()),
        "report": str(folder.report.resolve()),
        "model": recipe.model_name,
        "task": task.name,
        "method": recipe.method.title,
        "opens_with": _opens_with(prepared),
        "verdict": report.verdict(
            main,
            metrics[main],
            before_is=outcome.before_is,
            split=data.split,
            trivial_is=task.trivial_is,
            trivial=baselines.get(task.trivial_is, {}).get(main, {}).get("value"),  # a text without a model has no likelihood
        ),
        "split": data.split,
        "split_said": data.splits.said,
        "selected_on_same_rows": data.selected_on_same_rows,
        "before_is": outcome.before_is,
        "main_metric": main,
        "metrics": metrics,
        "baselines": baselines,
        "changes": changes(task, data.proof, outcome.before, outcome.after),
        "curves": _curves(jsonl.read(folder.log), main, progress.best_step),
        "rows": {**data.splits.sizes(), "proof": len(data.proof)},
        "skipped": {name: asdict(left) for name, left in data.splits.skipped.items() if left.count},
        "cut": {name: cut for name, items in features.items() if (cut := _cut(items))},
        "left_out": {proof_name if name == "proof" else name: found for name, found in encoded.left_out.items()},
        "divided": {proof_name if name == "proof" else name: found for name, found in encoded.divided.items()},
        "stopped_early": progress.stopped_early,
        "best_step": progress.best_step,
        "steps": progress.step,
        "epochs": round(progress.step / plan.steps_per_epoch, 3),
        "train_seconds": round(progress.train_seconds, 3),
        "total_seconds": round(progress.total_seconds + time.monotonic() - began, 3),
        "tokens_seen": progress.tokens_seen,
        "examples_seen": progress.examples_seen,
        "tokens_per_second": round(progress.tokens_seen / seconds, 1),
        "examples_per_second": round(progress.examples_seen / seconds, 1),
        "peak_memory_gb": round(peak_memory_gb, 3),
        "forecast": plan.forecast,
        **_held(plan.forecast, seconds, progress.step, peak_memory_gb),
        "parameters": plan.parameters,
        "machine": {**machine().as_dict(), "device": plan.device, "dtype": plan.dtype, "threads": plan.threads},
        "notes": list(notes),
        "recipe": recipe.settings(),
        "recipe_yaml": asked.as_yaml(),
        "plan": plan.settings(),
        "next": _next(shlex.quote(str(folder.artifact.resolve())), talks=task.takes == "conversations"),
        "hashes": {"proof_rows": fingerprint.of_texts(part for row in data.proof for part in (row.id, row.text, repr(row.target))), "recipe": plan.recipe},
    }
    if "per_class" in tables[0]:
        found["per_class"] = [
            {"label": b["label"], "n": b["n"], "before": _without(b), "after": _without(a)}
            for b, a in zip(tables[0]["per_class"], tables[1]["per_class"], strict=True)
        ]
    if "confusion" in tables[0]:
        before, after = (table["confusion"] for table in tables)
        found["confusion"] = {"labels": before["labels"], "before": before["counts"], "after": after["counts"]}
    return found


def _held(forecast: dict[str, Any], seconds: float, steps: int, memory_gb: float) -> dict[str, Any]:
    """Return what happened as a share of the forecast; nothing where an earlier version made the forecast."""
    if not forecast.get("seconds_per_step") or not forecast.get("memory_gb") or not steps:
        return {}
    held = {"time": seconds / steps / forecast["seconds_per_step"], "memory": memory_gb / forecast["memory_gb"]}
    return {"forecast_held": {name: round(share, 3) for name, share in held.items()}}


def _next(artifact: str, *, talks: bool) -> list[str]:
    """Return the commands that use an artifact."""
    return [*([f"weitiao predict {artifact} --chat"] if talks else []), f"weitiao predict {artifact} FILE", f"weitiao evaluate {artifact} FILE"]


def _opens_with(prepared: Prepared) -> dict[str, Any]:
    """Return what plain transformers or PEFT needs to know to open the artifact."""
    task, method = prepared.recipe.task, prepared.recipe.method
    found: dict[str, Any] = {
        "auto_class": auto_class(task.head, prepared.config),
        "folder": method.folder,
        "takes": task.takes,
    }
    found |= {name: task.head.config[name] for name in ("num_labels", "problem_type") if name in task.head.config}
    if method.capabilities & {Capability.ADDITION, Capability.QUANTIZED}:
        found["needs"] = "weitiao"
    elif found["folder"] == "delta":
        found["delta"] = "entries" if Capability.ENTRIES in method.capabilities else "tensors"
    if task.joins_texts:
        found["pair"] = prepared.tokenizer.pair_form()
    if found["auto_class"] == "AutoModelForCausalLM":
        found["ends"] = sorted(prepared.tokenizer.ends)
    return found


def _scores(task: Task, values: Sequence[Any], rows: Sequence[Row], after: Sequence[Prediction]) -> dict[str, Any]:
    """Return the scores of a baseline, each on the rows on which after is scored: generated texts there are for some rows only."""
    found = {}
    for metric in task.metrics():
        chosen = [n for n, prediction in enumerate(after) if metric.applies(prediction)]
        found[metric.name] = score.score(metric, [Prediction.of(rows[n].id, values[n]) for n in chosen], [rows[n].target for n in chosen])
    return {name: entry for name, entry in found.items() if entry is not None}


def _without(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in ("label", "n")}


def _cut(features: FeatureTable) -> dict[str, Any] | None:
    long = features.cuts[features.cuts > 0]
    rows = len(np.unique(features.numbers))  # a row read in several windows counts once
    return {"rows": len(long), "share": round(len(long) / rows, 4), "tokens": int(long.sum())} if len(long) else None


def _curves(events: Sequence[dict[str, Any]], main: str, best_step: int | None) -> dict[str, Any]:
    steps = [event for event in events if event["event"] == "step"]
    judged = [event for event in events if event["event"] == "evaluated"]
    return {
        "train_loss": [[e["step"], e["loss"]] for e in steps],
        "learning_rate": [[e["step"], e["learning_rate"]] for e in steps],
        "gradient_norm": [[e["step"], e["gradient_norm"]] for e in steps],
        "dev_loss": [[e["step"], e["metrics"]["loss"]] for e in judged],
        "dev_metric": {"name": main, "points": [[e["step"], e["metrics"][main]] for e in judged], "best_step": best_step},
    }
