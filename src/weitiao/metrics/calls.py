"""Whether a generated answer calls the functions that the reference calls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.core.calls import Call, calls_in
from weitiao.core.contracts import Prediction, TextMetric, references


class _Right(TextMetric):
    """A share of rows that are right."""

    higher_is_better = True
    binary = True

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): right or not, and one."""
        found = [[float(self._right(calls_in(p.value), calls_in(references(t)[0]))), 1.0] for p, t in zip(predictions, targets, strict=True)]
        return np.array(found, dtype=float).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the share."""
        return np.asarray(totals[..., 0] / totals[..., 1])

    def _right(self, said: Sequence[Call], expected: Sequence[Call]) -> bool:
        raise NotImplementedError


@dataclass(frozen=True)
class ToolUseAccuracy(_Right):
    """Share of answers that call functions where the reference does, and say something where it does not; of rows with functions to call."""

    name: str = "tool_use_accuracy"

    def applies(self, prediction: Prediction) -> bool:
        """Rows with a generated text and functions to call."""
        return isinstance(prediction.value, str) and "functions" in prediction.measures

    def _right(self, said: Sequence[Call], expected: Sequence[Call]) -> bool:
        return bool(said) == bool(expected)


@dataclass(frozen=True)
class ToolNameAccuracy(_Right):
    """Share of answers that call functions of the same names as the reference, each as often, in any order; of rows whose reference calls one."""

    name: str = "tool_name_accuracy"

    def concerns(self, target: Any) -> bool:
        """Rows whose reference is a call."""
        return bool(calls_in(references(target)[0]))

    def _right(self, said: Sequence[Call], expected: Sequence[Call]) -> bool:
        return Counter(call.name for call in said) == Counter(call.name for call in expected)


@dataclass(frozen=True)
class ToolArgumentsMatch(ToolNameAccuracy):
    """Share of answers whose calls are those of the reference: names and arguments equal as JSON values, in any order of calls and of keys.

    Numbers are compared by their value (1 is 1.0) and texts letter by letter; an argument that is left out is not the same as its default.
    """

    name: str = "tool_arguments_match"

    def _right(self, said: Sequence[Call], expected: Sequence[Call]) -> bool:
        return Counter(map(_plain, said)) == Counter(map(_plain, expected))


def _plain(call: Call) -> str:
    """Return a call so that equal ones are equal texts."""
    return json.dumps([call.name, _numbers(call.arguments)], sort_keys=True)


def _numbers(value: Any) -> Any:
    """Return a JSON value with whole numbers written as such."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    return [_numbers(inner) for inner in value] if isinstance(value, list) else value
