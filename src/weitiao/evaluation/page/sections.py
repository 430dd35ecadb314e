"""The sections of the page as plain values; a section with nothing to say is empty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from weitiao.core.report import before_said, digits_of, digits_of_change
from weitiao.evaluation.page import words
from weitiao.evaluation.page.curves import STEPS

CUT = 300
"""Characters of a text shown at once; the rest unfolds."""
LINES = 10
"""Lines of a text shown at once."""
KEPT = 20_000
"""Characters of a text kept at all: a report of thirty rows must still open when each is a book."""
MATRIX_UP_TO = 15
"""Classes up to which a confusion matrix is drawn; beyond, its cells are too small to read and pairs are listed."""
PAIRS = 20
EXAMPLES_SHOWN = 4
TURNS_SHOWN = 3
"""Turns of a conversation up to which all are shown; of more the last two are, and the others unfold."""
CLASSES_SHOWN = 20
DRAWN_UP_TO = 3
"""Metrics up to which all are drawn; beyond, the main one is, and the others unfold."""

_BEFORES = {"model": "Before", "head_only": "Before, linear head"}
_BASELINES = {
    "majority": "Always the same answer",
    "mean": "Always the mean",
    "head_only": "Frozen body, linear head",
    "frequent_tag": "Usual tag of each word",
    "copy": "The text itself",
    "lead": "The text's first sentences",
}
_DIRECTIONS: dict[Any, str] = {True: "higher is better", False: "lower is better"}
_VERDICTS = {"better": ("better", "Better"), "worse": ("worse", "Worse"), "not proven": ("unproven", "Not proven")}

# ---------------------------------------------------------------- what was asked, and the answer


def title(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return name, facts and version."""
    model, method, task = (words.text_of(report.get(key)) for key in ("model", "method", "task"))
    facts = [("Model", model), ("Method", method), ("Task", task.replace("_", " ")), ("Made", words.moment_of(report.get("created")))]
    version = f"weitiao {words.text_of(report.get('weitiao'))}".strip()
    return {
        "name": words.text_of(report.get("name")) or " ".join(filter(None, (model, method))) or "Report",
        "facts": [f for f in facts if f[1]],
        "version": version,
    }


def verdict(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return look, word and sentence; None where there is no verdict."""
    verdict = words.mapping(report.get("verdict"))
    level, sentence = words.text_of(verdict.get("level")).strip(), words.text_of(verdict.get("sentence"))
    if not level and not sentence:
        return None
    # A level this page does not know is never painted green.
    look, word = _VERDICTS.get(level.lower(), ("unproven", level.capitalize() or "Not proven"))
    return {"look": look, "word": word, "sentence": sentence, "caution": report.get("selected_on_same_rows") is True}


def scores(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return one row per metric, the main one first, and the rows that are drawn: at once, and unfolding."""
    metrics, main = words.mapping(report.get("metrics")), report.get("main_metric")
    before_is = words.text_of(report.get("before_is")) or "model"
    names = _BASELINES | ({"majority": "Always the largest class"} if report.get("per_class") or report.get("confusion") else {})
    rows = []
    for name in sorted(metrics, key=lambda key: key != main):  # the main metric first, the others as they come
        metric = words.mapping(metrics[name])
        before, after, difference = (_estimate(metric.get(key)) for key in ("before", "after", "difference"))
        if before is None and after is None:
            continue
        others = []
        for key, scores in words.mapping(report.get("baselines")).items():
            estimate = _estimate(words.mapping(scores).get(name))
            if estimate and key != before_is:
                others.append((names.get(key, words.titled(key)), "other", estimate))
        sides = [
            (_BEFORES.get(before_is, f"Before, {words.titled(before_is).lower()}"), "before", before),
            ("After", "after", after),
        ]
        drawn = [*others, *((label, look, estimate) for label, look, estimate in sides if estimate)]
        beside = [part for _, _, estimate in drawn for part in estimate.values()]
        higher = metric.get("higher_is_better")
        sizes = list(dict.fromkeys(words.count_of(words.mapping(metric.get(key)).get("n")) for key in ("before", "after")))
        rows.append(
            {
                "name": words.titled(name),
                "direction": "neither way is better" if higher is None and "higher_is_better" in metric else _DIRECTIONS.get(higher, ""),
                "before": _shown(before, beside),
                "after": _shown(after, beside),
                "difference": _shown(difference, beside, signed=True),
                "p_value": words.p_value(metric.get("p_value")),
                "test": words.text_of(metric.get("test")),
                "n": " / ".join(filter(None, sizes)),
                "plot": _intervals(drawn, beside),
                "difference_plot": _intervals([("After − before", "after", difference)], beside, zero=True) if difference else None,
            }
        )
    plots = [row for row in rows if row["plot"]]
    first = len(plots) if len(rows) <= DRAWN_UP_TO else 1
    return {"rows": rows, "drawn": plots[:first], "folded": plots[first:]} if rows else None


def _estimate(value: Any) -> dict[str, float] | None:
    """Return value and, where both are known, low and high; None where there is no value."""
    numbers = {key: number for key in ("value", "low", "high") if (number := words.number_of(words.mapping(value).get(key))) is not None}
    if "value" not in numbers:
        return None
    return numbers if len(numbers) == 3 else {"value": numbers["value"]}


def _shown(estimate: Mapping[str, float] | None, beside: Sequence[float], *, signed: bool = False) -> dict[str, str] | None:
    """Return value and interval as text. beside: the scores in the same row; with `signed` the estimate is a difference of them."""
    if estimate is None:
        return None
    digits = digits_of_change(estimate, digits_of(beside)) if signed else digits_of(estimate.values(), beside=beside)
    interval = " to ".join(words.decimal(estimate[key], digits, signed=signed) for key in ("low", "high") if key in estimate)
    return {"value": words.decimal(estimate["value"], digits, signed=signed), "interval": interval}


def _intervals(drawn: Sequence[tuple[str, str, Mapping[str, float]]], beside: Sequence[float], *, zero: bool = False) -> dict[str, Any] | None:
    """Return dots, bars and ticks as positions in percent of one common axis; None where all is one and the same value."""
    values = [part for _, _, estimate in drawn for part in estimate.values()]
    if len(drawn) > 1 and len(values) > len(drawn) and len(set(values)) == 1:
        return None
    values += [0.0] if zero else []
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    ticks = MaxNLocator(nbins=3 if zero else 4, steps=[1, 2, 5, 10] if zero else STEPS).tick_values(low, high)
    start, span = float(ticks[0]), float(ticks[-1] - ticks[0])

    def at(value: float) -> float:
        return round(100 * (value - start) / span, 2)

    rows = []
    for label, look, estimate in drawn:
        left, right = (at(estimate.get(key, estimate["value"])) for key in ("low", "high"))
        shown = _shown(estimate, beside, signed=zero) or {}
        rows.append({"label": label, "look": look, "dot": at(estimate["value"]), "left": left, "width": round(right - left, 2), "shown": shown})
    return {"rows": rows, "ticks": [(at(float(tick)), words.tick_label(float(tick))) for tick in ticks], "zero": at(0.0) if zero else None}


def measured(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (look, sentence): where the numbers come from, in plain words."""
    sentences = []
    split = words.text_of(report.get("split"))
    sizes = words.mapping(report.get("rows"))
    n = words.count_of(sizes.get("proof", sizes.get(split)))
    proven = any(words.mapping(metric).get("before") for metric in words.mapping(report.get("metrics")).values())
    what = "Before and after were measured on the same" if proven else "Measured on the"
    where = f"{what} {n} rows of the {split} split.".replace("  ", " ") if split else ""
    if report.get("selected_on_same_rows") is False:
        where += " They took no part in training, in choosing the best weights or in stopping."
    if where:
        sentences.append(("", where.strip()))
    if report.get("selected_on_same_rows") is True:
        warning = "The best weights were chosen by these very rows, so the score after tuning is flattered and the proof is weak."
        sentences.append(("warning", f"{warning} Give a test split that nothing is chosen by, and measure again."))
    generated, of = words.number_of(words.mapping(report.get("changes")).get("generated")), words.number_of(sizes.get("proof", sizes.get(split)))
    if generated and of and generated < of:
        names = [words.titled(key) for key, entry in words.mapping(report.get("metrics")).items() if _rows_of(entry) == generated]
        said = f"Answers were generated for {words.count_of(generated)} of them, drawn by a hash of their ids"
        sentences.append(("", f"{said}; on these rest: {', '.join(names)}." if names else f"{said}."))
    before_is = report.get("before_is")
    if before_is == "head_only":
        sentences.append(
            ("", "“Before” is the pretrained body, frozen, with a linear head fitted to its features: a head of random weights would be too easy to beat.")
        )
    elif isinstance(before_is, str):
        sentences.append(("", f"“Before” is {before_said(before_is)}."))
    if said := words.text_of(report.get("split_said")):
        sentences.append(("quiet", f"Splits: {said}"))
    return sentences


def _rows_of(metric: Any) -> float | None:
    return words.number_of(words.mapping(words.mapping(metric).get("after")).get("n"))


# ---------------------------------------------------------------- classes and rows


def classes(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the per-class table; beyond CLASSES_SHOWN the largest changes first."""
    entries = [words.mapping(entry) for entry in words.sequence(report.get("per_class"))]
    scores = [[words.number_of(words.mapping(e.get(side)).get(key)) for side in ("before", "after") for key in ("precision", "recall", "f1")] for e in entries]
    changes = [None if before is None or after is None else after - before for _, _, before, _, _, after in scores]
    most = max((abs(change) for change in changes if change is not None), default=0.0) or 1.0
    rows = [
        {
            "label": words.text_of(entry.get("label")),
            "n": words.count_of(entry.get("n")),
            "cells": [words.decimal(value, 3) for value in values],
            "change": words.decimal(change, 3, signed=True),
            "bar": round(50 * abs(change or 0) / most, 1),
            "look": "down" if change is not None and change < 0 else "up",
        }
        for entry, values, change in zip(entries, scores, changes, strict=True)
    ]
    if len(rows) <= CLASSES_SHOWN:
        return {"rows": rows, "all": []} if rows else None
    ranked = sorted((n for n, change in enumerate(changes) if change is not None), key=lambda n: -(changes[n] or 0))
    return {"rows": [rows[n] for n in (ranked[:6] + ranked[-6:] if len(ranked) >= 12 else range(12))], "all": rows}


def confusion(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return matrices, or pairs where there are too many classes."""
    confusion = words.mapping(report.get("confusion"))
    labels = [words.text_of(label) for label in words.sequence(confusion.get("labels"))]
    tables = {side: table for side in ("before", "after") if (table := _square(confusion.get(side), len(labels)))}
    if not tables or not labels:
        return None
    if len(labels) <= MATRIX_UP_TO:
        return {"labels": labels, "matrices": [(side.capitalize(), _heat(table)) for side, table in tables.items()], "pairs": []}
    counts = [
        (tuple(tables[side][i][j] if side in tables else None for side in ("before", "after")), truth, guess)
        for i, truth in enumerate(labels)
        for j, guess in enumerate(labels)
        if i != j and any(table[i][j] for table in tables.values())
    ]
    counts.sort(key=lambda pair: [-(n or 0) for n in reversed(pair[0])])
    pairs = [
        {"truth": truth, "guess": guess, "before": words.count_of(before), "after": words.count_of(after)} for (before, after), truth, guess in counts[:PAIRS]
    ]
    return {"labels": labels, "matrices": [], "pairs": pairs, "of": len(counts)}


def _square(table: Any, size: int) -> list[list[int]] | None:
    rows = [[int(words.number_of(cell) or 0) for cell in words.sequence(row)] for row in words.sequence(table)]
    return rows if len(rows) == size and all(len(row) == size for row in rows) else None


def _heat(table: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
    """Return cells shaded by their share of the row, each true class being one whole; errors by its root, as they are few and matter."""
    return [[_heat_cell(n, n / (sum(row) or 1), right=i == j) for j, n in enumerate(row)] for i, row in enumerate(table)]


def _heat_cell(count: int, share: float, *, right: bool) -> dict[str, Any]:
    shade = share if right else math.sqrt(max(share, 0))
    return {"count": count, "shade": round(shade, 2), "look": "hit" if right else "miss", "strong": shade > 0.5}


_TALLIES = {
    "right": {"better": "wrong before, right after", "worse": "right before, wrong after", "both_right": "right both times", "both_wrong": "wrong both times"},
    "closeness": {"better": "closer to the target", "worse": "further from it", "both_right": "right both times", "both_wrong": "off both times"},
    "likelihood": {"better": "more probable than before", "worse": "less probable", "unchanged": "as probable as before"},
}


def changes(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the tally of rows that changed, and examples."""
    changes = words.mapping(report.get("changes"))
    listed = {key: [words.mapping(e) for e in words.sequence(changes.get(f"examples_{key}"))] for key in ("better", "worse", "still_wrong")}
    targets = [example.get("target") for examples in listed.values() for example in examples]
    numeric = any(words.number_of(target) is not None for target in targets)
    graded = changes.get("graded")
    if not isinstance(graded, str) or graded not in _TALLIES:
        graded = "closeness" if numeric or any(isinstance(target, list) for target in targets) else "right"
    likely = graded == "likelihood"
    counts = {key: count for key in _TALLIES[graded] if (count := words.number_of(changes.get(key))) is not None}
    if not counts.get("unchanged"):
        counts.pop("unchanged", None)
    total = sum(counts.values())
    tally = [
        {"look": key, "count": words.count_of(n), "words": _TALLIES[graded][key], "share": round(100 * n / total, 2) if total else 0}
        for key, n in counts.items()
    ]
    what = "reference answer" if any(target is not None for target in targets) else "text"
    titles = {"better": "Changed for the better", "worse": "Changed for the worse", "still_wrong": "Still far off" if numeric else "Still wrong"}
    if likely:
        titles = {"better": f"The {what} became more probable", "worse": f"The {what} became less probable", "still_wrong": ""}
    of = {"better": counts.get("better"), "worse": counts.get("worse"), "still_wrong": counts.get("both_wrong")}
    groups = []
    for key, examples in listed.items():
        if examples:
            shown = [_likely(example) if likely else _example(example, numeric) for example in examples]
            whole = of[key]
            extent = f"{len(shown)} of {words.count_of(whole)}" if whole is not None and whole > len(shown) else words.count_of(len(shown))
            groups.append({"title": titles[key], "extent": extent, "first": shown[:EXAMPLES_SHOWN], "rest": shown[EXAMPLES_SHOWN:]})
    return {"intro": _intro(changes, what) if likely else "", "tally": tally, "groups": groups} if tally or groups else None


def _intro(changes: Mapping[str, Any], what: str) -> str:
    """Return how rows are graded by likelihood, and which examples come first."""
    said = f"Rows are graded by how probable the model finds their {what}, per token: none is right or wrong."
    if words.number_of(changes.get("generated")):
        return f"{said} Rows with generated answers come first, then the others, the largest changes before the smaller."
    return f"{said} The largest changes come first."


def _likely(example: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conversation or text, the reference, and what was generated before and after."""
    turns = [words.mapping(turn) for turn in words.sequence(example.get("turns"))]
    several = len(turns) > 1
    told = [{"role": words.titled(words.text_of(t.get("role"))) if several else "", "text": _cut(words.text_of(t.get("content")).strip())} for t in turns]
    before, after = (words.text_of(example.get(key)).strip() for key in ("before", "after"))
    cut_off = {side: ", cut off" if example.get(f"{side}_stopped") is False else "" for side in ("before", "after")}
    answers = [("target", "Reference", words.text_of(example.get("target")).strip())]
    if before and before == after:
        answers.append(("after", f"Generated before and after alike{cut_off['after']}", after))
    elif example.get("before") is not None or example.get("after") is not None:
        said = {"before": before or "(nothing)", "after": after or "(nothing)"}
        answers += [(side, f"Generated {side}{cut_off[side]}", said[side]) for side in said]
    losses = [words.number_of(example.get(key)) for key in ("before_loss", "after_loss")]
    moved = ""
    if None not in losses:
        moved = f"loss per token {' → '.join(words.decimal(loss, 3) for loss in losses)}"
        if tokens := words.count_of(example.get("tokens")):
            moved += f", {tokens} token{'' if tokens == '1' else 's'}"
    earlier = words.number_of(example.get("turns_before"))
    folded = len(told) - 2 if len(told) > TURNS_SHOWN else 0
    return {
        "folded": told[:folded],
        "turns": told[folded:] or [{"role": "", "text": _cut(words.text_of(example.get("text")).strip())}],
        "earlier": f"{words.count_of(earlier)} turn{'' if earlier == 1 else 's'} before this not on the page" if earlier else "",
        "said": [{"look": look, "key": key, "text": _cut(text)} for look, key, text in answers if text],
        "place": " · ".join(filter(None, (moved, _place(example)))),
    }


def _place(example: Mapping[str, Any]) -> str:
    return " · ".join(dict.fromkeys(filter(None, (words.text_of(example.get("place")), words.text_of(example.get("id"))))))


def _example(example: Mapping[str, Any], numeric: bool) -> dict[str, Any]:
    target, score = example.get("target"), words.number_of(example.get("score"))
    answers = []
    for key in ("target", "before", "after"):
        if key in example:
            off = not numeric and key != "target" and _differs(example[key], target)
            answers.append({"key": key.capitalize(), "text": _cut(_answer(example[key])), "off": off, "score": ""})
    if score is not None and answers:
        answers[-1]["score"] = f"score {score:.2f}"
    return {"text": _cut(words.text_of(example.get("text"))), "answers": answers, "place": _place(example)}


def _differs(value: Any, target: Any) -> bool:
    """Tell whether a value is not the target, nor one of several that are as good; an empty text is as good as none."""
    return value not in (target or [""]) if isinstance(value, str) and isinstance(target, list) else bool(value != target)


def _answer(value: Any) -> str:
    if value is None:
        return "–"
    if value == "":
        return "(none)"
    if isinstance(value, list | tuple):
        entities = [words.mapping(item) for item in value]
        if value and all("type" in entity and "text" in entity for entity in entities):
            return "; ".join(f"{words.text_of(entity['text'])} {words.text_of(entity['type'])}" for entity in entities)
        return ", ".join(map(words.text_of, value)) or "(none)"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return words.text_of(value)


def _cut(text: str) -> dict[str, Any]:
    """Return the text, or its beginning, the whole that unfolds, and how much more that is."""
    start = "\n".join(text[:CUT].split("\n")[:LINES])
    if len(text) <= 1.25 * CUT and text.count("\n") < 1.25 * LINES:  # to unfold a few words more is not worth a click
        return {"start": text, "whole": "", "more": ""}
    if len(start) == CUT and " " in start[CUT - 40 :]:
        start = start[: start.rindex(" ")]
    return {"start": start, "whole": text if len(text) <= KEPT else text[:KEPT] + " […]", "more": words.count_of(len(text) - len(start))}


# ---------------------------------------------------------------- data, cost, traces


def data(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return by split the rows, and what of them could not be used, did not fit, was cut, or is read in several windows."""
    sizes, skipped = (words.mapping(report.get(key)) for key in ("rows", "skipped"))
    cut, left_out, divided = (words.mapping(report.get(key)) for key in ("cut", "left_out", "divided"))
    whole = words.text_of(report.get("split"))
    if "proof" in sizes and sizes["proof"] == sizes.get(whole):  # the proof rows are the whole of a split: said already
        sizes = {split: n for split, n in sizes.items() if split != "proof"}
    else:
        whole = "proof"
    cut, left_out, divided = ({whole if split.startswith("proof") else split: facts for split, facts in found.items()} for found in (cut, left_out, divided))
    table, reasons, unfits = [], [], []
    for split in dict.fromkeys([*sizes, *skipped, *cut, *left_out, *divided]):
        bad, unfit, shortened, apart = (words.mapping(found.get(split)) for found in (skipped, left_out, cut, divided))
        share = words.number_of(shortened.get("share"))
        table.append(
            {
                "split": split,
                "rows": words.count_of(sizes.get(split)),
                "skipped": words.count_of(bad.get("count")),
                "unfit": words.count_of(unfit.get("rows")),
                "cut": words.count_of(shortened.get("rows")) + (f" ({100 * share:.1f} %)" if share else ""),
                "tokens": words.count_of(shortened.get("tokens")),
                "divided": words.count_of(apart.get("rows")),
                "windows": words.count_of(apart.get("windows")) or words.count_of(sizes.get(split)),
            }
        )
        if count := words.number_of(bad.get("count")):
            said = [_cut(words.text_of(reason)) for reason in words.sequence(bad.get("reasons"))]
            reasons.append(
                {"split": split, "count": words.count_of(count), "said": said, "more": words.count_of(count - len(said)) if said and count > len(said) else ""}
            )
        if count := words.number_of(unfit.get("rows")):
            places = ["/".join(words.text_of(place).rsplit("/", 2)[-2:]) for place in words.sequence(unfit.get("places"))]
            more = f" and {words.count_of(count - len(places))} more" if count > len(places) else ""
            unfits.append((split, _cut(f"{', '.join(places)}{more}".removeprefix(" and "))))
    likely = words.mapping(report.get("changes")).get("graded") == "likelihood"  # then what is cut are whole exchanges
    columns = [
        ("skipped", "Left out", bool(skipped)),
        ("unfit", "Do not fit", bool(left_out)),
        ("cut", "Shortened" if likely else "Cut to length", bool(cut)),
        ("tokens", "Tokens left out" if likely else "Tokens cut", bool(cut)),
        ("divided", "In several windows", bool(divided)),
        ("windows", "Windows in all", bool(divided)),
    ]
    return {"table": table, "reasons": reasons, "unfits": unfits, "columns": [(key, title) for key, title, there in columns if there]} if table else None


def _weighs(value: Any) -> bool:
    """Tell whether gigabytes are more than nothing once they are rounded."""
    number = words.number_of(value)
    return number is not None and abs(number) >= 0.05


def cost(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return time, memory and rates, forecast beside what happened."""
    number = {key: words.number_of(value) for key, value in report.items()}
    forecast, parameters = words.mapping(report.get("forecast")), words.mapping(report.get("parameters"))
    minutes, whole, memory = (words.number_of(forecast.get(key)) for key in ("minutes", "total_minutes", "memory_gb"))
    trainable, total = (words.number_of(parameters.get(key)) for key in ("trainable", "total"))
    parts = [(words.titled(name), words.gigabytes(words.number_of(value))) for name, value in words.mapping(forecast.get("parts")).items() if _weighs(value)]
    weighed = [
        ("Training time", words.duration(None if minutes is None else 60 * minutes), words.duration(number.get("train_seconds"))),
        ("Whole run", words.duration(None if whole is None else 60 * whole), words.duration(number.get("total_seconds"))),
        ("Peak memory", words.gigabytes(memory), words.gigabytes(number.get("peak_memory_gb"))),
    ]
    steps = words.count_of(number.get("steps"))
    if steps and number.get("best_step") is not None:
        steps += f", best at {words.count_of(number['best_step'])}"
    if steps and report.get("stopped_early") is not None:
        steps += ", stopped early" if report["stopped_early"] else ", ran to the end"
    share = f" ({100 * trainable / total:.3g} %)" if trainable is not None and total else ""
    facts = [
        ("Parameters trained", f"{words.count_of(trainable)}{f' of {words.count_of(total)}' if total else ''}{share}" if trainable is not None else ""),
        ("Steps", steps),
        ("Epochs", "" if number.get("epochs") is None else f"{number['epochs']:.4g}"),
        ("Rows seen", words.rate_of(number.get("examples_seen"), number.get("examples_per_second"), "rows")),
        ("Tokens seen", words.rate_of(number.get("tokens_seen"), number.get("tokens_per_second"), "tokens")),
    ]
    weighed, facts = [row for row in weighed if row[1] or row[2]], [row for row in facts if row[1]]
    return {"weighed": weighed, "facts": facts, "parts": [part for part in parts if part[1]]} if weighed or facts else None


def machine(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what it ran on."""
    machine = words.mapping(report.get("machine"))
    facts = [(key, value) for key, value in machine.items() if key != "versions"] + list(words.mapping(machine.get("versions")).items())
    told = [(words.titled(key), words.gigabytes(words.number_of(value)) if key.endswith("_gb") else _listed(value)) for key, value in facts]
    return [(label, text) for label, text in told if text]


def _listed(value: Any) -> str:
    """Return a value in words, what is nested as a list."""
    parts = list(value.values()) if isinstance(value, Mapping) else value
    return ", ".join(filter(None, map(_listed, parts))) if isinstance(parts, list | tuple) else words.text_of(parts)


def traces(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return paths and hashes."""
    paths = [(label, words.text_of(report.get(key))) for key, label in (("run", "Run folder"), ("artifact", "Artifact"), ("report", "This report"))]
    hashes = [(f"SHA-256 of the {key.replace('_', ' ')}", words.text_of(value)) for key, value in words.mapping(report.get("hashes")).items()]
    return [(label, text) for label, text in paths + hashes if text]
