from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from pydantic import ValidationError

import tiny_language
import weitiao
from tiny import BAD, DEVICE, FILLER, GOOD
from weitiao.core.contracts import Prediction
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, BadValue, MissingColumn, TooLong, UnknownSetting
from weitiao.evaluation import score
from weitiao.inspect.splits import take_share
from weitiao.metrics.relation_f1 import RelationF1
from weitiao.models import locate, tokens
from weitiao.models.tokens import Tokenizer
from weitiao.sources.json import Json
from weitiao.tasks.relation_extraction import RelationExtraction

TEXT = "The pilot flew the plane."


def read(values: dict[str, Any], *, data: dict[str, Any] | None = None, labelled: bool = True, **task: Any) -> Row:
    return RelationExtraction(**task).read(Record({"label": "flies", **values}, "a.json", 7, "id"), Json(train="a.json", **(data or {})), labelled=labelled)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    "values",
    [
        {"text": TEXT, "head": [4, 9], "tail": [19, 24]},
        {"text": TEXT, "head": {"start": 4, "end": 9}, "tail": {"start": 19, "end": 24, "text": "plane"}},
        {"text": TEXT, "head": "[4, 9]", "tail": '{"start": 19, "end": 24}'},
        {"tokens": ["The", "pilot", "flew", "the", "plane", "."], "head": [1, 2], "tail": [4, 5]},
        {"text": "The <e1>pilot</e1> flew the <e2>plane</e2>."},
    ],
    ids=["lists", "objects", "JSON in cells", "words", "tags"],
)
def test_entities_are_read_from_every_form_and_marked(values: dict[str, Any]) -> None:
    row = read(values)
    assert row.text == "The @ pilot @ flew the # plane # ." and row.target == "flies" and row.place == "a.json:7"


def test_words_of_a_script_without_blanks_are_joined_without_them() -> None:
    row = read({"tokens": ["张", "三", "住", "在", "北", "京"], "head": [0, 2], "tail": [4, 6]})
    assert row.text.replace(" ", "") == "@张三@住在#北京#" and "张三" in row.text and "北京" in row.text


def test_the_head_may_stand_behind_the_tail() -> None:
    assert read({"text": TEXT, "tail": [4, 9], "head": [19, 24]}).text == "The # pilot # flew the @ plane @ ."
    assert read({"text": "The <e2>pilot</e2> flew the <e1>plane</e1>."}).text == "The # pilot # flew the @ plane @ ."


@pytest.mark.parametrize(
    ("text", "head", "tail", "marked"),
    [
        ("ab", [0, 1], [1, 2], "@ a @ # b #"),
        ("张三出生于北京", [0, 2], [5, 7], "@ 张三 @ 出生于 # 北京 #"),
        ("(a, b)", [1, 2], [4, 5], "( @ a @ , # b # )"),
        ("x\na b\ny", [2, 3], [4, 5], "x\n@ a @ # b #\ny"),
    ],
)
def test_blanks_stand_around_markers_once(text: str, head: list[int], tail: list[int], marked: str) -> None:
    assert read({"text": text, "head": head, "tail": tail}).text == marked


def test_types_stand_beside_the_markers_where_they_are_asked_for() -> None:
    head, tail = {"start": 4, "end": 9, "type": "person"}, {"start": 19, "end": 24}
    found = read({"text": TEXT, "head": head, "tail": tail, "tail_type": "vehicle"}, entity_types=True)
    assert found.text == "The @ * person * pilot @ flew the # ^ vehicle ^ plane # ."
    assert read({"text": TEXT, "head": head, "tail": tail}).text == "The @ pilot @ flew the # plane # ."
    with pytest.raises(BadRow, match=r"^a\.json:7: tail: the type of the entity is missing"):
        read({"text": TEXT, "head": head, "tail": tail}, entity_types=True)


def test_markers_and_columns_can_be_chosen() -> None:
    row = read({"s": TEXT, "a": [4, 9], "b": [19, 24]}, data={"text": "s"}, entities=["a", "b"], markers=["<", ">", "{", "}"])
    assert row.text == "The < pilot > flew the { plane } ."


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ([4, 90], "head: 4 to 90 is outside of the text, which has 25 characters"),
        ([-1, 3], "head: -1 to 3 is outside"),
        ([30, 31], "head: 30 to 31 is outside"),
        ([4, 4], "head: 4 to 4 is an empty span"),
        ([9, 4], "head: 9 to 4 is an empty span"),
        ([3, 4], "head: 3 to 4 holds nothing but blanks"),
        ([19, 24], "head and tail: 'plane' and 'plane' overlap"),
        ([15, 21], "head and tail: 'the pl' and 'plane' overlap"),
        ({"start": 4, "end": 8, "text": "pilot"}, "head: the span holds 'pilo', but its text says 'pilot'"),
        ([4], "head: expected .start, end. or .start, end., got .4."),
        ([4.0, 9.0], "head: expected"),
        ([True, 9], "head: expected"),
        ("pilot", "head: expected .*, got 'pilot'"),
        (None, "head: expected .*, got None"),
        ({"start": 4}, "head: expected"),
    ],
)
def test_spans_that_hold_no_entity_are_refused_with_their_place(head: Any, said: str) -> None:
    with pytest.raises(BadRow, match=rf"^a\.json:7: {said}"):
        read({"text": TEXT, "head": head, "tail": [19, 24]})


def test_other_bad_rows_are_named() -> None:
    with pytest.raises(MissingColumn, match=r"^a\.json:7: there is no column 'head' for an entity"):
        read({"text": TEXT})
    with pytest.raises(MissingColumn, match="no column 'tail'"):
        read({"text": TEXT, "head": [4, 9]})
    with pytest.raises(MissingColumn, match="no column 'text'"):
        read({"head": [4, 9], "tail": [19, 24]})
    with pytest.raises(BadRow, match=r"tail: 2 to 9 is outside of the text, which has 3 words"):
        read({"tokens": ["a", "b", "c"], "head": [0, 1], "tail": [2, 9]})
    with pytest.raises(BadRow, match="tokens: expected words"):
        read({"tokens": ["a", 1], "head": [0, 1], "tail": [1, 2]})
    with pytest.raises(BadRow, match="<e2>: 1 to 1 is an empty span"):
        read({"text": "<e1>a</e1><e2></e2>"})
    with pytest.raises(BadValue, match="expected one column"):
        read({"text": TEXT, "head": [4, 9], "tail": [19, 24]}, data={"text": ["a", "b"]})
    with pytest.raises(BadRow, match="label: expected one label, got a list"):
        read({"text": TEXT, "head": [4, 9], "tail": [19, 24], "label": ["a", "b"]})


@pytest.mark.parametrize("wrong", [{"markers": ["@", "@", "@", "@"]}, {"markers": ["@", "", "#", "#"]}, {"markers": ["@", "#"]}, {"entities": ["a", "a"]}])
def test_settings_that_cannot_tell_head_from_tail_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RelationExtraction(**wrong)


def rows_of(labels: list[str]) -> list[Row]:
    return [Row(str(n), f"text {n}", label) for n, label in enumerate(labels)]


def test_the_negative_label_is_found_or_named() -> None:
    assert RelationExtraction().fitted(rows_of(["flies", "Other"])).negative_label == "Other"
    assert RelationExtraction().fitted(rows_of(["flies", "rides"])).negative_label == ""
    assert RelationExtraction(negative_label="").fitted(rows_of(["flies", "Other"])).negative_label == ""
    assert RelationExtraction(negative_label="rides").fitted(rows_of(["rides", "Other"])).negative_label == "rides"
    with pytest.raises(UnknownSetting, match="no row has the label 'ride'. Did you mean 'rides'"):
        RelationExtraction(negative_label="ride").fitted(rows_of(["rides", "Other"]))


def test_all_entities_of_a_text_stand_on_the_same_side_of_a_split() -> None:
    task = RelationExtraction()
    spans = [[0, 1], [2, 3], [4, 5]]
    ways = [(head, tail) for head in spans for tail in spans if head != tail]
    rows = [read({"text": f"a b c {n}", "head": ways[w][0], "tail": ways[w][1], "label": f"{w % 3}"}) for n in range(60) for w in range(len(ways))]
    sides = [{task.group(row) for row in side} for side in take_share(rows, 0.3, salt="test", stratum=task.stratum, group=task.group)]
    assert not sides[0] & sides[1] and len(sides[0]) + len(sides[1]) == 60 and 12 <= len(sides[1]) <= 24


# ---------------------------------------------------------------- features


def tokenizer_of(folder: Path) -> Tokenizer:
    config = transformers.AutoConfig.from_pretrained(folder)
    return Tokenizer(locate.locate(str(folder)), tokens.positions(config), token_types=tokens.token_types(config))


def words_row(before: int, between: int, after: int, *, entity: int = 1, **task: Any) -> Row:
    """Return a row of the words 0, 1, 2 ... around two entities of words good and bad."""
    count = before + between + after + 2 * entity
    words = [str(n) for n in range(count)]
    words[before : before + entity] = ["good"] * entity
    words[before + entity + between : before + 2 * entity + between] = ["bad"] * entity
    start = before + entity + between
    return read({"tokens": words, "head": [before, before + entity], "tail": [start, start + entity]}, labelled=False, **task)


def test_a_short_text_is_encoded_as_transformers_encodes_it_with_its_markers(tiny_bert: Path, tmp_path: Path) -> None:
    for folder in (tiny_bert, tiny_language.build(tmp_path / "llama", "llama")):
        row = read({"text": "the day and night was good", "head": [4, 7], "tail": [12, 17]}, labelled=False)
        (feature,) = RelationExtraction(max_length=64).encode([row], tokenizer_of(folder))
        assert list(feature.input_ids) == transformers.AutoTokenizer.from_pretrained(folder)(row.text)["input_ids"] and feature.cut == 0


def test_markers_that_look_the_same_to_the_tokenizer_are_refused(tiny_bert: Path) -> None:
    with pytest.raises(BadValue, match="to the model's tokenizer '@' is the same as '#'"):
        RelationExtraction().settled(tokenizer_of(tiny_bert))
    assert RelationExtraction(markers=["90", "91", "92", "93"]).settled(tokenizer_of(tiny_bert)).markers[0] == "90"


def markers_in(tiny: Path, tmp_path: Path) -> Path:
    """Return a tiny model whose vocabulary has the markers and all numbers under 100."""
    folder = tmp_path / "model"
    for file in tiny.iterdir():
        (folder / file.name).parent.mkdir(exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    spec = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = spec["model"]["vocab"]
    for old, new in ((FILLER[-1], "@"), (FILLER[-2], "#")):
        vocabulary[new] = vocabulary.pop(old)
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    return folder


def test_far_context_goes_first_then_what_stands_between_and_entities_last(tiny_bert: Path, tmp_path: Path) -> None:
    said = tokenizer_of(markers_in(tiny_bert, tmp_path))

    def kept(row: Row, max_length: int) -> str:
        (feature,) = RelationExtraction(max_length=max_length).encode([row], said)
        whole = len(said.plain([row.text])[0]) + 2
        assert len(feature) == min(max_length, whole) and feature.cut == whole - len(feature)
        return said.decode(feature.input_ids)

    row = words_row(5, 4, 5)
    assert kept(row, 64) == "0 1 2 3 4 @ good @ 6 7 8 9 # bad # 11 12 13 14 15"
    assert kept(row, 16) == "3 4 @ good @ 6 7 8 9 # bad # 11 12"
    assert kept(row, 15) == "3 4 @ good @ 6 7 8 9 # bad # 11", "the left of two that are equally far stays"
    assert kept(row, 12) == "@ good @ 6 7 8 9 # bad #"
    assert kept(row, 10) == "@ good @ 6 9 # bad #"
    assert kept(row, 8) == "@ good @ # bad #"
    assert kept(words_row(5, 0, 5, entity=4), 12) == "@ good good good @ # bad bad bad #", "both entities keep their beginnings"
    assert kept(words_row(0, 2, 9), 14) == "@ good @ 1 2 # bad # 4 5 6 7", "where nothing stands on the left the right has all the room"
    with pytest.raises(TooLong, match=r"a\.json:7: the markers of two entities take 6 tokens .* leaves 5"):
        kept(row, 7)


@pytest.mark.parametrize("kind", ["words", "bytes"])
def test_both_entities_and_their_markers_survive_any_cut(tiny_bert: Path, tmp_path: Path, kind: str) -> None:
    folder = markers_in(tiny_bert, tmp_path) if kind == "words" else tiny_language.build(tmp_path / "llama", "llama")
    said, rng = tokenizer_of(folder), random.Random(0)
    rows = [words_row(*(rng.choice([0, 1, 5, 20]) for _ in range(3)), entity=rng.choice([1, 2])) for _ in range(80)]
    for feature, row in zip(RelationExtraction(max_length=26).encode(rows, said), rows, strict=True):
        text = said.decode(feature.input_ids)
        for start, entity, end in (("@", row.parts[1], "@"), ("#", row.parts[3], "#")):
            assert f"{start} {entity} {end}" in text
        assert len(feature) <= 26 and feature.cut == max(0, len(said.plain([row.text])[0]) + said.frame(two=False).size - 26)


# ---------------------------------------------------------------- scores


def official(predicted: list[str], key: list[str]) -> float:
    """Return the official score of SemEval-2010 task 8, steps 2.4, 3, 8 and 10 of its scorer (version 1.2) one by one."""
    bare = [[label.removesuffix("(e1,e2)").removesuffix("(e2,e1)") for label in side] for side in (predicted, key)]
    confusion: Counter[tuple[str, str]] = Counter()
    proposed: Counter[str] = Counter()
    for full, answer, short, short_answer in zip(predicted, key, *bare, strict=True):
        column = "WRONG_DIR" if full != answer and short == short_answer else short
        confusion[column, short_answer] += 1
        proposed[column] += 1
    actual = Counter(bare[1])
    scores = {}
    for relation in actual:
        wrong_direction = confusion["WRONG_DIR", relation]
        precision = 0.0 if not proposed[relation] else 100.0 * confusion[relation, relation] / (proposed[relation] + wrong_direction)
        recall = 100.0 * confusion[relation, relation] / actual[relation]
        scores[relation] = 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)
    return sum(value for relation, value in scores.items() if relation != "Other") / (len(actual) - ("Other" in actual))


LABELS = [f"{relation}({way})" for relation in ("Cause-Effect", "Component-Whole", "Message-Topic", "Entity-Origin") for way in ("e1,e2", "e2,e1")] + ["Other"]


@pytest.mark.parametrize("seed", range(12))
def test_macro_f1_is_the_official_score(seed: int) -> None:
    rng = random.Random(seed)
    asked = LABELS if seed % 3 else LABELS[2:]  # some relation never asked for, but predicted
    key = rng.choices(asked, k=rng.choice([10, 200]))
    predicted = [truth if rng.random() < 0.5 else rng.choice(LABELS) for truth in key]
    if seed == 5:
        predicted = ["Other"] * len(key)
    said = [Prediction(str(n), label) for n, label in enumerate(predicted)]
    assert 100 * (score.value(RelationF1(tuple(LABELS), "Other"), said, key) or 0.0) == pytest.approx(official(predicted, key))


def test_macro_f1_of_the_published_example_of_a_confusion() -> None:
    # one relation: 3 right, 1 wrong way round, 1 missed as Other, 2 of Other taken for it: P = 3/6, R = 3/5
    key = ["A(e1,e2)"] * 3 + ["A(e2,e1)"] + ["A(e1,e2)"] + ["Other"] * 2
    predicted = ["A(e1,e2)"] * 3 + ["A(e1,e2)"] + ["Other"] + ["A(e2,e1)"] * 2
    said = [Prediction(str(n), label) for n, label in enumerate(predicted)]
    assert score.value(RelationF1(("A(e1,e2)", "A(e2,e1)", "Other"), "Other"), said, key) == pytest.approx(6 / 11)


def test_without_directions_the_scores_are_those_of_scikit_learn_without_the_negative_label() -> None:
    from sklearn.metrics import f1_score

    draw = np.random.default_rng(0)
    labels = ["born_in", "no_relation", "works_for"]
    key, predicted = (draw.choice(labels, 200).tolist() for _ in range(2))
    said = [Prediction(str(n), label) for n, label in enumerate(predicted)]
    for average in ("macro", "micro"):
        expected = f1_score(key, predicted, labels=["born_in", "works_for"], average=average)
        assert score.value(RelationF1(tuple(labels), "no_relation", average), said, key) == pytest.approx(expected)


# ---------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def report(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run on sentences in which the good beats the bad, whichever comes first."""
    root, rng, rows = tmp_path_factory.mktemp("relations"), random.Random(1), []
    for n in range(120):
        words = [rng.choice(side) for side in rng.sample([GOOD, BAD], 2)]
        text = f"{words[0]} {rng.choice(FILLER)} {words[1]} {n}"
        spans = [[0, len(words[0])], [text.index(words[1], len(words[0])), 0]]
        spans[1][1] = spans[1][0] + len(words[1])
        label = "beats(e1,e2)" if words[0] in GOOD else "beats(e2,e1)"
        rows.append({"text": text, "head": spans[0], "tail": spans[1], "label": "Other" if n % 5 == 0 else label})
    (root / "rows.json").write_text(json.dumps(rows))
    return weitiao.train(
        model=str(tiny_bert),
        data={"name": "json", "train": str(root / "rows.json")},
        task={"name": "relation_extraction", "max_length": 24, "markers": ["90", "91", "92", "93"]},
        method="full",
        train={"steps": 6, "batch_size": 8, "learning_rate": 1e-3, "dtype": "fp32", "device": str(DEVICE)},
        out=root / "run",
    )


def test_a_run_is_scored_as_relations_are(report: dict[str, Any]) -> None:
    assert list(report["metrics"]) == ["macro_f1", "micro_f1", "accuracy"] and report["recipe"]["task"]["negative_label"] == "Other"
    assert {"head_only", "majority"} <= set(report["baselines"])


def test_plain_transformers_say_the_same_of_a_marked_text(report: dict[str, Any]) -> None:
    folder = Path(report["artifact"]) / "model"
    classify = transformers.pipeline("text-classification", model=str(folder), truncation=True)
    asked = {"text": "good story bad 7", "head": [0, 4], "tail": [11, 14]}
    (found,) = weitiao.load(report["artifact"]).predict([asked])
    (said,) = classify(["90 good 91 story 92 bad 93 7"])
    assert said["label"] == found.value and said["score"] == pytest.approx(found.scores[found.value], abs=1e-5)


def test_tagged_texts_can_be_predicted_and_others_are_refused(report: dict[str, Any], cli: Callable[..., Any]) -> None:
    said = cli("predict", report["artifact"], stdin="<e1>good</e1> story <e2>bad</e2>\n")
    assert said.code == 0 and said.json()["prediction"] in ("beats(e1,e2)", "beats(e2,e1)", "Other")
    for line, code in (("no entities here", 3), ('{"text": "a b", "head": [0, 1], "tail": [0, 1]}', 3), ('{"text": "a b", "head": [0, 9], "tail": [0, 1]}', 3)):
        said = cli("predict", report["artifact"], stdin=line + "\n")
        assert said.code == code and said.err.startswith("error: stdin:1: ") and "hint: " in said.err and "Traceback" not in said.err
