"""Draws what was found about data as one HTML file that needs no network, no script and no second file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weitiao.doctor.said import scripts, sentence
from weitiao.evaluation.page import words
from weitiao.evaluation.page.templates import template
from weitiao.inspect.health.finding import LEVELS

LABELS = 12
"""Labels of which counts are shown, the most frequent first."""


def render(report: Mapping[str, Any]) -> str:
    """Return a report as one HTML page; equal reports give equal bytes. Texts are data and never markup."""
    found = words.mapping(words.printable(report))
    counts = found["counts"]
    return template(Path(__file__).parent, "data.html.j2").render(
        name=found["name"],
        facts=[("Task", found["task"].replace("_", " ")), ("Model", found["model"])],
        healthy=found["healthy"],
        sentence=sentence(found),
        splits=[_split(name, facts) for name, facts in found["splits"].items()],
        labels=_labels(found["splits"]),
        groups=[(level, [one for one in found["findings"] if one["level"] == level]) for level in LEVELS if counts[level]],
        said=found["said"],
        notes=found["notes"],
    )


def _split(name: str, facts: Mapping[str, Any]) -> dict[str, str]:
    tokens = facts.get("tokens", {})
    return {
        "name": name,
        "rows": words.count_of(facts["rows"]),
        "mean": f"{tokens['mean']:g}" if tokens else "",
        "p95": f"{tokens['p95']:g}" if tokens else "",
        "longest": words.count_of(int(tokens["longest"])) if tokens else "",
        "cut": f"{tokens['share_past_limit']:.1%}" if tokens else "",
        "scripts": scripts(facts),
    }


def _labels(splits: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of the labels' counts in every split; empty where there are no labels."""
    counted = {name: facts["labels"] for name, facts in splits.items() if facts["labels"]}
    if not counted:
        return {}
    every = list(dict.fromkeys(label for labels in counted.values() for label in labels))
    rows = [(label, [words.count_of(labels.get(label, 0)) for labels in counted.values()]) for label in every[:LABELS]]
    return {"splits": list(counted), "rows": rows, "more": len(every) - len(rows)}
