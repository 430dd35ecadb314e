from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as reference

from weitiao.core.contracts import Prediction
from weitiao.core.report import verdict
from weitiao.core.rows import Row
from weitiao.evaluation import score
from weitiao.evaluation.changes import changes
from weitiao.metrics.accuracy import Accuracy
from weitiao.metrics.f1 import F1
from weitiao.metrics.regression import MeanAbsoluteError, MeanSquaredError, Pearson, Spearman
from weitiao.tasks.text_classification import TextClassification

random = np.random.default_rng(0)
LABELS = ("a", "b", "c", "never")
TRUTH = [str(x) for x in random.choice(list("abc"), 300)]
GUESS = [t if random.random() < 0.7 else str(random.choice(list("abc"))) for t in TRUTH]
SETS_TRUTH = [tuple(sorted({str(x) for x in random.choice(list("abc"), random.integers(0, 3))})) for _ in range(300)]
SETS_GUESS = [list(t) if random.random() < 0.6 else [str(random.choice(list("abc")))] for t in SETS_TRUTH]
X, Y = random.normal(size=300), random.normal(size=300)
Z = X + Y


def said(values) -> list[Prediction]:
    return [Prediction(str(n), value) for n, value in enumerate(values)]


def value(metric, predicted, targets) -> float:
    return score.value(metric, said(predicted), targets)


def indicator(sets) -> np.ndarray:
    return np.array([[label in s for label in LABELS] for s in sets], dtype=int)


def test_scores_are_those_of_scikit_learn() -> None:
    assert value(Accuracy(), GUESS, TRUTH) == pytest.approx(reference.accuracy_score(TRUTH, GUESS))
    for average in ("macro", "micro"):
        expected = reference.f1_score(TRUTH, GUESS, labels=list(LABELS), average=average, zero_division=0)
        assert value(F1(LABELS, average), GUESS, TRUTH) == pytest.approx(expected)
        expected = reference.f1_score(indicator(SETS_TRUTH), indicator(SETS_GUESS), average=average, zero_division=0)
        assert value(F1(LABELS, average), SETS_GUESS, SETS_TRUTH) == pytest.approx(expected)
    assert value(Accuracy(), SETS_GUESS, SETS_TRUTH) == pytest.approx(reference.accuracy_score(indicator(SETS_TRUTH), indicator(SETS_GUESS)))
    assert value(MeanSquaredError(), X, Z) == pytest.approx(reference.mean_squared_error(Z, X))
    assert value(MeanAbsoluteError(), X, Z) == pytest.approx(reference.mean_absolute_error(Z, X))
    assert value(Pearson(), X, Z) == pytest.approx(np.corrcoef(X, Z)[0, 1])
    assert value(Pearson(), np.ones(300), Z) == 0.0
    assert value(Spearman(), np.exp(X), Z) == pytest.approx(spearmanr(X, Z).statistic)
    assert value(Spearman(), np.round(X), np.round(Z)) == pytest.approx(spearmanr(np.round(X), np.round(Z)).statistic), "equal values share a rank"
    assert value(Spearman(), np.ones(300), Z) == 0.0


def test_the_interval_of_a_share_is_about_that_of_the_normal_approximation() -> None:
    right = ["a"] * 800 + ["b"] * 200
    found = score.score(Accuracy(), said(right), ["a"] * 1000)
    assert found["n"] == 1000 and found["value"] == 0.8
    half = 1.96 * (0.8 * 0.2 / 1000) ** 0.5
    assert found["low"] == pytest.approx(0.8 - half, abs=0.006) and found["high"] == pytest.approx(0.8 + half, abs=0.006)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    draw = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        right = ["a" if draw.random() < 0.75 else "b" for _ in range(150)]
        found = score.score(Accuracy(), said(right), ["a"] * 150, seed=trial)
        covered += found["low"] <= 0.75 <= found["high"]
    assert 176 <= covered <= 200  # 95 % of 200 is 190; three standard deviations are about 9, and the percentile method is a little narrow


def test_the_exact_test_of_right_and_wrong_is_mcnemars() -> None:
    targets = ["a"] * 100
    before = ["a"] * 80 + ["b"] * 20
    after = ["b"] * 2 + ["a"] * 90 + ["b"] * 8  # 12 became right, 2 wrong
    found = score.compare(Accuracy(), said(before), said(after), targets)
    assert found["p_value"] == pytest.approx(2 * sum((14 * 13 / 2, 14, 1)) / 2**14)
    assert found["difference"]["value"] == pytest.approx(0.1) and found["difference"]["low"] > 0
    assert score.compare(Accuracy(), said(before), said(before), targets)["p_value"] == 1.0


def test_the_permutation_test_agrees_with_the_exact_one_where_both_apply() -> None:
    before = ["b" if n < 30 else t for n, t in enumerate(["a"] * 120)]
    after = ["b" if 20 <= n < 38 else t for n, t in enumerate(["a"] * 120)]
    exact = score.compare(Accuracy(), said(before), said(after), ["a"] * 120)
    permuted = score.compare(Accuracy(binary=False), said(before), said(after), ["a"] * 120)
    assert permuted["p_value"] == pytest.approx(exact["p_value"], abs=0.03)


def test_p_values_of_no_difference_are_spread_evenly() -> None:
    draw = np.random.default_rng(2)
    found = []
    for trial in range(100):
        truth = draw.normal(size=60)
        first, second = truth + draw.normal(size=60), truth + draw.normal(size=60)
        found.append(score.compare(MeanSquaredError(), said(first), said(second), truth, seed=trial)["p_value"])
    assert 0 <= sum(p < 0.05 for p in found) <= 13 and 30 <= sum(p < 0.5 for p in found) <= 70


def test_a_sparse_score_over_many_classes_is_resampled_in_little_memory() -> None:
    labels = tuple(map(str, range(500)))
    truth = [str(n % 500) for n in range(2000)]
    found = score.score(F1(labels), said(truth[:1900] + ["0"] * 100), truth)
    assert 0.9 < found["low"] < found["value"] < 1


@pytest.mark.parametrize(
    ("before", "after", "p", "higher", "level"),
    [
        (0.8, 0.9, 0.01, True, "better"),
        (0.8, 0.9, 0.2, True, "not proven"),
        (0.9, 0.8, 0.01, True, "worse"),
        (0.9, 0.8, 0.01, False, "better"),
        (0.8, 0.8, 1, True, "not proven"),
    ],
)
def test_the_verdict_needs_significance_and_the_right_direction(before: float, after: float, p: float, higher: bool, level: str) -> None:
    entry = {
        "before": {"value": before},
        "after": {"value": after, "n": 50},
        "difference": {"value": after - before, "low": -1, "high": 1},
        "p_value": p,
        "higher_is_better": higher,
    }
    assert verdict("accuracy", entry, before_is="model", split="test")["level"] == level


def test_changes_count_every_row_once() -> None:
    rows = [Row(str(n), f"text {n}", target) for n, target in enumerate(["a", "a", "a", "a"])]
    before = [Prediction(r.id, v) for r, v in zip(rows, ["b", "a", "a", "b"], strict=True)]
    after = [Prediction(r.id, v, {"a": 0.9, "b": 0.1}) for r, v in zip(rows, ["a", "b", "a", "b"], strict=True)]
    found = changes(TextClassification(labels=["a", "b"]), rows, before, after)
    assert (found["better"], found["worse"], found["both_right"], found["both_wrong"]) == (1, 1, 1, 1)
    assert found["examples_better"][0]["text"] == "text 0" and found["examples_better"][0]["score"] == 0.9
