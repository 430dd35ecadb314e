"""From runs to a pick: ranks on dev, what is not told apart on the proof rows, and what nothing beats at its size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from weitiao.core.contracts import Prediction
from weitiao.core.recipe import Recipe
from weitiao.core.report import digits_of, number, p_in_words
from weitiao.evaluation import score
from weitiao.training.prepare import prepare

TOLD_APART = 0.05
"""Chance below which two methods are told apart."""


def ranked(found: Mapping[str, Any]) -> list[str]:
    """Return the methods that were trained, the best on dev first: by the mean over seeds, of equal ones the smaller."""
    rows = _by_method(found)
    return sorted(rows, key=lambda name: (-_good(rows[name]), rows[name][0]["trainable"]))


def of(found: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return `methods` (one entry each, the best first), `pick` and `sentence`."""
    rows = _by_method(found)
    names = ranked(found)
    pick = names[0]
    apart = _tests(recipe, {name: rows[name][0] for name in names}, pick)
    chosen = in_front([(_good(rows[name]), rows[name][0]["trainable"]) for name in names])
    front = {names[n] for n in chosen}
    methods = []
    for name in names:
        first, dev = rows[name][0], [one["dev"] for one in rows[name]]
        methods.append(
            {
                **{key: value for key, value in first.items() if key not in ("number", "seed", "dev")},
                "dev": fmean(dev),
                "dev_deviation": stdev(dev) if len(dev) > 1 else None,
                "seeds": [{key: one[key] for key in ("seed", "dev", "proof", "run")} for one in rows[name]],
                "p_value": apart.get(name),
                "in_front": name in front,
            }
        )
    return {"methods": methods, "pick": pick, "sentence": sentence(methods)}


def sentence(methods: Sequence[Mapping[str, Any]]) -> str:
    """Return why the first method is the pick, and which smaller one does as well as far as the rows can tell."""
    best, *others = methods
    beside = [best["dev"], *(best["proof"][key] for key in ("value", "low", "high"))]
    dev, value, low, high = (number(figure, digits_of(beside, usual=4)) for figure in beside)
    of_seeds = f", mean of {len(best['seeds'])} seeds" if len(best["seeds"]) > 1 else ""
    where = "the proof rows" if best["dev_is_proof"] else "dev"
    among = f"the best of {len(methods)} methods" if others else "the only method that was trained"
    said = f"{best['name']}: {best['metric']} {dev} on {where}{of_seeds}, {among}; on the proof rows {value} ({low} to {high})."
    if worse_than_before(best):
        before = number(best["before"], digits_of([*beside, best["before"]], usual=4))
        said += f" That is no better than before ({before}): with more steps it may be."
    smaller = [one for one in others if one["p_value"] is not None and one["p_value"] >= TOLD_APART and one["trainable"] < best["trainable"]]
    if smaller:
        least = min(smaller, key=lambda one: one["trainable"])
        times = best["trainable"] / max(least["trainable"], 1)
        said += (
            f" {least['name']} trains {times:,.0f} times fewer weights and is not told apart from it on the proof rows"
            f" ({p_in_words(least['p_value'])}): take it where the size of what is stored counts."
        )
    elif others and (close := [one["name"] for one in others if one["p_value"] is not None and one["p_value"] >= TOLD_APART]):
        said += f" Not told apart from it on the proof rows: {', '.join(close)}."
    elif others:
        said += " On the proof rows it is told apart from every other (p < 0.05)."
    return said


def in_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the points (score, cost) that no other beats: none is as good and as cheap, and better or cheaper (the Pareto front)."""
    return [n for n, (score, cost) in enumerate(points) if not any(s >= score and c <= cost and (s, c) != (score, cost) for s, c in points)]


def worse_than_before(best: Mapping[str, Any]) -> bool:
    """Tell whether the model was as good on the proof rows before anything was trained."""
    gained = best["proof"]["value"] - best["before"]
    return bool((gained if best["higher_is_better"] else -gained) <= 0)


def _by_method(found: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for one in sorted(found["runs"], key=lambda one: one["number"]):
        rows.setdefault(one["name"], []).append(one)
    return rows


def _good(runs: Sequence[Mapping[str, Any]]) -> float:
    return fmean(one["dev"] for one in runs) * (1 if runs[0]["higher_is_better"] else -1)


def _tests(recipe: Recipe, first: Mapping[str, Mapping[str, Any]], pick: str) -> dict[str, float]:
    """Return for every other method the p-value of the paired test against the pick, on the proof rows."""
    prepared = prepare(recipe)
    metric = next(metric for metric in prepared.recipe.task.metrics() if metric.name == first[pick]["metric"])
    targets = [row.target for row in prepared.data.proof]
    said = {name: _predictions(Path(one["run"])) for name, one in first.items()}
    found = {}
    for name, predictions in said.items():
        if name != pick and (entry := score.compare(metric, said[pick], predictions, targets)) is not None:
            found[name] = float(entry["p_value"])
    return found


def _predictions(run: Path) -> list[Prediction]:
    lines = (run / "predictions" / "after.jsonl").read_text(encoding="utf-8").splitlines()
    return [Prediction(line["id"], line["prediction"], line["scores"], line.get("measures", {})) for line in map(json.loads, lines)]
