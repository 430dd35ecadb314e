"""Exact match and F1 of answers, held to straight readings of the official definitions and to cases worked out by hand."""

from __future__ import annotations

import random
import re
import string
from typing import Any

import pytest

from weitiao.core.contracts import Prediction
from weitiao.evaluation import score
from weitiao.metrics.answer import AnswerF1, ExactMatch, exact, is_chinese, overlap

# ------------------------------------------------------------ the official definitions, read straight


def official_normal(text: str) -> str:
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def official_squad(said: str, references: list[str]) -> tuple[float, float]:
    """Exact match and F1 as the evaluation script of SQuAD 2.0 has them."""

    def f1(reference: str) -> float:
        gold, guess = official_normal(reference).split(), official_normal(said).split()
        if not gold or not guess:
            return float(gold == guess)
        left, same = list(gold), 0
        for word in guess:
            if word in left:
                left.remove(word)
                same += 1
        if not same:
            return 0.0
        precision, recall = same / len(guess), same / len(gold)
        return 2 * precision * recall / (precision + recall)

    golds = [text for text in references if official_normal(text)] or [""]
    return max(float(official_normal(said) == official_normal(gold)) for gold in golds), max(map(f1, golds))


def official_cmrc(said: str, references: list[str]) -> tuple[float, float]:
    """Exact match and F1 as the evaluation script of CMRC 2018 has them, for texts whose other words stand apart by spaces."""
    marks = list("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")

    def segments(text: str) -> list[str]:
        found: list[str] = []
        word = ""
        for character in [*text.lower().strip(), " "]:
            if character in marks:
                continue
            if "\u4e00" <= character <= "\u9fa5" or character == " ":
                found += [word] * bool(word) + [character] * (character != " ")
                word = ""
            else:
                word += character
        return found

    def bare(text: str) -> str:
        return "".join(c for c in text.lower().strip() if c not in marks)

    def f1(reference: str) -> float:
        a, b = segments(reference), segments(said)
        runs = [n for i in range(len(a)) for j in range(len(b)) for n in range(1, len(a) + 1) if a[i : i + n] == b[j : j + n] and len(a[i : i + n]) == n]
        if not runs:
            return 0.0
        precision, recall = max(runs) / len(b), max(runs) / len(a)
        return 2 * precision * recall / (precision + recall)

    return max(float(bare(said) == bare(gold)) for gold in references), max(map(f1, references))


WORDS = ["the", "a", "cat", "sat", "on", "mat,", "Mat", "U.S.", "1,000", "an", "dog-house", "'tis", "--", "é"]
CHARACTERS = ["北", "京", "大", "学", "，", "《", "》", "。", " iphone ", " 12 ", "年", "-"]


def test_words_are_compared_as_squad_compares_them() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        said, *golds = (" ".join(rng.choices(WORDS, k=rng.randint(0, 6))) for _ in range(rng.randint(1, 4)))
        assert values(said, golds, "words") == pytest.approx(official_squad(said, golds))


def test_chinese_is_compared_as_cmrc_2018_compares_it() -> None:
    rng = random.Random(1)
    for _ in range(1000):
        said, *golds = ("京" + "".join(rng.choices(CHARACTERS, k=rng.randint(0, 8))) for _ in range(rng.randint(2, 4)))
        assert values(said, golds, "characters") == pytest.approx(official_cmrc(said, golds))


def values(said: str, golds: list[str], units: Any) -> tuple[float, float]:
    rows = [Prediction("", said)], [tuple((gold, 0) for gold in golds)]
    return tuple(float(score.value(metric, *rows)) for metric in (ExactMatch(units), AnswerF1(units)))


def test_cases_worked_out_by_hand() -> None:
    assert exact("The Eiffel-Tower!", "eiffeltower", "words") == 1
    assert overlap("the big red car", "red car", "words") == pytest.approx(2 * 2 / (3 + 2))
    assert overlap("", "", "words") == 1 and overlap("", "x", "words") == 0
    assert exact("《红楼梦》。", "红楼梦", "characters") == 1
    assert overlap("曹雪芹著", "作者曹雪芹", "characters") == pytest.approx(2 * 3 / (4 + 5))
    assert overlap("iPhone 12手机", "iphone 12", "characters") == pytest.approx(2 * 2 / (4 + 2))


def test_the_best_reference_counts_and_rows_without_one_want_silence() -> None:
    targets = [(("solar", 0), ("solar power", 0)), (), ()]
    said = [Prediction("1", "solar power"), Prediction("2", ""), Prediction("3", "x")]
    assert score.value(ExactMatch(), said, targets) == pytest.approx(2 / 3)
    parts = {metric.name: score.score(metric, said, targets) for metric in (ExactMatch("words", "answered"), AnswerF1("words", "answered"))}
    assert {name: (entry["value"], entry["n"]) for name, entry in parts.items()} == {"has_answer_exact_match": (1.0, 1), "has_answer_f1": (1.0, 1)}
    none = ExactMatch("words", "unanswerable")
    assert (none.name, score.score(none, said, targets)["value"], score.score(none, said, targets)["n"]) == ("no_answer_exact_match", 0.5, 2)
    assert score.value(none, said[:1], targets[:1]) is None


def test_the_script_of_answers_is_seen() -> None:
    assert is_chinese(["北京大学", "iPhone"]) and not is_chinese(["Beijing University 大学", "2008"]) and not is_chinese([])
