from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import ndcg_score

from weitiao.core.contracts import Prediction
from weitiao.core.rows import Row
from weitiao.evaluation import score
from weitiao.metrics import retrieval
from weitiao.metrics.regression import Spearman
from weitiao.metrics.retrieval import METRICS, Search


def said(right: list[list[int]], scores: Any, barred: list[list[int]] | None = None) -> list[tuple[int, dict[str, float]]]:
    table = np.array(scores, dtype=float)
    search = Search([str(n) for n in range(table.shape[1])], [(n, 0) for n in range(table.shape[1])], right, barred or [[]] * len(table))
    return list(retrieval.judged(search, lambda part: table[part].copy()))


def test_ndcg_at_ten_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(300, 40))
    right = [sorted(random.choice(40, size=random.integers(1, 15), replace=False).tolist()) for _ in range(300)]
    relevance = np.array([[float(n in found) for n in range(40)] for found in right])
    for (_, measures), truth, row in zip(said(right, scores), relevance, scores, strict=True):
        assert measures["ndcg@10"] == pytest.approx(ndcg_score([truth], [row], k=10), abs=1e-9)


def test_measures_of_one_search_by_hand() -> None:
    [(best, measures)] = said([[2, 4]], [[0.9, 0.8, 0.7, 0.6, 0.1]])
    gain, ideal = 1 / np.log2(4) + 1 / np.log2(6), 1 + 1 / np.log2(3)
    assert best == 0
    assert measures == pytest.approx({"ndcg@10": gain / ideal, "mrr@10": 1 / 3, "recall@1": 0.0, "recall@10": 1.0, "rank": 3, "texts": 5})
    [(best, measures)] = said([[10]], [[*np.linspace(1, 0.5, 10), 0.4]])
    assert (measures["mrr@10"], measures["ndcg@10"], measures["recall@10"], measures["rank"]) == (0.0, 0.0, 0.0, 11.0)
    [(best, measures)] = said([list(range(12))], [[*np.linspace(1, 0.5, 12), 0.4]])
    assert best == 0 and measures["recall@1"] == measures["recall@10"] == measures["ndcg@10"] == 1.0, "no more than ten of twelve can be among ten"


def test_a_model_that_says_the_same_of_all_texts_finds_nothing() -> None:
    found = said([[n] for n in range(30)], np.ones((30, 30)) + np.random.default_rng(0).normal(size=(30, 30)) * 1e-8)
    assert all(measures["rank"] == 30 and best != n for n, (best, measures) in enumerate(found))


def test_a_row_does_not_find_itself_and_one_with_nothing_to_find_is_not_scored() -> None:
    (best, measures), (_, alone) = said([[1], []], [[1.0, 0.5, 0.2], [1.0, 0.5, 0.2]], [[0], [0]])
    assert best == 1 and measures["rank"] == 1 and measures["texts"] == 2 and alone == {}
    rows = [Prediction("a", "x", measures=measures), Prediction("b", "x", measures=alone)]
    for metric in METRICS:
        assert score.score(metric, rows, ["x", "x"])["n"] == 1


def test_positives_of_rows_with_the_same_query_are_right_for_each_of_them() -> None:
    def row(id: str, query: str, *others: str, right: int = 1) -> Row:
        return Row(id, query, tuple(others[:right]), parts=(query, *others))

    search = retrieval.of_pairs([row("a", "q", "p1", "n"), row("b", "q", "p2"), row("c", "p1", "p3", "p1x", right=2)])
    assert search.texts == ["p1", "n", "p2", "p3", "p1x"]
    assert search.found_at == [(0, 1), (0, 2), (1, 1), (2, 1), (2, 2)]
    assert search.right == [[0, 2], [0, 2], [3, 4]] and search.barred == [[], [], [0]]


def test_texts_of_one_label_are_right_for_each_other_but_copies_are_not() -> None:
    rows = [Row(str(n), text, label) for n, (text, label) in enumerate([("a", "x"), ("b", "x"), ("a", "x"), ("c", "y")])]
    search = retrieval.of_labels(rows)
    assert search.texts == ["a", "b", "c"] and search.found_at == [(0, 0), (1, 0), (3, 0)]
    assert search.right == [[1], [0], [1], []] and search.barred == [[0], [1], [0], [2]]


def test_the_rank_correlation_is_that_of_scipy() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=200).round(1)
    y = (x + random.normal(size=200)).round(1)
    rows = [Prediction(str(n), float(value)) for n, value in enumerate(x)]
    assert score.value(Spearman(), rows, y.tolist()) == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)
    assert score.value(Spearman(), rows, [1.0] * 200) == 0
