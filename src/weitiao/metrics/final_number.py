"""The number that a worked answer comes to, and how often it is the right one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from weitiao.core.contracts import Prediction, TextMetric, references

_PLAIN = str.maketrans("０１２３４５６７８９．％－−–", "0123456789.%---")
"""Digits and signs of full width, and what is typeset as a minus."""
_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}"), r" \1/\2"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,!; ]|\\(?=[$%])"), ""),
    (re.compile(r"-\s+(?=\d+/)"), "-"),  # of a fraction that stood behind a minus
)
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    r"(?<![A-Za-z_\d.])(?P<sign>(?<![)\]}%])-)?[$€£¥￥]?\s?(?P<inner>(?<=[$€£¥￥])-)?"
    rf"(?:(?P<whole>\d+)\s+(?P<top>\d+)/(?P<bottom>\d+)|(?P<number>{_DIGITS})(?:[eE](?P<power>[-+]?\d{{1,2}})(?!\d)|\s?/\s?(?P<under>{_DIGITS}))?)"
    r"(?P<myriads>\s?[万亿])?"
)
_LONGEST = 60
"""Characters of a number, at most: a model that repeats a digit names none."""
_MYRIADS = {"万": 10**4, "亿": 10**8}
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_SAID = re.compile(r"(?:answer\W{0,4}(?:is|was|equals|[:：=])|答案?\s*(?:[是为:：]|等于))([^\n]*)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?=\s|$)|[。！？；]")


def final_number(text: str) -> str | None:
    r"""Return the number that an answer comes to, in its normal form; None where it names none.

    It is looked for behind the first `####` (GSM8K, arXiv:2110.14168), in the last `\boxed{}`, behind the last "the answer is"
    or 答案是, and else it is the last number there is. 1,000 is 1000, 0.50 is 0.5, 2/4 and \frac{1}{2} are 0.5, 1 1/2 is 1.5,
    3万 is 30000; currencies, units and percent signs are left out, so 50 % is 50 and not 0.5. Numbers in words are not read.
    """
    text = text.translate(_PLAIN)
    marked = text.partition("####")[2].strip()
    boxed, said = _BOXED.findall(text), _SAID.findall(text)
    for part in (marked.partition("\n")[0], boxed[-1] if boxed else "", _SENTENCE_END.split(said[-1])[0] if said else ""):
        if found := _numbers(part.rpartition("=")[2]) or _numbers(part):
            return _written(found[0])
    found = _numbers(text)
    return _written(found[-1]) if found else None


def _numbers(text: str) -> list[Fraction]:
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return [_value(match) for match in _NUMBER.finditer(text) if len(match[0]) <= _LONGEST]


def _value(match: re.Match[str]) -> Fraction:
    def exact(digits: str) -> Fraction:
        return Fraction(digits.replace(",", ""))

    if match["whole"] is not None:
        value = exact(match["whole"]) + (exact(match["top"]) / exact(match["bottom"]) if int(match["bottom"]) else 0)
    else:
        value = exact(match["number"]) * Fraction(10) ** int(match["power"] or 0)
        if match["under"] is not None and (under := exact(match["under"])):
            value /= under
    value *= _MYRIADS.get((match["myriads"] or "").strip(), 1)
    return -value if match["sign"] or match["inner"] else value


def _written(value: Fraction) -> str:
    """Return a number in its one form: as a decimal where it ends, else as a fraction in lowest terms."""
    digits, rest = 0, value.denominator
    for factor in (10, 2, 5):
        while rest % factor == 0:
            rest, digits = rest // factor, digits + 1
    if rest > 1:
        return f"{value.numerator}/{value.denominator}"
    text = f"{abs(value.numerator) * 10**digits // value.denominator:0{digits + 1}d}"
    whole, decimals = text[: len(text) - digits], text[len(text) - digits :].rstrip("0")
    return ("-" if value < 0 else "") + whole + (f".{decimals}" if decimals else "")


@dataclass(frozen=True)
class ExactNumber(TextMetric):
    """Share of answers that come to the number of a reference."""

    name: str = "exact_match"
    higher_is_better: bool = True
    binary: bool = True

    def concerns(self, target: Any) -> bool:
        """Rows whose reference names a number."""
        return any(final_number(text) is not None for text in references(target))

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): right or not, and one."""
        found = []
        for prediction, target in zip(predictions, targets, strict=True):
            said = final_number(prediction.value)
            found.append([float(said is not None and said in map(final_number, references(target))), 1.0])
        return np.array(found, dtype=float).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return np.asarray(totals[..., 0] / totals[..., 1])


@dataclass(frozen=True)
class WithoutNumber(TextMetric):
    """Share of generated answers, those that were outvoted included, that name no number."""

    name: str = "no_number"
    higher_is_better: bool = False

    def applies(self, prediction: Prediction) -> bool:
        """Rows with answers that the model generated."""
        return "no_number" in prediction.measures

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): share of the row's answers, and one."""
        return np.array([[p.measures["no_number"], 1.0] for p in predictions]).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return np.asarray(totals[..., 0] / totals[..., 1])
