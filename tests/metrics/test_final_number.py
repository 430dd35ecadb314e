"""The number that an answer comes to: how people, data sets and models write it."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from weitiao.core.contracts import Prediction
from weitiao.evaluation import score
from weitiao.metrics.final_number import ExactNumber, WithoutNumber, final_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She sold 48+24 = 72 clips.\n#### 72", "72"),
        ("#### 72\n\nQuestion: what is 3 + 4?\n#### 7", "72"),
        ("####-5", "-5"),
        ("#### 1,234,567", "1234567"),
        ("#### $1,200.50", "1200.5"),
        ("#### -$3", "-3"),
        ("#### $-3", "-3"),
        ("#### 25%", "25"),
        ("#### 12 apples and 3 pears", "12"),
        ("#### 48/2 = 24", "24"),
        ("####", None),
        ("It is 7.\n####\n", "7"),
        ("So 3 x 4 = 12. The answer is 12.", "12"),
        ("The answer is 12. I checked it 3 times.", "12"),
        ("the final answer is: **42** dollars", "42"),
        ("**Answer:** 42 of 100", "42"),
        ("First I thought the answer is 3, but the answer is 5 - 1 = 4", "4"),
        ("The answer is unknown. I have 3 ideas.", "3"),
        (r"Thus $x = \boxed{17}$, not 18.", "17"),
        (r"\boxed{3} and then \boxed{\frac{3}{4}}", "0.75"),
        (r"\boxed{-\dfrac{1}{3}}", "-1/3"),
        (r"\boxed{1\frac{1}{2}}", "1.5"),
        (r"\boxed{10{,}000\text{ miles}}", "10000"),
        (r"\boxed{\$18}", "18"),
        (r"\boxed{45\%}", "45"),
        ("小明有3个，又买了5个，3+5=8，答案是8个。还有2个人。", "8"),
        ("答案：3.5万", "35000"),
        ("答：１２３．５０元", "123.5"),
        ("一共2亿人", "200000000"),
        ("There are 3 cats and 4 dogs", "4"),
        ("1/3 of it", "1/3"),
        ("2/4", "0.5"),
        ("1 1/2 cups", "1.5"),
        ("4/0", "4"),
        ("0.50", "0.5"),
        (".5", "0.5"),
        ("-0", "0"),
        ("5-3", "3"),
        ("(5)-3", "3"),
        ("−7", "-7"),
        ("1.5e3", "1500"),
        ("2e-3", "0.002"),
        ("12:30", "30"),
        ("CO2 and x2", None),
        ("no idea", None),
        ("", None),
        ("9" * 500, None),
        ("3,5 and 12,34", "34"),
    ],
)
def test_the_final_number_is_found_and_written_in_one_form(text: str, number: str | None) -> None:
    assert final_number(text) == number


def test_equal_numbers_have_one_form_however_they_are_written() -> None:
    rng = random.Random(0)
    for _ in range(300):
        value = Fraction(rng.randint(-(10**6), 10**6), rng.choice([1, 1, 2, 3, 4, 5, 7, 8, 20, 1000]))
        form = final_number(f"#### {value}")
        assert form is not None and Fraction(form) == value
        assert final_number(f"#### {2 * value.numerator}/{2 * value.denominator}") == form
        if value.denominator == 1:
            assert final_number(f"The answer is {value.numerator:,}.") == final_number(f"#### ${float(value):.2f}") == form == str(value)


def test_exact_match_is_the_share_of_right_numbers_among_rows_that_have_one() -> None:
    said = ["#### 4", "The answer is 5.", "no idea", "#### 1,000"]
    expected = ["2+2 = 4\n#### 4", "#### 6", "#### 1", ("#### 7", "#### 1000.0")]
    predictions = [Prediction(str(n), text, measures={"no_number": float(final_number(text) is None)}) for n, text in enumerate(said)]
    assert score.value(ExactNumber(), predictions, expected) == 0.5
    assert score.value(WithoutNumber(), predictions, expected) == 0.25
    assert score.value(ExactNumber(), predictions[:2], ["prove it", "#### 5"]) == 1.0, "a reference without a number is not scored"
    assert score.value(ExactNumber(), [Prediction("0", "no idea")], ["#### 1"]) == 0.0
    assert score.value(ExactNumber(), [Prediction("0", None)], ["#### 1"]) is None
