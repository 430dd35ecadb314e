"""Scores of called functions, against cases counted by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from weitiao.core.contracts import Prediction
from weitiao.evaluation import score
from weitiao.metrics.calls import ToolArgumentsMatch, ToolNameAccuracy, ToolUseAccuracy


def call(name: str, **arguments: Any) -> str:
    return json.dumps({"name": name, "arguments": arguments})


BOTH = f"{call('a', x=1)}\n{call('b')}"
CASES = [
    # reference, said, right use, right name, right arguments (None: not scored)
    (call("a", x=1), call("a", x=1), 1, 1, 1),
    (call("a", x=1, y=[2]), json.dumps({"arguments": {"y": [2.0], "x": 1.0}, "name": "a"}), 1, 1, 1),
    (call("a", x=1), f"<tool_call>\n{call('a', x=1)}\n</tool_call>", 1, 1, 1),
    (call("a", x=1), call("a", x="1"), 1, 1, 0),
    (call("a", x=1), call("a", x=True), 1, 1, 0),
    (call("a", x=1), call("a"), 1, 1, 0),
    (call("a", x=1), call("b", x=1), 1, 0, 0),
    (call("a", x=1), BOTH, 1, 0, 0),
    (call("a", x=1), "I cannot.", 0, 0, 0),
    (BOTH, f"{call('b')} {call('a', x=1)}", 1, 1, 1),
    (BOTH, call("a", x=1), 1, 0, 0),
    ("It is fine.", "It is bad.", 1, None, None),
    ("It is fine.", call("a"), 0, None, None),
]


@pytest.mark.parametrize("n", range(len(CASES)))
def test_each_case_is_right_or_wrong_as_counted_by_hand(n: int) -> None:
    target, said, *expected = CASES[n]
    predictions = [Prediction("r", said, measures={"functions": 1.0})]
    found = [score.value(metric, predictions, [target]) for metric in (ToolUseAccuracy(), ToolNameAccuracy(), ToolArgumentsMatch())]
    assert found == expected


def test_the_score_is_the_share_of_the_rows_it_is_of() -> None:
    predictions = [Prediction(str(n), case[1], measures={"functions": 1.0}) for n, case in enumerate(CASES)]
    targets = [case[0] for case in CASES]
    for column, metric in ((2, ToolUseAccuracy()), (3, ToolNameAccuracy()), (4, ToolArgumentsMatch())):
        counted = [case[column] for case in CASES if case[column] is not None]
        found = score.score(metric, predictions, targets)
        assert found is not None and found["value"] == pytest.approx(sum(counted) / len(counted)) and found["n"] == len(counted)


def test_rows_without_functions_or_without_a_text_are_not_scored() -> None:
    assert score.value(ToolUseAccuracy(), [Prediction("r", "fine")], ["fine"]) is None
    assert score.value(ToolNameAccuracy(), [Prediction("r", None)], [call("a")]) is None
