"""Precision, recall and F1 of entities, against hand-counted cases, scikit-learn, and seqeval where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.core import tagging
from weitiao.core.contracts import Prediction
from weitiao.core.rows import Row
from weitiao.evaluation import score
from weitiao.metrics.entities import EntityF1, EntityPrecision, EntityRecall
from weitiao.metrics.tags import TagAccuracy
from weitiao.tasks.token_classification import TokenClassification

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def predicted(tags: list[str]) -> Prediction:
    return Prediction("r", [{"type": kind, "start": start, "end": end} for kind, start, end in tagging.entities_of(tags)])


def value(metric: Any, guesses: list[list[str]], truths: list[list[str]]) -> float:
    return float(metric.value(score.total(metric.statistics([predicted(tags) for tags in guesses], truths))))


def scores(guesses: list[list[str]], truths: list[list[str]]) -> tuple[float, float, float]:
    precision, recall, f1 = (value(metric, guesses, truths) for metric in (EntityPrecision(), EntityRecall(), EntityF1()))
    return precision, recall, f1


@pytest.mark.parametrize(
    ("guess", "truth", "expected"),
    [
        ("O O B-PER I-PER", "O O B-PER I-PER", (1, 1, 1)),
        ("O O B-PER O", "O O B-PER I-PER", (0, 0, 0)),  # cut short
        ("O B-PER I-PER I-PER", "O O B-PER I-PER", (0, 0, 0)),  # too long
        ("O O B-LOC I-LOC", "O O B-PER I-PER", (0, 0, 0)),  # another type
        ("B-PER O B-PER I-PER", "O O B-PER I-PER", (1 / 2, 1, 2 / 3)),
        ("O O O O", "B-LOC O B-PER I-PER", (0, 0, 0)),
        ("B-LOC O B-PER I-PER", "O O O O", (0, 0, 0)),
        ("O O", "O O", (0, 0, 0)),
        ("B-PER I-PER", "I-PER I-PER", (1, 1, 1)),  # the truth in IOB1
        ("B-PER B-PER", "S-PER S-PER", (1, 1, 1)),
        ("B-PER I-PER", "B-PER E-PER", (1, 1, 1)),
    ],
)
def test_only_whole_entities_count(guess: str, truth: str, expected: tuple[float, float, float]) -> None:
    assert scores([guess.split()], [truth.split()]) == pytest.approx(expected)


def sentences() -> st.SearchStrategy[list[tuple[list[str], list[str]]]]:
    tags = st.sampled_from(TAGS)
    return st.lists(st.lists(st.tuples(tags, tags), min_size=1, max_size=8), min_size=1, max_size=5).map(
        lambda found: [([left for left, _ in pairs], [right for _, right in pairs]) for pairs in found]
    )


@settings(max_examples=200, deadline=None)
@given(sentences())
def test_scores_are_those_of_scikit_learn_on_all_possible_entities(drawn: list[tuple[list[str], list[str]]]) -> None:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    sides = [[{(n, *entity) for entity in tagging.entities_of(pair[side])} for n, pair in enumerate(drawn)] for side in (0, 1)]
    every = sorted(set().union(*sides[0], *sides[1]))
    if every:
        guess, truth = (np.array([[any(entity in found for found in side) for entity in every]]).astype(int) for side in sides)
        expected = precision_recall_fscore_support(truth, guess, average="micro", zero_division=0)[:3]
        assert scores([pair[0] for pair in drawn], [pair[1] for pair in drawn]) == pytest.approx(expected)
    flat = [[tag for pair in drawn for tag in tagging.tags_of(tagging.entities_of(pair[side]), len(pair[side]))] for side in (0, 1)]
    assert value(TagAccuracy(plain=False), [pair[0] for pair in drawn], [pair[1] for pair in drawn]) == pytest.approx(accuracy_score(*flat))


@settings(max_examples=200, deadline=None)
@given(sentences())
def test_scores_are_those_of_seqeval(drawn: list[tuple[list[str], list[str]]]) -> None:
    seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed")
    guesses, truths = [pair[0] for pair in drawn], [pair[1] for pair in drawn]
    own = scores(guesses, truths)
    assert own == pytest.approx([getattr(seqeval, f"{name}_score")(truths, guesses, zero_division=0) for name in ("precision", "recall", "f1")])


def test_rows_can_be_drawn_again_and_again() -> None:
    """A score of some rows is a function of the sum of their statistics: the interval rests on that."""
    guesses = [["B-PER", "O"], ["B-LOC", "I-LOC"], ["O", "O"]]
    truths = [["B-PER", "O"], ["B-LOC", "O"], ["B-PER", "O"]]
    statistics = EntityF1().statistics([predicted(tags) for tags in guesses], truths)
    for chosen in ([0], [0, 1], [1, 2], [0, 0, 2]):
        again = scores([guesses[n] for n in chosen], [truths[n] for n in chosen])[2]
        assert float(EntityF1().value(statistics[chosen].sum(0))) == pytest.approx(again)
    entry = score.score(EntityF1(), [predicted(tags) for tags in guesses], truths)
    assert entry is not None and entry["value"] == pytest.approx(0.4) and entry["low"] < 0.4 < entry["high"] and entry["n"] == 3


def test_the_table_counts_each_type_apart_and_types_that_no_training_row_had() -> None:
    task = TokenClassification(scheme="iob2", labels=TAGS)
    rows = [Row("a", "a b c d", parts=("a", "b", "c", "d"))]
    truths = [("B-PER", "I-PER", "B-ORG", "B-LOC")]
    guess = [predicted(["B-PER", "I-PER", "B-LOC", "B-LOC"]).value for _ in rows]
    assert task.breakdown(guess, truths)["per_class"] == [
        {"label": "LOC", "n": 1, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)},
        {"label": "ORG", "n": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0},
        {"label": "PER", "n": 1, "precision": 1.0, "recall": 1.0, "f1": 1.0},
    ]


def test_the_table_of_plain_tags_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    truth, guess = ["DT", "NN", "VB", "NN", "NN"], ["DT", "VB", "VB", "NN", "DT"]
    task = TokenClassification(scheme="plain", labels=["DT", "NN", "VB"])
    table = task.breakdown([guess[:2], guess[2:]], [tuple(truth[:2]), tuple(truth[2:])])["per_class"]
    expected = precision_recall_fscore_support(truth, guess, labels=["DT", "NN", "VB"])
    assert [entry["label"] for entry in table] == ["DT", "NN", "VB"]
    for name, column in zip(("precision", "recall", "f1", "n"), expected, strict=True):
        assert [entry[name] for entry in table] == pytest.approx(list(column))
    accuracy = TagAccuracy(plain=True)
    assert float(accuracy.value(score.total(accuracy.statistics([Prediction("r", guess)], [tuple(truth)])))) == pytest.approx(0.6)
