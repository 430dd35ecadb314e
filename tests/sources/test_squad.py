"""SQuAD's JSON: what comes out of it, where each question stands, and what is said of files that are not quite like it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny import SHARED as DATA
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record
from weitiao.errors import BadRow, WeitiaoError
from weitiao.inspect.rows import _identified
from weitiao.sources.squad import Squad

CONTEXT = "Denver won the game in Santa Clara."


def question(id: str = "q1", **changes: Any) -> dict[str, Any]:
    return {"id": id, "question": "Who won?", "answers": [{"text": "Denver", "answer_start": 0}], **changes}


def document(*qas: Any, **paragraph: Any) -> dict[str, Any]:
    return {"version": "1.1", "data": [{"title": "Game", "paragraphs": [{"context": CONTEXT, "qas": list(qas), **paragraph}]}]}


def read(path: Path, content: Any, *, indent: int | None = None, bad: list[str] | None = None) -> list[Record]:
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=indent), encoding="utf-8")
    problems: list[str] = [] if bad is None else bad
    found = list(Squad(train=str(path)).records("train", problems.append))
    if bad is None:
        assert problems == []
    return found


def test_a_question_comes_with_its_passage_answers_title_and_id(tmp_path: Path) -> None:
    two = question("q2", answers=[{"text": "Denver", "answer_start": 0}, {"text": "Santa Clara", "answer_start": 23}])
    found = read(tmp_path / "a.json", document(question(), two))
    assert dict(found[0].values) == {"question": "Who won?", "context": CONTEXT, "title": "Game", "answers": {"text": ["Denver"], "answer_start": [0]}}
    assert found[1].values["answers"] == {"text": ["Denver", "Santa Clara"], "answer_start": [0, 23]}
    assert [r.id for r in found] == ["q1", "q2"]


def test_questions_without_an_answer_have_empty_lists_whatever_else_is_written(tmp_path: Path) -> None:
    asked = [question("a", is_impossible=True, answers=[]), question("b", is_impossible=True), question("c", answers=[]), question("d", is_impossible=False)]
    found = read(tmp_path / "a.json", document(*asked))
    assert [r.values["answers"]["text"] for r in found] == [[], [], [], ["Denver"]]


def test_a_file_without_answers_gives_questions_alone(tmp_path: Path) -> None:
    unanswered = {key: value for key, value in question().items() if key != "answers"}
    assert "answers" not in read(tmp_path / "a.json", document(unanswered))[0].values


def test_a_wrong_start_is_left_as_it_is(tmp_path: Path) -> None:
    wrong = question(answers=[{"text": "Denver", "answer_start": 999}])
    assert read(tmp_path / "a.json", document(wrong))[0].values["answers"] == {"text": ["Denver"], "answer_start": [999]}


@pytest.mark.parametrize("indent", [1, 4])
def test_the_line_is_where_the_id_of_the_question_stands(tmp_path: Path, indent: int) -> None:
    ids = ["1", "11", 'q"x', "1.5"]
    path = tmp_path / "a.json"
    found = read(path, document(*(question(id) for id in ids)), indent=indent)
    lines = path.read_text().splitlines()
    known = [record for record in found if record.line is not None]
    assert len(known) >= 3
    for record in known:
        assert json.dumps({"id": record.id})[1:-1] in lines[(record.line or 0) - 1]


def test_where_all_questions_share_a_line_the_place_names_the_question(tmp_path: Path) -> None:
    found = read(tmp_path / "a.json", document(question("q7")))
    assert found[0].line is None and found[0].place == f"{tmp_path}/a.json (question q7)"


def test_the_id_of_the_file_becomes_the_id_of_the_row(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    read(path, document(question("q1"), question("q1"), question("")))
    source = Squad(train=str(path))
    ids = [record.id for record in _identified(source, source.records("train", print))]
    assert ids[:2] == ["q1", "q1-2"] and len(ids[2]) == 12
    by_title = [record.id for record in _identified(source.revised(id="title"), source.records("train", print))]
    assert by_title == ["Game", "Game-2", "Game-3"], "what the recipe names goes first"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (document("what?"), "data[0].paragraphs[0].qas[0]: expected a question, got 'what?'"),
        (document(question(question=None)), "a.json (question q1): data[0].paragraphs[0].qas[0].question: expected text, got None"),
        (document(question(answers="Denver")), "qas[0]: answers: expected a list, got 'Denver'"),
        (document(question(answers=["Denver"])), "qas[0]: answers[0]: expected an answer with a `text`, got 'Denver'"),
        (document(question(answers=[{"text": "Denver"}])), "qas[0]: answers[0].answer_start: expected a character of the passage, counted from 0, got None"),
        (document(question(answers=[{"text": "Denver", "answer_start": "0"}])), "answers[0].answer_start: expected a character of the passage"),
        (document(question(), context=7), "data[0].paragraphs[0].context: expected text, got 7"),
        (document(qas=None), "data[0].paragraphs[0]: expected a passage with a list `qas`"),
        ({"data": [{"title": "x"}]}, "data[0]: expected an article with a list `paragraphs`, got {'title': 'x'}"),
    ],
)
def test_what_is_wrong_with_one_question_is_said_and_the_others_are_read(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    content["data"].append(document(question("last"))["data"][0])
    bad: list[str] = []
    assert [r.id for r in read(tmp_path / "a.json", content, bad=bad)] == ["last"]
    assert len(bad) == 1 and said in bad[0] and bad[0].startswith(str(tmp_path / "a.json"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"data": [\n{"title": oops}]}', "a.json:2: broken JSON: Expecting value"),
        ('{"data": [', "a.json:1: broken JSON"),
        ("[1, 2]", "expected an object with a list `data`, as SQuAD has it, got a list"),
        ('{"question": "x", "context": "y"}', "got an object with the keys 'question', 'context'"),
        ("[" * 100_000, "broken JSON"),
    ],
)
def test_a_file_of_another_shape_is_refused_in_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(BadRow) as caught:
        read(tmp_path / "a.json", content)
    assert said in caught.value.message and caught.value.hint and "\n" not in caught.value.message


JSON = st.recursive(
    st.one_of(st.none(), st.integers(-2, 3), st.sampled_from(["Denver", "", "q1"]), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["data", "paragraphs", "context", "qas", "id", "question", "answers", "text", "answer_start"]), inner, max_size=5),
    ),
    max_leaves=12,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(odd=JSON, at=st.sampled_from(["top", "article", "paragraph", "question", "answers"]))
def test_no_shape_ever_causes_anything_but_questions_or_a_clear_error(tmp_path: Path, odd: Any, at: str) -> None:
    content = {
        "top": odd,
        "article": {"data": [odd]},
        "paragraph": {"data": [{"paragraphs": [odd]}]},
        "question": document(odd),
        "answers": document(question(answers=odd)),
    }[at]
    try:
        for record in read(tmp_path / "a.json", content, bad=[]):
            assert isinstance(record.values["question"], str) and isinstance(record.values["context"], str)
            answers = record.values.get("answers", {"text": [], "answer_start": []})
            assert len(answers["text"]) == len(answers["answer_start"])
    except WeitiaoError as error:
        assert error.hint and "\n" not in error.message


@pytest.mark.field
@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (shared/data) is not on this machine")
@pytest.mark.parametrize(
    ("file", "questions", "unanswerable", "misplaced"),
    [  # as the data's README counts them
        ("squad_v1/train-v1.1.json", 2881, 0, 0),
        ("squad_v2/train-v2.0.json", 1050, 540, 0),
        ("squad_v2/dev-v2.0.json", 444, 229, 0),
        ("cmrc2018/train.json", 1074, 0, 52),
        ("cmrc2018/dev.json", 512, 0, 5),
        ("xquad/xquad.zh.json", 1190, 0, 0),
    ],
)
def test_real_files_are_read_whole(file: str, questions: int, unanswerable: int, misplaced: int) -> None:
    bad: list[str] = []
    found = list(Squad(train=str(DATA / file)).records("train", bad.append))
    assert (len(found), bad, sum(not r.values["answers"]["text"] for r in found)) == (questions, [], unanswerable)
    spans = [(r.values["context"], text, start) for r in found for text, start in zip(*r.values["answers"].values(), strict=True)]
    assert sum(context[start : start + len(text)] != text for context, text, start in spans) == misplaced
    if file.startswith("xquad"):
        text = (DATA / file).read_text().splitlines()
        assert all(f'"{r.id}"' in text[(r.line or 0) - 1] for r in found)


def test_a_recipe_names_it(tmp_path: Path) -> None:
    recipe = Recipe.load({"model": "x", "data": {"name": "squad", "train": str(tmp_path / "a.json")}, "task": "text_classification"})
    assert isinstance(recipe.data, Squad)
