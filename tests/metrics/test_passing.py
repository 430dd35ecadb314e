"""pass@k, held to counting every choice of k completions."""

from __future__ import annotations

import itertools

import pytest

from weitiao.core.contracts import Prediction
from weitiao.evaluation import score
from weitiao.metrics.passing import EndedIn, PassAtK, pass_at


def test_pass_at_k_is_the_share_of_choices_with_one_that_passes() -> None:
    for run in range(1, 8):
        for passed, k in itertools.product(range(run + 1), range(1, run + 1)):
            choices = list(itertools.combinations([True] * passed + [False] * (run - passed), k))
            assert pass_at(k, run, passed) == pytest.approx(sum(map(any, choices)) / len(choices), abs=1e-12)


@pytest.mark.parametrize(
    ("k", "run", "passed", "expected"), [(1, 10, 3, 0.3), (5, 10, 3, 1 - 21 / 252), (10, 10, 1, 1.0), (1, 1, 0, 0.0), (2, 4, 2, 1 - 1 / 6)]
)
def test_pass_at_k_worked_out_by_hand(k: int, run: int, passed: int, expected: float) -> None:
    assert pass_at(k, run, passed) == pytest.approx(expected)


def test_rows_whose_completions_were_run_are_averaged() -> None:
    measures = [
        {"completions_run": 4.0, "passed": 2.0, "timeout": 1.0, "syntax_error": 1.0},
        {"completions_run": 4.0, "passed": 0.0, "timeout": 0.0, "syntax_error": 4.0},
        {"answer_tokens": 3.0},
    ]
    predictions = [Prediction(str(n), "x", measures=held) for n, held in enumerate(measures)]
    targets = ["x"] * 3
    assert score.value(PassAtK(1, 4), predictions, targets) == pytest.approx(0.25)
    assert score.value(PassAtK(2, 4), predictions, targets) == pytest.approx((1 - 1 / 6) / 2)
    assert score.value(EndedIn("timeout"), predictions, targets) == pytest.approx(0.125)
    assert score.value(EndedIn("syntax_error"), predictions, targets) == pytest.approx(0.625)
    assert score.value(PassAtK(1, 4), predictions[2:], targets[2:]) is None
    assert (PassAtK(10, 20).name, PassAtK(1, 1).binary, PassAtK(1, 4).binary) == ("pass@10", True, False)
