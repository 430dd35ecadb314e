"""Summarization: columns of real data sets, several references, and the first sentences as what needs no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from weitiao.core.contracts import Prediction
from weitiao.core.rows import Record, Row
from weitiao.errors import MissingColumn
from weitiao.evaluation import score
from weitiao.inspect.rows import rows_of
from weitiao.sources.csv import Csv
from weitiao.sources.json import Json
from weitiao.tasks.summarization import Summarization


def read(values: dict[str, Any], *, labelled: bool = True, data: dict[str, Any] | None = None) -> Row:
    return Summarization().read(Record(values, "a.json", 7, "id"), Json(train="a.json", **(data or {})), labelled=labelled)


@pytest.mark.parametrize(
    ("values", "target"),
    [
        ({"document": "T", "summary": "S"}, "S"),
        ({"article": "T", "highlights": "S"}, "S"),
        ({"dialogue": "T", "summary": "S", "topic": "x"}, "S"),
        ({"dialogue": "T", "summary1": "S", "topic1": "x", "summary2": "R", "topic2": "y", "summary3": "Q"}, ("S", "R", "Q")),
        ({"source": ["T"], "target": ["S", "R"], "title": "x", "source_labels": [0]}, ("S", "R")),
        ({"source": "T", "target": ["S"]}, "S"),
        ({"text": "T", "title": "S", "label": "x"}, "S"),
        ({"content": "T", "summary": "S", "title": "x"}, "S"),
    ],
)
def test_columns_of_usual_data_sets_are_found(values: dict[str, Any], target: Any) -> None:
    found = read(values)
    assert (found.text, found.target) == ("T", target)
    assert read(values, labelled=False).text == "T"


def test_a_text_in_sentences_is_put_together() -> None:
    assert read({"source": ["One. ", "Two."], "target": ["S"]}).text == "One. Two."


def test_columns_that_are_not_there_are_named() -> None:
    with pytest.raises(MissingColumn) as caught:
        read({"body": "T", "abstract": "S"})
    assert "such as document and summary; the columns are: body, abstract." in caught.value.message


# ------------------------------------------------------------ lead


def lead(text: str, *summaries: str) -> str:
    (found,) = Summarization().trivial([Row("t", "x", summary) for summary in summaries], [Row("r", text, None)])
    assert isinstance(found, str)
    return found


NEWS = 'The U.S. grew by 3.5 percent. "It was a surprise," they said. More follows tomorrow! And so on.'


def test_lead_is_the_first_sentences_that_come_closest_to_the_length_of_the_training_summaries() -> None:
    assert Summarization().trivial_is == "lead"
    assert lead("One two three. Four five six. Seven.", "a b c") == "One two three."
    assert lead("One two three. Four five six. Seven.", "a b c d e") == "One two three. Four five six."
    assert lead("One two three. Four five six. Seven.", "a b", "a b c d e f g h i j k l") == "One two three. Four five six. Seven."
    assert lead("One two three. Four five six.", "a") == "One two three.", "one sentence at least"


def test_a_sentence_ends_where_a_blank_follows_and_in_chinese_without_one() -> None:
    assert lead("It grew by 3.5 percent. More follows.", "a b c d e") == "It grew by 3.5 percent."
    assert lead("今天天气很好。明天下雨！后天呢?", "今天天气好") == "今天天气很好。"
    assert lead("压力为3.5兆帕.温度也高.其余略.", "压力为三兆帕") == "压力为3.5兆帕."
    assert lead("#Person1#: Hello there\n#Person2#: Hi", "a b c") == "#Person1#: Hello there"
    assert lead("no end at all", "a") == "no end at all"
    assert lead("他说“好。”然后走了。", "他说好") == "他说“好。”"


def test_metrics_are_rouge_length_repetition_and_ends_beside_the_loss() -> None:
    metrics = Summarization().metrics()
    assert [metric.name for metric in metrics] == ["loss", "perplexity", "rouge1", "rouge2", "rougeL", "length_ratio", "stop_rate", "distinct_2"]
    predictions, targets = [Prediction("a", "x y"), Prediction("b", None)], [("z", "x y"), "x"]
    scores = {metric.name: score.value(metric, predictions, targets) for metric in metrics}
    assert scores["rouge1"] == scores["rouge2"] == scores["rougeL"] == scores["length_ratio"] == 1
    assert scores["loss"] is None and scores["stop_rate"] is None


# ------------------------------------------------------------ real data

REAL = [
    ("dialogsum/train.jsonl", 400, 1),
    ("dialogsum/test.jsonl", 500, 3),
    ("scitldr/train.jsonl", 498, 1),
    ("scitldr/test.jsonl", 155, None),
]


@pytest.mark.field
@pytest.mark.parametrize(("name", "count", "references"), REAL)
def test_real_data_sets_are_read_as_they_are(shared_data: Path, name: str, count: int, references: int | None) -> None:
    rows, skipped = rows_of(Summarization(), Json(train=str(shared_data / name)), "train", labelled=True)
    assert len(rows) == count and skipped.count == 0
    found = {1 if isinstance(row.target, str) else len(row.target) for row in rows}
    assert found == {references} if references else max(found) > 1


@pytest.mark.field
def test_titles_of_chinese_abstracts_are_read_from_columns_without_names(shared_data: Path) -> None:
    data = Csv(train=str(shared_data / "csl_title_zh" / "train.tsv"), header=False, columns=["prompt", "abstract", "title"])
    rows, skipped = rows_of(Summarization(), data, "train", labelled=True)
    assert len(rows) == 900 and skipped.count == 0 and all(isinstance(row.target, str) and len(row.target) < len(row.text) for row in rows)
