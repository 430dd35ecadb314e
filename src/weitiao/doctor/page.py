"""Draws what was found about data as one HTML file that needs no network, no script and no second file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from weitiao import evaluation
from weitiao.evaluation.page import words
from weitiao.inspect.health.finding import LEVELS

STYLE = Path(evaluation.__file__).parent / "page"
"""Where the style sheet of all pages is."""
LABELS = 12
"""Labels of which counts are shown, the most frequent first."""


def render(report: Mapping[str, Any]) -> str:
    """Return a report as one HTML page; equal reports give equal bytes. Texts are data and never markup."""
    found = words.mapping(words.printable(report))
    counts = found["counts"]
    return _template().render(
        name=found["name"],
        facts=[("Task", found["task"].replace("_", " ")), ("Model", found["model"])],
        healthy=found["healthy"],
        sentence=sentence(found),
        splits=[_split(name, facts) for name, facts in found["splits"].items()],
        labels=_labels(found["splits"]),
        groups=[(level, counts[level], [one for one in found["findings"] if one["level"] == level]) for level in LEVELS if counts[level]],
        said=found["said"],
        notes=found["notes"],
    )


def sentence(report: Mapping[str, Any]) -> str:
    """Return what was found in one sentence."""
    counts = report["counts"]
    if not any(counts.values()):
        return "Nothing was found that stands in the way."
    told = ", ".join(f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in LEVELS if counts[level])
    first = next((one for one in report["findings"] if one["level"] == "problem"), None)
    return f"{told}. {first['message']}" if first else f"{told}; none makes training or its proof wrong."


def _split(name: str, facts: Mapping[str, Any]) -> dict[str, str]:
    tokens = facts.get("tokens", {})
    return {
        "name": name,
        "rows": words.count_of(facts["rows"]),
        "mean": f"{tokens['mean']:g}" if tokens else "",
        "p95": f"{tokens['p95']:g}" if tokens else "",
        "longest": words.count_of(int(tokens["longest"])) if tokens else "",
        "cut": f"{tokens['share_past_limit']:.1%}" if tokens else "",
        "scripts": ", ".join(f"{script} {count / max(facts['rows'], 1):.0%}" for script, count in list(facts["scripts"].items())[:3]),
    }


def _labels(splits: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of the labels' counts in every split; empty where there are no labels."""
    counted = {name: facts["labels"] for name, facts in splits.items() if facts["labels"]}
    if not counted:
        return {}
    every = list(dict.fromkeys(label for labels in counted.values() for label in labels))
    rows = [(label, [words.count_of(labels.get(label, 0)) for labels in counted.values()]) for label in every[:LABELS]]
    return {"splits": list(counted), "rows": rows, "more": len(every) - len(rows)}


@functools.cache
def _template() -> jinja2.Template:
    here = jinja2.FileSystemLoader([Path(__file__).parent, STYLE])
    return jinja2.Environment(loader=here, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True).get_template("data.html.j2")
