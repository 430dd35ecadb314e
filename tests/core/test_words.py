from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weitiao.core import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada's iPhone6 cost 3.5%!", "Ada|'|s|iPhone|6|cost|3|.|5|%|!"),
        ("  in\tParis,\nFrance ", "in|Paris|,|France"),
        ("我爱北京2008", "我|爱|北|京|2008"),
        ("東京タワー", "東|京|タ|ワ|ー"),
        ("서울은 naïve हिन्दी", "서울은|naïve|हिन्दी"),
        ("cafe\u0301 ok", "cafe\u0301|ok"),
        ("กรุงเทพ", "ก|รุ|ง|เ|ท|พ"),
        ("a_b", "a|_|b"),
        ("\u0301 x", "x"),
        (" \u3000\x00", ""),
    ],
)
def test_a_text_comes_apart_into_words(text: str, expected: str) -> None:
    assert "|".join(text[start:end] for start, end in words.found_in(text)) == expected


@given(st.text(max_size=40))
def test_words_stand_in_their_order_and_hold_all_letters(text: str) -> None:
    found = words.found_in(text)
    assert all(start < end for start, end in found) and all(left[1] <= right[0] for left, right in itertools.pairwise(found))
    inside = {n for start, end in found for n in range(start, end)}
    assert all(n in inside for n, character in enumerate(text) if character.isalnum())
    assert not any(text[n].isspace() for n in inside)


@pytest.mark.parametrize(
    ("given_words", "text"),
    [
        (["I", "love", "Paris", "."], "I love Paris ."),
        (["北京", "是", "首都", "。"], "北京是首都。"),
        (["高", "勇", "1", "9", "7", "0", "年"], "高勇1970年"),
        (["I", "love", "北京", "，", "too"], "I love 北京， too"),
        (["서울은", "수도"], "서울은 수도"),
        (["Münch", "en"], "Münch en"),
    ],
)
def test_words_become_a_text_that_people_read(given_words: list[str], text: str) -> None:
    assert words.joined(given_words) == text
    assert [text[start:end] for start, end in words.places(text, given_words)] == given_words


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=8))
def test_words_are_found_again_in_their_text(given_words: list[str]) -> None:
    text = words.joined(given_words)
    assert [text[start:end] for start, end in words.places(text, given_words)] == given_words
