"""What is looked for in rows: each check finds what is there, and nothing where nothing is."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.core.rows import Row, Turn
from weitiao.inspect.health import balance, characters, personal, repeats
from weitiao.inspect.health.finding import Finding

WORDS = re.findall(r"\w+", "river stone window garden letter morning soldier copper music winter paper shadow market bridge island candle forest")


def rows(*texts: str, targets: Sequence[Any] = (), file: str = "a.csv") -> list[Row]:
    return [Row(f"{file}-{n}", text, targets[n] if targets else "x", f"{file}:{n + 2}") for n, text in enumerate(texts)]


def named(findings: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def seen(found: list[Row]) -> repeats.Seen:
    return repeats.Seen(found)


def prose(seed: int, words: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


# ------------------------------------------------------------ repeats


def test_repeats_are_told_apart_by_how_much_they_are_the_same() -> None:
    text = prose(1)
    changed = text.replace("river", "rivers", 1) if "river" in text else text + " end"
    found = named(repeats.within("train", seen(rows(text, text, text.upper() + "!", changed, prose(2), prose(3))), learns=True))
    assert found["duplicates"].count == 1 and found["duplicates"].places[0].said() == "a.csv:3: got the content as in a.csv:2, leave it out"
    assert found["duplicates_normalised"].count == 1 and found["duplicates_normalised"].places[0].row.place == "a.csv:4"
    assert found["duplicates_near"].count == 1 and found["duplicates_near"].places[0].row.place == "a.csv:5"
    assert found["duplicates"].drops == (("a.csv:3", "a.csv-1"),) and found["duplicates_near"].drops == ()
    assert not named(repeats.within("train", seen(rows(*(prose(n) for n in range(40)))), learns=True))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(30, 80), st.integers(1, 30))
def test_near_copies_are_those_with_most_pieces_in_common(seed: int, length: int, changes: int) -> None:
    words = prose(seed, length).split()
    other = list(words)
    for n in random.Random(seed).sample(range(length), min(changes, length)):
        other[n] = "quite" + other[n][::-1]
    one, two = (repeats.normalised(" ".join(text)) for text in (words, other))
    common = repeats._common(one, two)
    found = named(repeats.within("train", seen(rows(" ".join(words), " ".join(other))), learns=True))
    if common >= repeats.ALIKE:
        assert "duplicates_near" in found
    else:
        assert "duplicates_near" not in found


def test_pairs_questions_and_conversations_are_compared_by_their_pieces() -> None:
    context = prose(5, 80)
    one = Row("1", f"Who? {context}", ["a"], "q:1", parts=("Who came over the bridge in the winter morning?", context))
    two = Row("2", f"When? {context}", ["b"], "q:2", parts=("When did the copper market begin to sell paper?", context))
    assert not named(repeats.within("train", seen([one, two]), learns=True))
    halves = [Row("1", "a b c", "x", "p:1", parts=("a b", "c")), Row("2", "a b c", "y", "p:2", parts=("a", "b c"))]
    assert not list(repeats.conflicts("train", seen(halves)))
    talk = (Turn("user", "Hello there, how are you?"), Turn("assistant", "Fine."))
    other = (Turn("user", "Hello there, how are you?"), Turn("assistant", "Bad."))
    found = list(repeats.conflicts("train", seen([Row("1", "", "Fine.", "c:1", turns=talk), Row("2", "", "Bad.", "c:2", turns=other)])))
    assert found[0].places[0].said() == "c:2: got 'Bad.' for the text of c:1, expected 'Fine.', keep the one that is right"


def test_two_targets_for_a_text_are_a_conflict_and_no_repeat() -> None:
    both = seen(rows("The soup was hot.", "the soup was hot", "The soup was cold.", targets=("good", "bad", "bad")))
    assert not named(repeats.within("train", both, learns=True))
    assert [finding.count for finding in repeats.conflicts("train", both)] == [1]


def test_leaks_are_found_for_every_kind_of_copy_and_their_share_of_the_proof_decides() -> None:
    texts = [prose(n) for n in range(300)]
    proof = seen(rows(*texts[200:], file="b.csv"))
    found = named(repeats.across("train", seen(rows(*texts[:200], texts[200], texts[201].upper(), texts[202] + " end")), "test", proof))
    assert {name: (finding.level, finding.count) for name, finding in found.items()} == {
        "leakage": ("problem", 1),
        "leakage_normalised": ("problem", 1),
        "leakage_near": ("warning", 1),
    }
    assert found["leakage"].places[0].said() == "a.csv:202: got the content as in b.csv:2, leave it out" and found["leakage"].drops == (
        ("a.csv:202", "a.csv-200"),
    )
    many = seen(rows(*(prose(n) for n in range(1000, 1150)), texts[0], file="b.csv"))
    assert named(repeats.across("train", seen(rows(texts[0])), "test", many))["leakage"].level == "warning"
    assert not named(repeats.across("train", seen(rows(*texts[:200])), "test", proof))


def test_rows_without_a_word_are_empty() -> None:
    found = rows("...", "好", "a", " \n ", "٣")
    assert [finding.count for finding in repeats.empty("train", found)] == [2]


# ------------------------------------------------------------ characters


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("caf\ufffd", "characters_replaced"),
        ("cafÃ© au lait", "characters_mojibake"),
        ("itâ€™s", "characters_mojibake"),
        ("a\x07b", "characters_control"),
        ("zero\u200bwidth", "characters_unseen"),
        ("\ue123", "characters_private"),
        ("fish &amp; chips<br />", "characters_markup"),
    ],
)
def test_odd_characters_are_named(text: str, check: str) -> None:
    assert list(named(characters.odd("train", rows(text)))) == [check]


@pytest.mark.parametrize("text", ["Café, naïve, Ærø – “so” it’s", "很好吃！", "👩\u200d👩\u200d👧", "می\u200cخواهم", "a < b & c > d", "tab\tand\nline"])
def test_what_people_write_is_not_odd(text: str) -> None:
    assert not list(characters.odd("train", rows(text))) and characters.mended(text) == text


def test_mending_takes_out_what_nobody_sees_and_composes_letters() -> None:
    assert characters.mended("a\x07b\u200bc e\u0301") == "a bc \u00e9"


def test_scripts_are_counted_and_the_few_are_named() -> None:
    texts = ["hello there"] * 40 + ["很好吃", "12345", "これは本です"]
    counts, findings = characters.scripts("train", rows(*texts))
    assert counts == {"Latin": 40, "Han": 1, "none": 1, "Kana": 1}
    assert findings[0].count == 2 and "Han, Kana beside Latin" in findings[0].message


# ------------------------------------------------------------ personal data


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to anna.b+c@example.co.uk please", "email"),
        ("call +49 170 1234567", "phone"),
        ("call (212) 555-0147 now", "phone"),
        ("我的电话是13812345678。", "phone"),
        ("paid with 4111 1111 1111 1111", "card"),
        ("身份证11010519491231002X号", "id"),
        ("IBAN DE89 3704 0044 0532 0130 00", "iban"),
    ],
)
def test_personal_data_is_counted_and_located_and_not_shown(text: str, kind: str) -> None:
    assert kind in [name for name, _ in personal.kinds_in(text)]
    for finding in personal.personal("train", rows(text)):
        said = " ".join([finding.message, finding.do, *(place.said() for place in finding.places)])
        assert not any(digits in said for digits in ("4111", "1234567", "0532", "example.co", "110105", "0147", "1381")) and "at character" in said


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "11010519491231002Y",
        "110105194912310021",
        "DE89 3704 0044 0532 0130 02",
        "in 2019 and 2020",
        "3.14159265358979",
        "a@b",
        "version 1.2.3",
    ],
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert not personal.kinds_in(text)


# ------------------------------------------------------------ labels


def test_labels_are_counted_also_in_lists_and_entities() -> None:
    assert balance.counts(rows("a", "b", targets=["x", "x"])) == {"x": 2}
    assert balance.counts(rows("a", "b", targets=[["x", "y"], ["y"]])) == {"y": 2, "x": 1}
    assert balance.counts(rows("a", targets=[[{"type": "PER", "start": 0, "end": 1}]])) == {"PER": 1}
    assert balance.counts(rows("a", targets=[3.5])) == {}


def test_rare_uneven_and_unknown_labels_are_told() -> None:
    found = named(balance.balance("train", {"x": 100, "y": 3}, learns=True, known={}))
    assert "fewer than 5 examples in train: y" in found["labels_rare"].message and "labels_uneven" in found
    assert named(balance.balance("test", {"x": 1, "z": 2}, learns=False, known={"x": 9}))["labels_unknown"].level == "problem"
    assert not named(balance.balance("train", {"x": 10, "y": 12}, learns=True, known={}))
