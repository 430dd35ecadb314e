"""Worked answers: which columns are read, what is learnt of them, and which of several answers is taken."""

from __future__ import annotations

from typing import Any

import pytest

from weitiao.core.contracts import Answer, Prediction
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, MissingColumn, RecipeError
from weitiao.evaluation import score
from weitiao.sources.json import Json
from weitiao.tasks.math_reasoning import MathReasoning


def read(values: dict[str, Any], *, labelled: bool = True, data: dict[str, Any] | None = None, **task: Any) -> Row:
    return MathReasoning(**task).read(Record(values, "a.json", 7, "id"), Json(train="a.json", **(data or {})), labelled=labelled)


def answered(*texts: str, **task: Any) -> Prediction:
    settled = MathReasoning(**task)
    answers = [Answer(text, tokens=n + 1, stopped=n == 0) for n, text in enumerate(texts)]
    (found,) = settled.all_answered([Row("r", "q")], [Prediction("r", None, measures={"nll": 2.0, "tokens": 4.0})], [answers])
    return found


@pytest.mark.parametrize(
    ("values", "data"),
    [
        ({"question": "2 and 2?", "answer": "2+2 = <<2+2=4>>4\n#### 4"}, {}),
        ({"problem": "2 and 2?", "solution": "2+2 = 4\n#### 4", "answer": "4", "level": "1"}, {}),
        ({"q": "2 and 2?", "a": "2+2 = 4\n#### 4"}, {"text": "q", "label": "a"}),
        ({"question": "2 and 2?", "answer1": "2+2 = 4\n#### 4"}, {}),
    ],
)
def test_questions_and_worked_answers_are_read_without_the_notes_for_a_calculator(values: dict[str, Any], data: dict[str, Any]) -> None:
    row = read(values, data=data)
    assert (row.text, row.target) == ("2 and 2?", "2+2 = 4\n#### 4")
    assert read(values, labelled=False, data=data).target is None


def test_an_answer_may_be_nothing_but_a_number_and_notes_can_be_kept() -> None:
    assert read({"question": "2 and 2?", "answer": 4}).target == "4"
    assert read({"question": "q", "answer": "<<1+1=2>>2"}, keep_calculations=True).target == "<<1+1=2>>2"
    assert read({"question": "q", "answer": ["<<1+1=2>>2", "two, 2"]}).target == ("2", "two, 2")


def test_rows_that_say_nothing_are_named() -> None:
    with pytest.raises(BadRow, match=r"a.json:7: answer: the answer is empty\."):
        read({"question": "q", "answer": ""})
    with pytest.raises(MissingColumn, match="such as question and answer; the columns are: body"):
        read({"body": "q"})


def test_answers_without_a_number_are_told() -> None:
    rows = [Row("a", "q", "#### 4", "a.json:1"), Row("b", "q", "it is prime", "a.json:2")]
    assert list(MathReasoning().remarks(rows, "train")) == [
        "1 of the 2 rows of train have no number in their answer, such as a.json:2: exact_match leaves them out."
    ]
    assert list(MathReasoning().remarks(rows[:1], "train")) == []


def test_the_number_that_most_answers_come_to_is_taken() -> None:
    found = answered("#### 5", "It is 7, hence\n#### 7", "no idea", "#### 7.0", votes=4, temperature=0.7)
    assert found.value == "It is 7, hence\n#### 7" and found.scores == {"7": 0.5, "5": 0.25}
    assert found.measures == {"nll": 2.0, "tokens": 4.0, "answer_tokens": 2.0, "stopped": 0.0, "no_number": 0.25}
    tied = answered("#### 5", "#### 7", votes=2, temperature=0.7)
    assert tied.value == "#### 5", "of equally many the first"
    none = answered("well", "hm", votes=2, temperature=0.7)
    assert none.value == "well" and none.scores == {} and none.measures["no_number"] == 1.0
    assert answered("so 3").scores == {"3": 1.0}


def test_votes_need_answers_that_differ() -> None:
    recipe = {"model": "x", "data": {"name": "json", "train": "a"}, "task": {"name": "math_reasoning", "votes": 4}}
    with pytest.raises(RecipeError, match=r"task: votes needs a temperature, such as 0\.7"):
        Recipe.load(recipe)
    task = Recipe.load(recipe, overrides=["task.temperature=0.7"]).task
    assert task.generation is not None and (task.generation.samples, task.generation.temperature) == (4, 0.7)


def test_always_saying_the_most_usual_number_is_the_trivial_answer() -> None:
    task, rows = MathReasoning(), [Row(str(n), "q", f"so\n#### {answer}") for n, answer in enumerate([2, "2.0", 3])]
    trivial = task.trivial(rows, rows)
    assert trivial == ["#### 2"] * 3
    names = [metric.name for metric in task.metrics()]
    assert names == ["loss", "perplexity", "exact_match", "no_number", "stop_rate", "answer_length"]
    assert score.value(task.metrics()[2], [Prediction.of(row.id, text) for row, text in zip(rows, trivial, strict=True)], [row.target for row in rows]) == 2 / 3
    assert task.trivial([Row("a", "q", "prime")], rows) is None
