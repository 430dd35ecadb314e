"""Draws a comparison of methods as one HTML file that needs no network, no script and no second file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from weitiao.comparison import naming, verdict
from weitiao.core.report import before_said, digits_of, number, p_in_words, title
from weitiao.evaluation.page import drawing, words
from weitiao.evaluation.page.drawing import ACCENT, FAINT, INK
from weitiao.evaluation.page.templates import template

APART = 0.055
"""Share of a chart's height that two names stand apart at least."""


def render(found: Mapping[str, Any]) -> str:
    """Return a comparison as one HTML page; equal comparisons give equal bytes. Texts are data and never markup."""
    found = words.mapping(words.printable(found))
    methods = found["methods"]
    return template(Path(__file__).parent, "page.html.j2").render(
        name=found["name"],
        facts=_facts(found),
        pick=found["pick"],
        sentence=found["sentence"],
        look="unproven" if verdict.worse_than_before(methods[0]) else "better",
        metric=title(methods[0]["metric"]),
        before=before_said(methods[0]["before_is"]),
        of_seeds=any(len(one["seeds"]) > 1 for one in methods),
        rows=[_row(one) for one in methods],
        charts=_charts(methods),
        failures=found["failures"],
        steps=_steps(found),
        next=f"weitiao train {found['name']}.yaml {shlex.quote(naming.override(found['pick']))}",
    )


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    spent = sum(one["seconds"] for one in found["runs"])
    return [
        ("Model", found["model"]),
        ("Task", found["task"]),
        ("Runs", words.count_of(len(found["runs"]))),
        ("Time", f"{words.duration(spent)} of {words.duration(found['budget_seconds'])}"),
        ("Rows to train on", words.count_of(found["rows"]["train"])),
    ]


def _steps(found: Mapping[str, Any]) -> str:
    steps, full = found["steps"], found["steps_of_recipe"]
    same = f"Every method took {steps:,} optimizer steps on the same rows, in the same order for the same seed, with its own usual learning rate."
    if steps < full:
        same += f" The recipe asks for {full:,}; the budget was too short for that, so a slower learner may be ranked too low."
    return same


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    proof = one["proof"]
    beside = [one["dev"], proof["value"], proof["low"], proof["high"], one["before"]]
    dev, value, low, high, before = (number(figure, digits_of(beside, usual=4)) for figure in beside)
    deviation = one["dev_deviation"]
    return {
        "name": one["name"],
        "front": one["in_front"],
        "dev": dev,
        "deviation": "" if deviation is None else f"± {number(deviation, digits_of(beside, usual=4))}, {len(one['seeds'])} seeds",
        "proof": value,
        "interval": f"{low} to {high}",
        "before": before,
        "p": "" if one["p_value"] is None else p_in_words(one["p_value"]).removeprefix("p ").removeprefix("= "),
        "trainable": words.count_of(one["trainable"]),
        "share": f"{one['trainable'] / one['parameters']:.2%}",
        "memory": f"{one['peak_memory_gb']:.2f}",
        "seconds": f"{one['train_seconds']:,.0f}",
        "size": f"{one['artifact_bytes'] / 1e6:,.1f}",
        "rate": f"{one['learning_rate']:g}",
    }


def _charts(methods: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    metric = title(methods[0]["metric"])
    where = "proof rows" if methods[0]["dev_is_proof"] else "dev"
    return [
        _scatter("trainable", f"{metric} on {where} by parameters that train", methods, lambda one: one["trainable"], logarithmic=True),
        _scatter("memory", f"{metric} on {where} by peak memory, GB", methods, lambda one: one["peak_memory_gb"]),
        _scatter("seconds", f"{metric} on {where} by seconds of training", methods, lambda one: one["train_seconds"]),
    ]


def _scatter(name: str, heading: str, methods: Sequence[Mapping[str, Any]], cost_of: Any, *, logarithmic: bool = False) -> dict[str, Any]:
    """Return a chart of every method, those in front joined: nothing is better that costs no more."""
    costs, scores = [max(float(cost_of(one)), 1.0 if logarithmic else 0.0) for one in methods], [float(one["dev"]) for one in methods]
    sign = 1 if methods[0]["higher_is_better"] else -1
    front = sorted(verdict.in_front([(sign * score, cost) for score, cost in zip(scores, costs, strict=True)]), key=lambda n: costs[n])
    with drawing.axes_of_a_chart(height=2.9) as (figure, axes):
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(which="minor", length=0)
        reach = [float(one["dev_deviation"] or 0) for one in methods]
        low, high = min(a - b for a, b in zip(scores, reach, strict=True)), max(a + b for a, b in zip(scores, reach, strict=True))
        margin = max(0.12 * (high - low), 1e-6)
        axes.set_ylim(low - margin, high + margin)
        left, right = min(costs), max(costs)
        axes.set_xlim(*((left / 1.6, right * 6) if logarithmic else (left - 0.06 * (right - left + 1e-9), right + 0.3 * (right - left + 1e-9))))
        axes.plot([costs[n] for n in front], [scores[n] for n in front], color=ACCENT, linewidth=1.2, alpha=0.7)
        for n, one in enumerate(methods):
            colour = ACCENT if n in front else FAINT
            if one["dev_deviation"]:
                axes.errorbar(costs[n], scores[n], yerr=one["dev_deviation"], color=colour, linewidth=1.0, capsize=0)
            axes.plot([costs[n]], [scores[n]], marker="o", markersize=4.5, color=colour, linestyle="")
        for n, height in _names_apart(scores, low - margin, high + margin):
            axes.annotate(methods[n]["name"], (costs[n], height), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7.5, color=INK)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.tick_label(value)))
        svg = drawing.as_svg(figure)
    told = "; ".join(f"{one['name']} {score:.4g} at {at:,.4g}" for one, at, score in zip(methods, costs, scores, strict=True))
    keys = [("accent", "nothing better costs less")]
    return {"title": heading, "keys": keys, "svg": drawing.inline(svg, name, f"{heading}: {told}")}


def _names_apart(scores: Sequence[float], low: float, high: float) -> list[tuple[int, float]]:
    """Return for each point where its name stands: at its height, or a little above the one below."""
    apart, before, found = APART * (high - low), low - (high - low), []
    for n in sorted(range(len(scores)), key=lambda n: scores[n]):
        before = max(scores[n], before + apart)
        found.append((n, before))
    return found
