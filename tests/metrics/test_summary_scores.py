"""ROUGE, length and repetition of generated texts: worked by hand, and equal to rouge-score for English."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from weitiao.core.contracts import Metric, Prediction
from weitiao.evaluation import score
from weitiao.metrics.generated import AnswerLength, Distinct, LengthRatio, RougeL, RougeN, StopRate, words

WORDS = ["the", "The", "a", "man's", "dog,", "bit", "#Person1#:", "x_y", "3.5", "re-use", "it", "was", "said.", "(so)", "A"]


def value(metric: Metric, said: Sequence[str], expected: Sequence[Any]) -> float:
    found = score.value(metric, [Prediction(str(n), text) for n, text in enumerate(said)], expected)
    assert found is not None
    return found


def test_rouge_worked_by_hand() -> None:
    said, expected = "the cat sat on the mat", "the cat lay on a mat"
    assert value(RougeN(n=1), [said], [expected]) == pytest.approx(2 * 4 / 12), "the, cat, on, mat"
    assert value(RougeN(n=2), [said], [expected]) == pytest.approx(2 * 1 / 10), "the cat"
    assert value(RougeL(), [said], [expected]) == pytest.approx(2 * 4 / 12)
    assert value(RougeL(), ["b a"], ["a b"]) == pytest.approx(2 * 1 / 4)
    assert [metric.name for metric in (RougeN(n=1), RougeN(n=2), RougeL())] == ["rouge1", "rouge2", "rougeL"]


def test_rouge_is_a_mean_over_rows_and_the_best_of_several_references() -> None:
    assert value(RougeN(n=1), ["a b", "x"], ["a b", "y"]) == pytest.approx(0.5)
    for metric in (RougeN(n=1), RougeN(n=2), RougeL()):
        assert value(metric, ["a b c"], [("x y", "a b c", "z")]) == pytest.approx(1)
        assert value(metric, ["", "a"], ["a b", ""]) == 0


def test_in_chinese_characters_are_words_and_latin_words_among_them_stay_whole() -> None:
    assert words("用GPU训练3个模型_v2。") == ["用", "gpu", "训", "练", "3", "个", "模", "型", "v2"]
    assert value(RougeN(n=1), ["北京大学"], ["北京医院"]) == pytest.approx(0.5)
    assert value(RougeN(n=2), ["北京大学"], ["北京医院"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("references", [1, 3])
def test_rouge_is_that_of_rouge_score_for_english(references: int) -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score, or what it needs, is not installed")
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    rng = random.Random(references)
    for _ in range(60):
        said = " ".join(rng.choices(WORDS, k=rng.randint(0, 12)))
        expected = tuple(" ".join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(references))
        theirs = scorer.score_multi(expected, said)
        for metric, name in ((RougeN(n=1), "rouge1"), (RougeN(n=2), "rouge2"), (RougeL(), "rougeL")):
            assert value(metric, [said], [expected]) == pytest.approx(theirs[name].fmeasure, abs=1e-12), (said, expected)


def test_length_stands_beside_that_of_the_closest_reference() -> None:
    assert value(LengthRatio(), ["a b c", "a"], ["a b", "a b"]) == pytest.approx(4 / 4)
    assert value(LengthRatio(), ["a b c"], [("a", "a b c d")]) == pytest.approx(3 / 4)
    assert LengthRatio().higher_is_better is None


def test_repetition_shows_in_the_share_of_distinct_pairs() -> None:
    assert value(Distinct(), ["a b a b a b"], [""]) == pytest.approx(2 / 5)


def test_a_copied_text_has_no_end_and_no_tokens() -> None:
    copied, generated = Prediction("0", "a"), Prediction("0", "a", measures={"stopped": 1.0, "answer_tokens": 3.0})
    for metric, expected in ((StopRate(), 1.0), (AnswerLength(), 3.0)):
        assert score.value(metric, [copied], ["a"]) is None
        assert score.value(metric, [copied, generated], ["a", "a"]) == expected
