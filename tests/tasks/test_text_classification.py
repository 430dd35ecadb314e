from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, EmptySplit, MissingColumn, WeitiaoError
from weitiao.sources.csv import Csv
from weitiao.tasks.text_classification import TextClassification


def read(values: dict[str, Any], *, data: dict[str, Any] | None = None, **task: Any) -> Row:
    return TextClassification(**task).read(Record(values, "a.csv", 7, "id"), Csv(train="a.csv", **(data or {})), labelled=True)


@pytest.mark.parametrize(
    ("value", "label"), [("pos", "pos"), (" pos ", "pos"), ("1", "1"), (1, "1"), (True, "true"), ("No", "No"), ("五", "五"), ("-1", "-1"), ("v1.0", "v1.0")]
)
def test_labels_are_read_as_they_are_written(value: Any, label: str) -> None:
    assert read({"text": "x", "label": value}).target == label


@pytest.mark.parametrize("value", [0.5, "0.5", "1.0", "1e-3", None, "", ["a"], {"a": 1}])
def test_what_is_no_class_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(BadRow, match=r"^a\.csv:7: label: "):
        read({"text": "x", "label": value})


def test_numbers_that_are_listed_as_labels_are_labels() -> None:
    assert read({"text": "x", "label": "1.0"}, labels=["1.0", "2.0"]).target == "1.0"


def test_several_text_columns_are_joined() -> None:
    assert read({"title": "A", "body": " b ", "label": "1"}, data={"text": ["title", "body"]}).text == "A b"
    assert read({"title": "A", "body": "", "label": "1"}, data={"text": ["title", "body"]}).text == "A"


def test_several_labels_come_from_a_cell_a_list_or_columns() -> None:
    several = {"problem_type": "multi_label_classification"}
    assert read({"text": "x", "label": "b, a"}, **several).target == ("a", "b")
    assert read({"text": "x", "label": ["b", "a", "b"]}, **several).target == ("a", "b")
    assert read({"text": "x", "label": ""}, **several).target == ()
    assert read({"text": "x", "rude": "1", "spam": "0"}, data={"label": ["rude", "spam"]}, **several).target == ("rude",)
    with pytest.raises(BadRow, match="spam: expected 0 or 1, got 'maybe'"):
        read({"text": "x", "rude": "1", "spam": "maybe"}, data={"label": ["rude", "spam"]}, **several)
    with pytest.raises(WeitiaoError, match="several columns are for multi-label"):
        read({"text": "x", "rude": "1", "spam": "0"}, data={"label": ["rude", "spam"]})


@pytest.mark.parametrize("value", ["3,5", "nan", "inf", True, None])
def test_what_is_no_number_is_refused_for_regression(value: Any) -> None:
    with pytest.raises(BadRow, match="expected a number|label is empty"):
        read({"text": "x", "label": value}, problem_type="regression")


def test_a_missing_column_names_the_columns_there_are() -> None:
    with pytest.raises(MissingColumn) as caught:
        read({"sentence": "x", "label": "1"})
    assert "sentence, label" in caught.value.hint and "data.header=false" in caught.value.hint


def fitted(targets: list[Any], **task: Any) -> TextClassification:
    return TextClassification(**task).fitted([Row(str(n), "x", label) for n, label in enumerate(targets)])


def test_labels_are_sorted_numbers_as_numbers() -> None:
    assert fitted(["10", "9", "b", "a"]).labels == ["9", "10", "a", "b"]
    assert fitted(["b", "a"], labels=["b", "a", "never"]).labels == ["b", "a", "never"]
    with pytest.raises(BadRow, match="which task.labels does not list"):
        fitted(["b", "a", "c"], labels=["a", "b"])


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = ["a"] * 6 + ["b"] * 3 + ["c"]
    expected = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=labels)
    assert list(fitted(labels, class_weights="balanced").class_weights.values()) == pytest.approx(list(expected))
    assert fitted(labels, class_weights={"b": 2.0}).class_weights == {"a": 1.0, "b": 2.0, "c": 1.0}


def test_rows_that_cannot_teach_are_refused() -> None:
    with pytest.raises(EmptySplit, match="one class only: 'a'"):
        fitted(["a", "a"])
    with pytest.raises(EmptySplit, match="the same number"):
        fitted([1.0, 1.0], problem_type="regression")
    assert fitted([("a",), ()], problem_type="multi_label_classification").labels == ["a"]


@pytest.mark.parametrize(
    "wrong", [{"labels": ["a", "a"]}, {"problem_type": "regression", "class_weights": "balanced"}, {"problem_type": "regression", "label_smoothing": 0.1}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TextClassification(**wrong)


def test_a_threshold_decides_which_labels_are_given() -> None:
    import torch

    from weitiao.core.contracts import Features

    values = torch.tensor([[0.5, -0.5]])
    for threshold, expected in ((0.5, ["a"]), (0.3, ["a", "b"]), (0.9, [])):
        task = TextClassification(problem_type="multi_label_classification", labels=["a", "b"], threshold=threshold)
        assert task.decode(values, [Features("r", [1])], [Row("r", "")])[0].value == expected


def test_the_majority_is_the_best_blind_guess() -> None:
    def rows(labels: list[Any]) -> list[Row]:
        return [Row(str(n), "x", label) for n, label in enumerate(labels)]

    assert TextClassification().majority(rows(["b", "a", "b"])) == "b"
    assert TextClassification(problem_type="regression").majority(rows([1.0, 2.0, 6.0])) == 3.0
    several = TextClassification(problem_type="multi_label_classification")
    assert several.majority(rows([("a",), ("a", "b"), ("c",)])) == ["a"]
    assert several.majority(rows([("a",), ("b",), ("c",), ()])) == ["a"]


def test_a_fitted_task_survives_its_file() -> None:
    task = fitted(["a", "b"], class_weights="balanced", max_length=64)
    settings = task.settings()
    assert TextClassification.model_validate({k: v for k, v in settings.items() if k != "name"}) == task
