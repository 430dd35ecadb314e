"""Learning curves as inline SVG that takes its colours and font from the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from weitiao.evaluation.page import drawing, words
from weitiao.evaluation.page.drawing import ACCENT, FAINT, INK

STEPS = [1, 2, 2.5, 5, 10]
"""Distances of ticks, times a power of ten."""


def curves(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the charts: loss, dev metric, learning rate, gradient norm."""
    drawn = words.mapping(report.get("curves"))
    dev = words.mapping(drawn.get("dev_metric"))
    train, loss, rate, norm = (_points(drawn.get(key)) for key in ("train_loss", "dev_loss", "learning_rate", "gradient_norm"))
    of_tokens = dev.get("name") == "loss"  # then the dev score and the dev loss are one
    metric = [] if of_tokens and loss else _points(dev.get("points"))
    best = words.number_of(dev.get("best_step")) if dev.get("best_step") is not None else words.number_of(report.get("best_step"))
    mark = [] if best is None else [("mark", f"best, step {best:g}")]
    charts = []
    if train or loss:
        smooth = _running_mean(train)
        keys = [("faint" if smooth else "ink", "train")] if train else []
        keys += [("ink", f"mean of {smooth[0]}")] if smooth else []
        keys += [("accent", "dev")] if loss else []
        keys += [] if metric else mark  # where there are two charts, one says it
        lines = [("faint" if smooth else "ink", train), ("ink", smooth[1] if smooth else []), ("accent", loss)]
        charts.append(_chart("loss", words.titled("loss") if of_tokens else "Loss", keys, lines, best=best))
    if metric:
        title = f"{words.titled(words.text_of(dev.get('name')) or 'metric')} on dev"
        charts.append(_chart("metric", title, [("accent", "dev"), *mark], [("accent", metric)], best=best))
    if rate:
        charts.append(_chart("rate", "Learning rate", [], [("ink", rate)]))
    if norm:
        charts.append(_chart("norm", "Gradient norm", [], [("ink", norm)]))
    return charts


def _points(points: Any) -> list[tuple[float, float]]:
    """Return the finite points; more than 500 are averaged in runs, as no screen shows them apart."""
    pairs = [(words.number_of(p[0]), words.number_of(p[1])) for p in words.sequence(points) if isinstance(p, Sequence) and len(p) == 2]
    kept = [(x, y) for x, y in pairs if x is not None and y is not None]
    size = math.ceil(len(kept) / 500)
    if size < 2:
        return kept
    return [(float(x), float(y)) for x, y in (np.mean(kept[at : at + size], axis=0) for at in range(0, len(kept), size))]


def _running_mean(points: Sequence[tuple[float, float]]) -> tuple[int, list[tuple[float, float]]] | None:
    """Return the width and the centred means over it; None where there are too few points to need it."""
    if len(points) < 40:
        return None
    width = len(points) // 20 | 1
    values, window = np.asarray([y for _, y in points]), np.ones(width)
    means = np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
    return width, [(x, float(mean)) for (x, _), mean in zip(points, means, strict=True)]


def _chart(
    name: str, title: str, keys: Sequence[tuple[str, str]], lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], *, best: float | None = None
) -> dict[str, Any]:
    """Return a titled line chart as inline SVG that takes its colours and font from the page."""
    looks = {"ink": (INK, 1.4), "faint": (FAINT, 0.9), "accent": (ACCENT, 1.7)}
    with drawing.axes_of_a_chart() as (figure, axes):
        for look, points in lines:
            colour, width = looks[look]
            marker = "o" if len(points) == 1 or (look == "accent" and len(points) <= 60) else ""
            axes.plot([x for x, _ in points], [y for _, y in points], color=colour, linewidth=width, marker=marker, markersize=3.2, solid_joinstyle="round")
        values = [y for _, points in lines for _, y in points]
        if 0 <= min(values) < 0.4 * max(values):
            axes.set_ylim(bottom=0)
        if best is not None:
            axes.axvline(best, color=INK, linewidth=0.8, linestyle=(0, (2, 2)), alpha=0.7)
        axes.set_xlabel("step", color=INK, labelpad=2)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=STEPS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.tick_label(value)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        svg = drawing.as_svg(figure)
    last = next(points for _, points in reversed(lines) if points)
    told = "; ".join(f"{y:.4g} at step {x:g}" for x, y in dict.fromkeys([last[0], last[-1]]))
    return {"title": title, "keys": keys, "svg": drawing.inline(svg, name, f"{title}: {told}")}
