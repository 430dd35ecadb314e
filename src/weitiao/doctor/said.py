"""What a report says in words, on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weitiao.inspect.health.finding import LEVELS

SCRIPTS = 3
"""Scripts of a split that are named, at most."""


def sentence(report: Mapping[str, Any]) -> str:
    """Return what was found in one sentence."""
    counts = report["counts"]
    if not any(counts.values()):
        return "Nothing was found that stands in the way."
    told = ", ".join(f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in LEVELS if counts[level])
    first = next((one for one in report["findings"] if one["level"] == "problem"), None)
    return f"{told}. {first['message']}" if first else f"{told}; none makes training or its proof wrong."


def scripts(facts: Mapping[str, Any]) -> str:
    """Return the scripts that most rows of a split are written in, each with its share."""
    return ", ".join(f"{script} {count / facts['rows']:.0%}" for script, count in list(facts["scripts"].items())[:SCRIPTS])
