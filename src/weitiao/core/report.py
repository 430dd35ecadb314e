"""Scores with n and interval, tied by hash to an artifact and to rows, and the sentence they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIGNIFICANT = 0.05
"""A change counts as proven below this p-value."""


def verdict(metric: str, entry: Mapping[str, Any], *, before_is: str, split: str, majority: float | None = None) -> dict[str, str]:
    """Return level (better, worse, not proven) and one sentence for the main metric's entry."""
    before, after, change = entry["before"], entry["after"], entry["difference"]
    p = entry["p_value"]
    gained = change["value"] if entry["higher_is_better"] else -change["value"]
    level = "not proven" if p >= SIGNIFICANT or gained == 0 else "better" if gained > 0 else "worse"
    verb = "stayed at" if change["value"] == 0 else "rose" if change["value"] > 0 else "fell"
    start = (
        f"{title(metric)} stayed at {before['value']:.3f}"
        if verb == "stayed at"
        else f"{title(metric)} {verb} from {before['value']:.3f} to {after['value']:.3f}"
    )
    baseline = " (before: a linear head on the untouched model)" if before_is == "head_only" else ""
    sentence = (
        f"{start} on {after['n']} {split} rows{baseline}; change {change['value']:+.3f}, "
        f"95\u00a0% interval {change['low']:+.3f} to {change['high']:+.3f}, {p_in_words(p)}."
    )
    if level == "not proven":
        sentence += " That may be chance."
    if majority is not None:
        sentence += f" The same answer for every row would score {majority:.3f}."
    return {"level": level, "sentence": sentence}


def p_in_words(p: float) -> str:
    """Return `p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def title(metric: str) -> str:
    """Return a metric's name as it begins a sentence."""
    return {"mse": "Mean squared error", "mae": "Mean absolute error"}.get(metric, metric.replace("_f1", " F1").replace("_", " ").capitalize())


def card(report: Mapping[str, Any]) -> str:
    """Return the model card (README.md of an artifact), written from the report."""
    lines = [
        "---",
        "library_name: transformers",
        "tags: [weitiao]",
        "---",
        "",
        f"# {report['name']}",
        "",
        f"{report['verdict']['sentence']}",
        "",
        "| metric | before | after | 95 % interval | p-value | n |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in report["metrics"].items():
        before, after = entry["before"], entry["after"]
        lines.append(
            f"| {name} | {before['value']:.4f} | {after['value']:.4f} | {after['low']:.4f} to {after['high']:.4f} | {entry['p_value']:.4g} | {after['n']} |"
        )
    said = "the frozen model with a linear head fitted on its features" if report["before_is"] == "head_only" else "the model as it came"
    lines += [
        "",
        f"Before is {said}. Proof rows: {report['split']} ({report['split_said']})."
        + (" The best weights were chosen on these same rows." if report["selected_on_same_rows"] else ""),
        "",
        f"Made from `{report['model']}` by {report['method']} on {report['rows']['train']} rows; "
        f"{report['parameters']['trainable']:,} of {report['parameters']['total']:,} parameters trained.",
        "",
        "```python",
        "from transformers import pipeline",
        "",
        'classify = pipeline("text-classification", model="model", truncation=True)  # this folder\'s `model/`',
        "```",
        "",
        f"The hash of this artifact is `{report['hashes']['artifact']}`; `recipe.yaml` says how it was made.",
        "",
    ]
    return "\n".join(lines)
