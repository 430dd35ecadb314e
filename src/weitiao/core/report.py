"""Scores with n and interval, tied by hash to an artifact and to rows, and the sentence they add up to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

SIGNIFICANT = 0.05
"""A change counts as proven below this p-value."""
TITLES = {
    "mse": "Mean squared error",
    "mae": "Mean absolute error",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "f1": "F1",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "triple_f1": "F1 of triples",
    "triple_precision": "Precision of triples",
    "triple_recall": "Recall of triples",
    "loss": "Loss per token",
    "bleu": "BLEU",
    "chrf": "chrF2",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "length_ratio": "Length beside the reference",
    "stop_rate": "Share ended by itself",
    "distinct_2": "Distinct word pairs",
    "answer_length": "Answer length (tokens)",
    "no_number": "Answers without a number",
    "wrong_answer": "Completions with a wrong answer",
    "exception": "Completions that raise an exception",
    "syntax_error": "Completions that are not Python",
    "timeout": "Completions that take too long",
    "memory": "Completions that take too much memory",
    "corpus_distinct_1": "Distinct words over all texts",
    "corpus_distinct_2": "Distinct word pairs over all texts",
    "fluency_perplexity": "Perplexity under the untuned model",
    "tool_use_accuracy": "Calls where there should be one",
    "tool_name_accuracy": "Calls with the right names",
    "tool_arguments_match": "Calls with the right names and arguments",
    "has_answer_exact_match": "Exact match where there is an answer",
    "has_answer_f1": "F1 where there is an answer",
    "no_answer_exact_match": "Exact match where there is none",
    "ndcg@10": "nDCG@10",
    "mrr@10": "MRR@10",
    "tf_idf": "TF-IDF",
}
"""Metric or baseline -> what it is called where its name says too little."""
UNITS = {
    "loss": "nats per token",
    "stop_rate": "of answers",
    "no_number": "of answers",
    **dict.fromkeys(("wrong_answer", "exception", "syntax_error", "timeout", "memory"), "of completions"),
    "distinct_2": "of word pairs",
    "corpus_distinct_1": "of words",
    "corpus_distinct_2": "of word pairs",
    "length_ratio": "of the reference's words",
    "answer_length": "tokens",
}
"""Metric -> what its numbers count, where a table shows the name as a recipe writes it."""


BEFORE = {
    "model": "the model as it came",
    "head_only": "a linear head on the untouched model",
    "majority": "the same answer for every row",
    "frequent_tag": "the tag that each word has most often in training",
    "blind_choice": "always the longest option, or always the one that stands where the right one does most often, whichever is better on train",
    "first_sentence": "the first sentence of every text, or no answer where that is right more often on train",
    "tf_idf": "a comparison by words (TF-IDF)",
    "copy": "the text itself",
    "lead": "the first sentences of the text",
}
"""What a report's `before_is` and its baselines mean; a task may name others, which say what they are."""


def before_said(before_is: str) -> str:
    """Return in words what stands as before."""
    return BEFORE.get(before_is, before_is.replace("_", " "))


def verdict(metric: str, entry: Mapping[str, Any], *, before_is: str, split: str, trivial: float | None = None, trivial_is: str = "majority") -> dict[str, str]:
    """Return level (better, worse, not proven) and one sentence for the main metric's entry. trivial: what a prediction without a model would score."""
    before, after, change = entry["before"], entry["after"], entry["difference"]
    p = entry["p_value"]
    gained = change["value"] if entry["higher_is_better"] else -change["value"]
    level = "not proven" if p >= SIGNIFICANT or gained == 0 else "better" if gained > 0 else "worse"
    verb = "stayed at" if change["value"] == 0 else "rose" if change["value"] > 0 else "fell"
    both = (before["value"], after["value"])
    was, now = (number(value, digits_of([value], beside=both)) for value in both)
    start = f"{title(metric)} stayed at {was}" if verb == "stayed at" else f"{title(metric)} {verb} from {was} to {now}"
    if metric == "loss" and verb != "stayed at":
        start += f" (perplexity {' to '.join(number(v, digits_of([v])) for v in map(_exp, both))})"
    fine = digits_of_change(change, digits_of(both))
    moved, low, high = (number(change[key], fine, signed=True) for key in ("value", "low", "high"))
    baseline = "" if before_is == "model" else f" (before: {before_said(before_is)})"
    sentence = f"{start} on {after['n']} {split} rows{baseline}; change {moved}, 95\u00a0% interval {low} to {high}, {p_in_words(p)}."
    if level == "not proven":
        sentence += " That may be chance."
    if trivial is not None and trivial_is != before_is:
        said = before_said(trivial_is)
        sentence += f" {said[:1].upper()}{said[1:]} would score {number(trivial, digits_of([trivial], beside=both))}."
    return {"level": level, "sentence": sentence}


def p_in_words(p: float) -> str:
    """Return `p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def title(metric: str) -> str:
    """Return a metric's name as it begins a sentence."""
    return TITLES.get(metric) or metric.replace("_", " ").capitalize()


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


# ---------------------------------------------------------------- numbers


def digits_of(values: Iterable[float], *, beside: Iterable[float] = (), usual: int = 3) -> int:
    """Return how many decimals tell such values apart: `usual` for shares, fewer for large numbers, more for tiny ones.

    beside: values in the same line, whose decimals are taken unless they would hide these.
    """
    own, others = _digits(values, usual), list(beside)
    common = min(own, _digits(others, usual)) if others else own
    return own if own - common > 1 else common


def _digits(values: Iterable[float], usual: int) -> int:
    largest = max(map(abs, values), default=0.0)
    magnitude = math.floor(math.log10(largest)) if 0 < largest < math.inf else 0
    return max(0, usual - magnitude) if magnitude >= 1 else min(8, usual - 1 - magnitude) if magnitude < -1 else usual


def digits_of_change(change: Mapping[str, float], usual: int) -> int:
    """Return the decimals of a difference: as many as the scores have, or more where its interval is narrow."""
    width = abs(change.get("high", 0.0) - change.get("low", 0.0))
    return max(usual, min(8, 1 - math.floor(math.log10(width)))) if 0 < width < math.inf else usual


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """Return a number with that many decimals, thousands apart; what no one would read in full as a power of ten."""
    if abs(value) >= 1e9:
        return f"{value:{'+' if signed else ''}.2e}"
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    return text if float(text.replace(",", "")) else text.lstrip("+-")
