"""BLEU and chrF: worked by hand, equal to sacrebleu, and functions of sums over rows."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from weitiao.core.contracts import Metric, Prediction
from weitiao.evaluation import score
from weitiao.metrics.bleu import Bleu, tokenized
from weitiao.metrics.chrf import Chrf

WORDS = [
    "the",
    "a",
    "man",
    "dog",
    "bit",
    "It's",
    "well-known",
    "3.5",
    "10-year",
    "(so)",
    "U.S.",
    "1,000",
    '"yes"',
    "naïve",
    "straße",
    "&amp;",
    "x_y",
    "%",
    "end.",
]
SIGNS = ["他", "们", "在", "北", "京", "。", "“", "”", "——", "GPU", "3.5%", "，", "𠀀", "é", "-", "2024-1", "カ", "…"]


def value(metric: Metric, said: Sequence[str], expected: Sequence[Any]) -> float:
    found = score.value(metric, [Prediction(str(n), text) for n, text in enumerate(said)], expected)
    assert found is not None
    return found


def made_up(pool: Sequence[str], count: int, *, seed: int, references: int = 1, joined: str = " ") -> tuple[list[str], list[tuple[str, ...]]]:
    """Return texts and references that share words, some of them empty or very short."""
    rng = random.Random(seed)
    said, expected = [], []
    for _ in range(count):
        words = rng.choices(pool, k=rng.randint(1, 14))
        others = [[word if rng.random() < 0.7 else rng.choice(pool) for word in words[: rng.randint(1, 14)]] for _ in range(references)]
        said.append(joined.join(words) if rng.random() < 0.95 else "")
        expected.append(tuple(joined.join(other) for other in others))
    return said, expected


# ------------------------------------------------------------ by hand


def test_bleu_worked_by_hand() -> None:
    # "the cat sat on mat" beside "the cat sat on the mat": 5/5 words, 3/4 pairs, 2/3 triples, 1/2 fours, and 5 words instead of 6
    expected = 100 * math.exp(1 - 6 / 5) * (5 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert value(Bleu(), ["the cat sat on mat"], ["the cat sat on the mat"]) == pytest.approx(expected)
    assert value(Bleu(), ["the cat sat on the mat"], ["the cat sat on the mat"]) == pytest.approx(100)


def test_an_order_without_a_match_counts_half_of_one_match_and_the_next_a_quarter() -> None:
    # 5/5 words; no pair of 4 (1/2), no triple of 3 (1/4), no four of 2 (1/8)
    expected = 100 * (1 * (1 / 2 / 4) * (1 / 4 / 3) * (1 / 8 / 2)) ** 0.25
    assert value(Bleu(), ["a b c d e"], ["e d c b a"]) == pytest.approx(expected)


def test_bleu_is_nothing_where_nothing_matches_or_no_text_has_four_words() -> None:
    assert value(Bleu(), ["a b c d e"], ["f g h i j"]) == 0
    assert value(Bleu(), ["a b c"], ["a b c"]) == 0
    assert value(Bleu(), ["", ""], ["a b c d", "e"]) == 0


def test_of_several_references_each_phrase_may_come_from_another_and_the_closest_length_counts() -> None:
    # every phrase stands in one of the references; 5 words, references of 4 and 7: the closest has 4, so there is no penalty
    two = ("the dog ran home", "so the dog ran home today again")
    assert value(Bleu(), ["the dog ran home today"], [two]) == pytest.approx(100)
    assert value(Bleu(), ["the dog ran home today"], [two[:1]]) < 100
    # as far from 4 as from 8: the shorter one counts
    assert value(Bleu(), ["a b c d e f"], [("a b c d", "a b c d e f g h")]) == pytest.approx(100)


def test_words_of_languages_with_spaces_and_of_chinese() -> None:
    assert tokenized('He said "3.5-year, U.S." (1,000)!', "13a") == ["He", "said", '"', "3.5", "-", "year", ",", *"U.S.", '"', "(", "1,000", ")", "!"]
    assert tokenized("AT&amp;T it's", "13a") == ["AT", "&", "T", "it's"]
    assert tokenized("他在“GPU”上用3.5%。", "zh") == ["他", "在", "“", "GPU", "”", "上", "用", "3.5", "%", "。"]
    assert tokenized("東京 へ", "char") == ["東", "京", "へ"]
    assert value(Bleu("zh"), ["今天天气很好。"], ["今天天气不好。"]) > 0 == value(Bleu("13a"), ["今天天气很好。"], ["今天天气不好。"])


def test_chrf_worked_by_hand() -> None:
    # "ab" beside "abc": characters 2/2 and 2/3, pairs 1/1 and 1/2; longer pieces have none on one side
    precision, recall = (1 + 1) / 2, (2 / 3 + 1 / 2) / 2
    assert value(Chrf(), ["ab"], ["abc"]) == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    assert value(Chrf(), ["a b c"], ["abc"]) == pytest.approx(100), "blanks are left out"
    assert value(Chrf(), ["abc"], ["xyz"]) == value(Chrf(), [""], ["xyz"]) == 0
    assert value(Chrf(), ["今天好"], ["今天好"]) == pytest.approx(100)


def test_of_several_references_chrf_takes_the_best() -> None:
    assert value(Chrf(), ["abcdef"], [("uvwxyz", "abcdef")]) == pytest.approx(100)


# ------------------------------------------------------------ sacrebleu

CASES = [*itertools.product(("13a", "zh", "char"), (1, 3), (1, 2))]


@pytest.mark.parametrize(("tokenize", "references", "seed"), CASES)
def test_bleu_chrf_and_their_signatures_are_those_of_sacrebleu(tokenize: Any, references: int, seed: int) -> None:
    sacrebleu = pytest.importorskip("sacrebleu.metrics", reason="sacrebleu is not installed")
    pool, joined = (WORDS, " ") if tokenize == "13a" else (SIGNS, "")
    said, expected = made_up(pool, 60, seed=seed, references=references, joined=joined)
    streams = [list(stream) for stream in zip(*expected, strict=True)]
    for ours, theirs in ((Bleu(tokenize), sacrebleu.BLEU(tokenize=tokenize)), (Chrf(), sacrebleu.CHRF())):
        for count in (1, 2, 5, 60):
            found = theirs.corpus_score(said[:count], [stream[:count] for stream in streams]).score
            assert value(ours, said[:count], expected[:count]) == pytest.approx(found, abs=1e-9)
        assert str(theirs.get_signature()).rpartition("|version:")[0] == ours.signature(expected)


def test_a_varying_number_of_references_is_said_and_counted_as_sacrebleu_does() -> None:
    targets = ["the dog bit the man", ("it was a surprise", "no one saw it coming at all")]
    assert Bleu().signature(targets) == "nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp"
    sacrebleu = pytest.importorskip("sacrebleu.metrics", reason="sacrebleu is not installed")
    said = ["the dog bit a man", "no one saw it at all"]
    for ours, theirs in ((Bleu(), sacrebleu.BLEU()), (Chrf(), sacrebleu.CHRF())):
        found = theirs.corpus_score(said, [["the dog bit the man", "it was a surprise"], [None, "no one saw it coming at all"]])
        assert value(ours, said, targets) == pytest.approx(found.score, abs=1e-9)


# ------------------------------------------------------------ sums


@pytest.mark.parametrize("metric", [Bleu(), Bleu("zh"), Chrf()], ids=["bleu", "bleu of Chinese", "chrf"])
def test_scores_follow_from_sums_over_rows_so_a_resample_is_that_of_its_rows(metric: Metric) -> None:
    said, expected = made_up(WORDS + SIGNS, 30, seed=3, references=2)
    predictions = [Prediction(str(n), text) for n, text in enumerate(said)]
    statistics = metric.statistics(predictions, expected)
    chosen = np.random.default_rng(1).integers(0, 30, size=(5, 30))
    weights = np.stack([np.bincount(rows, minlength=30) for rows in chosen]).astype(float)
    together = metric.value(weights @ statistics)
    for rows, found in zip(chosen.tolist(), together, strict=True):
        assert value(metric, [said[n] for n in rows], [expected[n] for n in rows]) == pytest.approx(float(found))


def test_scores_come_with_an_interval_a_paired_test_and_a_signature() -> None:
    said, expected = made_up(WORDS, 40, seed=5)
    before = [Prediction(str(n), "a man") for n in range(40)]
    after = [Prediction(str(n), text) for n, text in enumerate(said)]
    found = score.compare(Bleu(), before, after, expected)
    assert found is not None
    assert found["after"]["low"] < found["after"]["value"] < found["after"]["high"] and found["p_value"] < 0.01
    assert found["signature"] == "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp"
    assert "signature" in (score.score(Chrf(), after, expected) or {})
    assert score.compare(Bleu(), [Prediction("0", None)], after[:1], expected[:1]) is None, "a row without a generated text has no BLEU"
