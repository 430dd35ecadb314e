from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import weitiao
from tiny import DEVICE, FAMILIES, questions
from weitiao.core.contracts import Features, Prediction
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, EmptySplit, MissingColumn
from weitiao.evaluation import score
from weitiao.metrics.answer import ExactMatch
from weitiao.models import load, locate, spans
from weitiao.models.tokens import Tokenizer
from weitiao.sources.json import Json
from weitiao.tasks.question_answering import QuestionAnswering

CONTEXT = "the film was good and the story was great"


def read(answers: Any, *, context: str = CONTEXT, labelled: bool = True, task: dict[str, Any] | None = None, **more: Any) -> Row:
    values = {"question": " which is good ", "context": context, "answers": answers, **more}
    return QuestionAnswering(**(task or {})).read(Record(values, "a.json", 7, "id"), Json(train="a.json"), labelled=labelled)


# ------------------------------------------------------------ rows


@pytest.mark.parametrize(
    ("answers", "target"),
    [
        ({"text": ["good", "great"], "answer_start": [13, 36]}, (("good", 13), ("great", 36))),
        ([{"text": "good", "answer_start": 13}], (("good", 13),)),
        ({"text": "good", "answer_start": 13}, (("good", 13),)),
        ({"text": [], "answer_start": []}, ()),
        ([], ()),
        (None, ()),
        ("", ()),
        ("good", (("good", None),)),
        (["good", "great"], (("good", None), ("great", None))),
    ],
)
def test_every_form_of_answers_is_read(answers: Any, target: Any) -> None:
    row = read(answers)
    assert row.target == target and row.parts == ("which is good", CONTEXT) and row.text == f"which is good\n{CONTEXT}"


def test_a_question_marked_impossible_has_no_answer_even_with_a_plausible_one() -> None:
    assert read([{"text": "good", "answer_start": 13}], is_impossible=True).target == ()
    assert read([{"text": "good", "answer_start": 13}], is_impossible=False).target == (("good", 13),)


def test_columns_may_have_other_names() -> None:
    task = {"question": "q", "context": "c", "answers": "a"}
    row = QuestionAnswering(**task).read(Record({"q": "who", "c": "it is good", "a": "good"}, "a.csv", 2), Json(), labelled=True)
    assert row.parts == ("who", "it is good") and row.target == (("good", None),)


def test_an_answer_that_stands_once_elsewhere_is_found_and_counted() -> None:
    task = QuestionAnswering(max_length=32)
    rows = [read({"text": ["good"], "answer_start": [at]}) for at in (13, 12, -1, 400)]
    assert list(task.remarks(rows, "train")) == ["3 answers of train did not stand at answer_start: found by the text, which stands once in the context."]
    rows = [read({"text": ["good", "the"], "answer_start": [13, 1]})]
    (said,) = task.remarks(rows, "dev")
    assert said.startswith("1 of the references of dev stand nowhere in their context, or more than once")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"text": ["the"], "answer_start": [1]}, "the answer 'the' stands in the context 2 times, and not at answer_start 1."),
        ({"text": ["poor"], "answer_start": [1]}, "the answer 'poor' does not stand in the context, and not at answer_start 1."),
        ({"text": ["poor"], "answer_start": [99]}, "does not stand in the context, and answer_start 99 is outside of it (41 characters)."),
        ({"text": ["the", "was"]}, "the answer 'the' stands in the context 2 times."),
        ({"text": ["good"], "answer_start": [1, 2]}, "expected as many texts as starts"),
        ({"text": ["good"], "answer_start": ["13"]}, "answer_start: expected a whole number, got '13'."),
        ({"text": ["good"], "answer_start": [True]}, "answer_start: expected a whole number, got True."),
        ({"text": [3], "answer_start": [13]}, "expected a text, got 3."),
        ({"text": [" "], "answer_start": [13]}, "an answer is empty."),
        ([{"text": "good", "answer_start": 13}, 5], "expected objects with text and answer_start, got 5."),
        (5, "expected a text, got 5."),
    ],
)
def test_answers_that_cannot_be_are_refused_with_their_place(answers: Any, words: str) -> None:
    with pytest.raises(BadRow) as caught:
        read(answers)
    assert caught.value.message.startswith("a.json:7: answers: ") and words in caught.value.message and caught.value.hint


def test_empty_and_missing_texts_are_refused() -> None:
    with pytest.raises(BadRow, match="a.json:7: context: the context is empty"):
        read("good", context=" ")
    with pytest.raises(BadRow, match="a.json:7: context: the context is 5, expected text"):
        read("good", context=5)  # type: ignore[arg-type]
    with pytest.raises(MissingColumn, match=r"there is no column 'answer'\. Did you mean 'answers'\?"):
        read("good", task={"answer": "answer"} and {"answers": "answer"})
    with pytest.raises(BadRow, match="expected a question and a context, got a text only") as caught:
        QuestionAnswering().read(Record({"text": "who?"}, "item 1", None), Json(), labelled=False)
    assert '{"question": "...", "context": "..."}' in caught.value.hint


def test_what_training_rows_tell() -> None:
    some, none = read({"text": ["good"], "answer_start": [13]}), read([])
    assert QuestionAnswering().fitted([some]).no_answer is False and QuestionAnswering().fitted([some, none]).no_answer is True
    assert QuestionAnswering().fitted([some]).units == "words"
    assert QuestionAnswering().fitted([read("北京", context="他在北京")]).units == "characters"
    assert QuestionAnswering(units="words").fitted([read("北京", context="他在北京")]).units == "words"
    with pytest.raises(EmptySplit, match="no training row has an answer"):
        QuestionAnswering().fitted([none])
    with pytest.raises(BadRow, match="the dev row has no answer, and every training row has one"):
        QuestionAnswering().fitted([some]).check([none], "dev")


def test_questions_about_one_text_are_never_divided() -> None:
    from weitiao.inspect.splits import take_share

    task = QuestionAnswering()
    rows = [Row(str(n), f"q{n}", (("a", 0),), "", parts=(f"q{n}", f"text {n // 5}")) for n in range(200)]
    rest, taken = take_share(rows, 0.2, salt="test", stratum=task.stratum, group=task.group)
    assert taken and not {row.parts[1] for row in rest} & {row.parts[1] for row in taken}


# ------------------------------------------------------------ features


@pytest.fixture
def tokenizer(tiny_bert: Path) -> Tokenizer:
    return Tokenizer(locate.locate(str(tiny_bert)), 66, token_types=True)


LONG = " ".join(f"{n} film" for n in range(40)) + " good"


def test_windows_are_those_of_the_tokenizer_itself(tokenizer: Tokenizer) -> None:
    row = read("good", context=LONG)
    for length, stride in ((24, 5), (32, 0), (40, 16), (64, 12)):
        expected = tokenizer.tokenizer(
            row.parts[0],
            LONG,
            truncation="only_second",
            max_length=length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        found = QuestionAnswering(max_length=length, doc_stride=stride).encode([row], tokenizer)
        assert [f.input_ids for f in found] == expected["input_ids"]
        for n, feature in enumerate(found):
            assert [int(at >= feature.second) for at in range(len(feature))] == expected["token_type_ids"][n]
            owners = expected.sequence_ids(n)
            wanted = [place if owner == 1 else (-1, -1) for owner, place in zip(owners, expected["offset_mapping"][n], strict=True)]
            assert list(zip(feature.places[::2], feature.places[1::2], strict=True))[1:] == wanted[1:] and list(feature.places[:2]) == [-2, -2]


def test_the_target_is_the_answer_where_it_lies_whole_and_the_first_token_elsewhere(tokenizer: Tokenizer) -> None:
    task = QuestionAnswering(max_length=24, doc_stride=6)
    row = read({"text": ["7 film 8"], "answer_start": [LONG.index("7 film 8")]}, context=LONG)
    features = task.encode([row], tokenizer)
    inside = [f for f in features if f.target != [0, 0]]
    assert inside and len(inside) < len(features)
    for feature in inside:
        first, last = feature.target
        assert LONG[feature.places[2 * first] : feature.places[2 * last + 1]] == "7 film 8"
    for feature in features:
        whole = feature.places[::2]
        assert (feature in inside) == (LONG.index("7 film 8") in whole and LONG.index("8 film") in whole)
    assert all(f.target is None for f in task.encode([read("", context=LONG, labelled=False)], tokenizer))
    assert all(f.target == [0, 0] for f in task.encode([read([], context=LONG)], tokenizer))


def test_a_long_question_is_cut_counted_once_and_leaves_half_of_the_room(tokenizer: Tokenizer) -> None:
    row = Row("r", "", (("good", None),), "", parts=("which is good " * 40, LONG))
    features = QuestionAnswering(max_length=32, max_question_tokens=100, doc_stride=200).encode([row], tokenizer)
    assert [f.cut for f in features] == [120 - 14, *([0] * (len(features) - 1))] and len(features) > 1
    assert all(f.places[2 * 16] >= 0 for f in features) and max(map(len, features)) == 32
    assert QuestionAnswering(max_length=60, max_question_tokens=5).encode([row], tokenizer)[0].cut == 115


def test_white_space_belongs_to_no_answer() -> None:
    assert spans.without_spaces("a  good\n", [(0, 1), (1, 3), (2, 7), (7, 8)]) == [(0, 1), (-1, -1), (3, 7), (-1, -1)]


def test_a_decoder_says_no_answer_at_its_last_token(tmp_path: Path) -> None:
    import tiny_language

    folder = tiny_language.build(tmp_path / "llama", "llama")
    tokens = Tokenizer(locate.locate(str(folder)), 256)
    context = "capital of france is paris. " * 6
    rows = [read("", context=context), read({"text": ["paris"], "answer_start": [21]}, context=context)]
    features = QuestionAnswering(max_length=48, doc_stride=8).encode(rows, tokens)
    for feature in features:
        assert feature.input_ids[-1] == tokens.end_id and list(feature.places[-2:]) == [-2, -2]
    assert all(f.target == [len(f) - 1] * 2 for f in features[: len(features) // 2])
    first, last = features[len(features) // 2].target
    assert context[features[0].places[2 * first] : features[0].places[2 * last + 1]] == "paris"  # the space before it is no part of it


# ------------------------------------------------------------ predictions


def run_qa(windows: list[tuple[np.ndarray, list[Any]]], context: str, *, n_best: int, longest: int, none: bool, threshold: float) -> tuple[str, float]:
    """The answer as run_qa of transformers chooses it from logits of tokens, read straight; and by how much no answer is ahead."""
    found, least = [], None
    for logits, places in windows:
        score_none = float(logits[0].sum())
        least = score_none if least is None else min(least, score_none)
        inside = [n for n, place in enumerate(places) if place is not None]
        best = [sorted(inside, key=lambda n, side=side: -logits[n, side])[:n_best] for side in (0, 1)]
        for start in best[0]:
            for end in best[1]:
                if start <= end < start + longest:
                    found.append((float(logits[start, 0] + logits[end, 1]), context[places[start][0] : places[end][1]]))
    found.sort(key=lambda pair: -pair[0])
    ahead = least - found[0][0]
    return ("" if none and ahead > threshold else found[0][1]), ahead


def drawn(tokenizer: Tokenizer, count: int, *, seed: int, **task: Any) -> tuple[QuestionAnswering, list[Row], list[Features], list[torch.Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    rows = [Row(f"r{n}", "", (), "", parts=("which is good", LONG[n : 300 - 7 * n])) for n in range(count)]
    made = QuestionAnswering(max_length=32, doc_stride=8, **task)
    features = made.encode(rows, tokenizer)
    return made, rows, features, [torch.randn((len(f), 2), generator=rng) * 3 for f in features]


@pytest.mark.parametrize("settings", [{}, {"no_answer": True}, {"no_answer": True, "no_answer_threshold": -18.0}, {"n_best": 5, "max_answer_tokens": 3}])
def test_the_answer_is_the_one_that_run_qa_chooses(tokenizer: Tokenizer, settings: dict[str, Any]) -> None:
    task, rows, features, values = drawn(tokenizer, 20, seed=1, **settings)
    silent = 0
    for prediction, row in zip(task.decode(values, features, rows), rows, strict=True):
        windows = []
        for feature, said in zip(features, values, strict=True):
            if feature.row == row.id:
                pairs = list(zip(feature.places[::2], feature.places[1::2], strict=True))
                windows.append((said.numpy(), [None if left < 0 else (left, right) for left, right in pairs]))
        wanted, ahead = run_qa(
            windows, row.parts[1], n_best=task.n_best, longest=task.max_answer_tokens, none=bool(task.no_answer), threshold=task.no_answer_threshold or 0.0
        )
        assert prediction.value == wanted and prediction.value in prediction.scores
        assert sum(prediction.scores.values()) <= 1 + 1e-9
        assert prediction.measures == ({"no_answer": pytest.approx(ahead, abs=1e-5)} if task.no_answer else {})
        silent += wanted == ""
    assert (0 < silent < 20) == ("no_answer_threshold" in settings)


def test_windows_may_come_in_any_order_and_rows_without_windows_say_nothing(tokenizer: Tokenizer) -> None:
    task, rows, features, values = drawn(tokenizer, 6, seed=2, no_answer=True)
    backwards = task.decode(values[::-1], features[::-1], rows)
    assert [p.value for p in backwards] == [p.value for p in task.decode(values, features, rows)]
    assert task.decode([], [], rows[:1])[0].value == ""


def test_where_no_start_goes_with_any_end_the_best_token_is_the_answer() -> None:
    logits, places = np.array([[9.0, 0.0], [0.0, 5.0], [1.0, 1.0], [6.0, 0.0]]), np.array([[-2, -2], [0, 1], [2, 3], [4, 5]])
    assert spans.best(logits, places, most_tokens=9, count=1) == [spans.Span(6.0, 4, 5)]
    assert spans.best(logits, places[:1], most_tokens=9, count=1) == []


def test_the_threshold_is_the_best_that_any_value_could_be(tokenizer: Tokenizer) -> None:
    import dataclasses

    for seed in range(5):
        task, rows, features, values = drawn(tokenizer, 30, seed=seed, no_answer=True)
        said = task.revised(no_answer_threshold=1e9).decode(values, features, rows)
        rows = [dataclasses.replace(row, target=((p.value, 0),) if n % 3 else ()) for n, (row, p) in enumerate(zip(rows, said, strict=True))]

        def right(threshold: float, task: QuestionAnswering = task, rows: list[Row] = rows) -> float:
            found = task.revised(no_answer_threshold=threshold).decode(values, features, rows)  # noqa: B023
            return float(score.value(ExactMatch(), found, [row.target for row in rows]) or 0.0)

        assert task.tunes
        tuned = task.tuned(values, features, rows)
        assert not tuned.tunes and tuned.no_answer_threshold is not None
        margins = sorted(p.measures["no_answer"] for p in said)
        assert right(tuned.no_answer_threshold) == max(right(m + offset) for m in margins for offset in (-1e-3, 1e-3))
    assert not QuestionAnswering(no_answer=False).tunes and not QuestionAnswering(no_answer=True, no_answer_threshold=0.0).tunes


def test_blind_answers_are_the_first_sentence_or_none_where_most_have_none() -> None:
    def row(answers: Any, context: str) -> Row:
        return read(answers, context=context)

    asked = [row("", "It is 3.5 m. He left! 北京。上海"), row("", "北京。上海"), row("", " no end")]
    firm = QuestionAnswering().fitted([row("a", "a b")])
    assert firm.trivial([row("a", "a b")], asked) == ["It is 3.5 m.", "北京。", "no end"]
    some = [row("a", "a b"), row([], "b c"), row([], "b c")]
    assert QuestionAnswering().fitted(some).trivial(some, asked) == ["", "", ""]


def test_a_row_is_as_good_as_its_f1() -> None:
    row = Row("r", "", (("the big red car", 0),))
    task = QuestionAnswering()
    assert task.closeness(Prediction("r", "big red car"), row) == 1.0
    assert task.closeness(Prediction("r", "car"), row) == pytest.approx(0.5)
    assert task.wanted(row) == ["the big red car"] and task.wanted(replace(row, target=())) == []
    assert task.wanted(replace(row, target=(("a", 0), ("b", 1), ("a", 5)))) == ["a", "b"]


def test_a_fitted_task_survives_its_file() -> None:
    task = QuestionAnswering(no_answer=True, no_answer_threshold=-1.25, units="characters")
    settings = json.loads(json.dumps(task.settings()))
    assert QuestionAnswering.model_validate({k: v for k, v in settings.items() if k != "name"}) == task


# ------------------------------------------------------------ models and runs


@pytest.mark.parametrize("family", FAMILIES)
def test_no_checkpoint_gives_a_random_body(tiny: Callable[[str], Path], family: str, tmp_path: Path) -> None:
    """Llama's class for question answering looks for `transformer.`, its checkpoints say `model.`: transformers makes a random body."""
    body = transformers.AutoModel.from_pretrained(tiny(family), dtype=torch.float32)
    folder = tiny(family)
    if family in ("llama", "gemma3"):
        torch.manual_seed(3)
        whole = transformers.AutoModelForCausalLM.from_config(body.config)
        whole.base_model.load_state_dict(body.state_dict())
        whole.save_pretrained(folder := tmp_path / "whole")
    head, located = QuestionAnswering().head, locate.locate(str(folder))
    found = load.weights(located, load.configuration(located, head), head, seed=1)
    assert found.head_is_new
    own = body.state_dict()
    matched = {name: value for name, value in found.model.base_model.state_dict().items() if name in own and "pooler" not in name}
    assert len(matched) >= len([name for name in own if "pooler" not in name])
    assert all(torch.equal(value, own[name]) for name, value in matched.items())


def recipe(model: Path, data: Path, **sections: Any) -> dict[str, Any]:
    return {
        "model": str(model),
        "data": {"name": "json", "train": str(data), "id": "id", "test_share": 0.3},
        "task": {"name": "question_answering", "max_length": 32, "doc_stride": 6, **sections.pop("task", {})},
        "method": "full",
        "train": {"steps": 4, "batch_size": 16, "learning_rate": 3e-3, "dtype": "fp32", "device": str(DEVICE)},
        **sections,
    }


@pytest.fixture
def answerable(tmp_path: Path) -> Path:
    (tmp_path / "qa.json").write_text(json.dumps(questions(200, longest=24)))
    return tmp_path / "qa.json"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["full", "layers", "lora"])
def test_every_method_trains_and_its_artifact_says_the_same(tiny: Callable[[str], Path], family: str, method: str, answerable: Path, tmp_path: Path) -> None:
    from weitiao.core.files import read_json

    report = weitiao.train(recipe(tiny(family), answerable, method=method), out=tmp_path / "run")
    instead = family in ("llama", "gemma3")
    assert report["opens_with"]["auto_class"] == ("AutoModelForSequenceClassification" if instead else "AutoModelForQuestionAnswering")
    assert report["before_is"] == "first_sentence" and list(report["metrics"]) == ["exact_match", "f1"]
    assert not any("linear head" in note or "cache_features" in note for note in report["notes"])
    kept = [json.loads(line) for line in (tmp_path / "run" / "predictions" / "after.jsonl").read_text().splitlines()]
    asked = {record["id"]: record for record in questions(200, longest=24)}
    said = weitiao.load(tmp_path / "run").predict([{k: asked[line["id"]][k] for k in ("question", "context")} for line in kept])
    assert [p.value for p in said] == [line["prediction"] for line in kept]
    assert all(line["prediction"] in asked[line["id"]]["context"] for line in kept)
    assert read_json(tmp_path / "run" / "artifact" / "task.json")["no_answer"] is False


def test_a_run_learns_to_answer_and_to_be_silent_and_shows_it(tiny_bert: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    (tmp_path / "qa.json").write_text(json.dumps(questions(400, answerable=0.6, longest=24)))
    train = {"steps": 240, "batch_size": 32, "learning_rate": 5e-3, "dtype": "fp32", "device": str(DEVICE)}
    report = weitiao.train(recipe(tiny_bert, tmp_path / "qa.json", train=train, evaluate={"every": 80}), out=tmp_path / "run")
    assert report["metrics"]["exact_match"]["after"]["value"] > 0.8 and report["verdict"]["level"] == "better"
    sizes = {name: report["metrics"][name]["after"]["n"] for name in ("exact_match", "has_answer_f1", "no_answer_exact_match")}
    assert sizes["exact_match"] == sizes["has_answer_f1"] + sizes["no_answer_exact_match"]
    task = json.loads((tmp_path / "run" / "artifact" / "task.json").read_text())
    assert task["no_answer"] is True and isinstance(task["no_answer_threshold"], float)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Exact match where there is none" in page and "the first sentence of every text" in page and "(none)" in page and "answer_start" not in page
    again = cli("evaluate", tmp_path / "run", "--json").json()
    assert again["metrics"]["f1"]["value"] == pytest.approx(report["metrics"]["f1"]["after"]["value"])
    assert "has_answer_exact_match" in cli("evaluate", tmp_path / "run").out
    lines = cli("predict", tmp_path / "run", "-", stdin='{"question": "which is warm", "context": "the film was nice and dull"}\n').out.splitlines()
    said = json.loads(lines[0])
    assert said["prediction"] == "nice" and said["scores"]["nice"] > 0.3 and "no_answer" in said["measures"]
    refused = cli("predict", tmp_path / "run", "-", stdin="which is warm\n")
    assert refused.code == 3 and "stdin:1: expected a question and a context, got a text only." in refused.err and "Traceback" not in refused.err
    one = {"question": "which is warm", "context": "the film was nice and dull"}
    assert weitiao.load(tmp_path / "run").predict(one)[0].value == weitiao.predict(tmp_path / "run", one)[0]["prediction"] == "nice"
    with pytest.raises(BadRow, match="item 1: expected a question and a context"):
        weitiao.load(tmp_path / "run").predict("which is warm")


def test_nothing_is_chosen_on_dev_where_nothing_may_be(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "qa.json").write_text(json.dumps(questions(200, answerable=0.6)))
    weitiao.train(recipe(tiny_bert, tmp_path / "qa.json", evaluate={"best": False}), out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "artifact" / "task.json").read_text())["no_answer_threshold"] is None


@pytest.mark.field
def test_real_files_are_read_whole_and_what_was_mended_is_counted(shared_data: Path) -> None:
    def records(name: str) -> list[dict[str, Any]]:
        data = json.loads((shared_data / name).read_text(encoding="utf-8"))["data"]
        return [{**qa, "context": p["context"]} for article in data for p in article["paragraphs"] for qa in p["qas"]]

    files = {
        "cmrc2018/train.json": (1074, "52 of the references of the split stand nowhere", "characters"),
        "cmrc2018/dev.json": (510, "5 answers of the split did not stand at answer_start", "characters"),
        "squad_v2/dev-v2.0.json": (444, "", "words"),
    }
    for name, (count, remark, units) in files.items():
        task = QuestionAnswering()
        rows = [task.read(Record(record, name, n), Json(), labelled=True) for n, record in enumerate(records(name)) if record["question"]]
        assert len(rows) == count and task.fitted(rows).units == units
        said = list(task.remarks(rows, "the split"))
        assert [line[: len(remark)] for line in said] == ([remark] if remark else [])
