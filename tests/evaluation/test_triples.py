"""From texts to triples: which pairs are asked for, what becomes of the answers, and how they are scored. The predictors are stubs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiny import DEVICE
from weitiao.core.contracts import Prediction
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, BadValue, MissingColumn
from weitiao.evaluation import score, triples
from weitiao.evaluation.triples import Chain, Triple
from weitiao.metrics.triples import TripleScore
from weitiao.sources.json import Json
from weitiao.tasks.relation_extraction import RelationExtraction
from weitiao.tasks.text_classification import TextClassification

DATA = Json(train="a.json")
NAMES = {"Ada": "person", "Bob": "person", "Rome": "place"}


class Finds:
    """Finds names where they stand."""

    def __init__(self) -> None:
        self.artifact = SimpleNamespace(recipe=SimpleNamespace(data=DATA), folder="entities", manifest={"hash": "e"})
        self.task = TextClassification()

    def rows(self, rows: list[Row]) -> list[Prediction]:
        def found(text: str) -> list[dict[str, Any]]:
            places = [(text.index(name), name) for name in NAMES if name in text]
            return [{"type": NAMES[n], "start": 0, "end": 1, "text": n, "start_char": at, "end_char": at + len(n)} for at, n in places]

        return [Prediction(row.id, found(row.text)) for row in rows]


class Relates:
    """Answers from the marked text; keeps what it was asked."""

    def __init__(self, answer: Callable[[str], str], **task: Any) -> None:
        self.artifact = SimpleNamespace(recipe=SimpleNamespace(data=DATA), folder="relations", manifest={"hash": "r"})
        self.task, self.answer, self.asked = RelationExtraction(**task), answer, []

    def rows(self, rows: list[Row]) -> list[Prediction]:
        self.asked += [row.text for row in rows]
        said = [self.answer(row.text) for row in rows]
        return [Prediction(row.id, label, {label: 0.5 + 0.4 * (len(row.text) % 2)}) for row, label in zip(rows, said, strict=True)]


def chain(answer: Callable[[str], str], **task: Any) -> tuple[Chain, Relates]:
    relates = Relates(answer, **{"negative_label": "Other", "labels": ["lives_in", "Other"], **task})
    return Chain(Finds(), relates), relates  # type: ignore[arg-type]


def plain(prediction: Prediction) -> list[tuple[str, str, str]]:
    return [(t["head"]["text"], t["relation"], t["tail"]["text"]) for t in prediction.value]


def test_every_ordered_pair_is_asked_for_and_the_negative_label_dropped() -> None:
    made, relates = chain(lambda text: "lives_in" if text.startswith("@ Ada @") and "# Rome #" in text else "Other")
    first, second = made.rows([Row("1", "Ada and Bob in Rome"), Row("2", "Bob alone")])
    assert sorted(relates.asked) == sorted(
        [
            "@ Ada @ and # Bob # in Rome",
            "# Ada # and @ Bob @ in Rome",
            "@ Ada @ and Bob in # Rome #",
            "# Ada # and Bob in @ Rome @",
            "Ada and @ Bob @ in # Rome #",
            "Ada and # Bob # in @ Rome @",
        ]
    )
    assert plain(first) == [("Ada", "lives_in", "Rome")] and second.value == []
    assert first.value[0]["head"] == {"text": "Ada", "type": "person", "start": 0, "end": 3} and first.value[0]["score"] == 0.9
    assert json.loads(json.dumps(first.as_dict()))["id"] == "1"


def test_labels_with_a_direction_are_asked_for_once_and_turned_round() -> None:
    made, relates = chain(lambda text: "Cause(e2,e1)", labels=["Cause(e1,e2)", "Cause(e2,e1)", "Other"])
    (said,) = made.rows([Row("1", "Ada, Rome")])
    assert relates.asked == ["@ Ada @ , # Rome #"] and plain(said) == [("Rome", "Cause", "Ada")]


def test_types_reach_the_relations_where_they_are_asked_for() -> None:
    made, relates = chain(lambda text: "Other", entity_types=True)
    made.rows([Row("1", "Ada in Rome")])
    assert relates.asked[0] == "@ * person * Ada @ in # ^ place ^ Rome #"


def test_of_many_entities_the_nearest_pairs_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triples, "MOST_PAIRS", 4)
    made, relates = chain(lambda text: "Other")
    made.rows([Row("1", "Ada Bob in far away Rome")])
    assert relates.asked == [
        "@ Ada @ # Bob # in far away Rome",
        "# Ada # @ Bob @ in far away Rome",
        "Ada @ Bob @ in far away # Rome #",
        "Ada # Bob # in far away @ Rome @",
    ]


def test_no_entities_ask_nothing() -> None:
    made, relates = chain(lambda text: "lives_in")
    assert [p.value for p in made.rows([Row("1", "nobody"), Row("2", "here")])] == [[], []] and relates.asked == []


def test_artifacts_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(BadValue, match="was made for text_classification"):
        Chain(Finds(), Finds())  # type: ignore[arg-type]
    for value in ("a label", [{"type": "x"}], 3.0):
        with pytest.raises(BadValue, match="expected predictions that are entities"):
            triples.entities_of(Prediction("1", value), "text")


# ---------------------------------------------------------------- scores


def test_gold_triples_are_read_and_bad_ones_named() -> None:
    made, _ = chain(lambda text: "Other")

    def read(**values: Any) -> Row:
        return made.read(Record(values, "a.json", 7, "id"), DATA, labelled=True)

    gold = {"head": [0, 3], "relation": "lives_in", "tail": {"start": 7, "end": 11, "text": "Rome"}}
    assert read(text="Ada in Rome", triples=[gold]).target == (Triple((0, 3), "lives_in", (7, 11)),)
    assert read(tokens=["Ada", "in", "Rome"], triples=[{**gold, "head": [0, 1], "tail": [2, 3]}]).target == (Triple((0, 3), "lives_in", (7, 11)),)
    assert read(text="Ada", triples=[]).target == ()
    for values, said in (
        ({"triples": "x"}, "triples: expected a list of triples, got 'x'"),
        ({"triples": [{"head": [0, 3]}]}, "triple 1: expected head, relation and tail"),
        ({"triples": [gold, {**gold, "tail": [7, 99]}]}, "triple 2: tail: 7 to 99 is outside"),
        ({"text": "  ", "triples": []}, "the text is empty"),
    ):
        with pytest.raises(BadRow, match=rf"^a\.json:7: .*{said}|^a\.json:7: {said}"):
            read(**{"text": "Ada in Rome", **values})
    with pytest.raises(MissingColumn, match="no column 'triples'"):
        read(text="Ada in Rome")


def test_scores_count_whole_triples_over_all_texts() -> None:
    one, two, three = (Triple((n, n + 1), "r", (8, 9)) for n in range(3))
    turned = Triple((8, 9), "r", (0, 1))
    predicted = [[one, two], [turned], [], []]
    targets = [(one, three), (one,), (two,), ()]
    said = [Prediction(str(n), value) for n, value in enumerate(predicted)]
    found = [score.value(TripleScore(kind), said, targets) for kind in ("precision", "recall", "f1")]
    assert found == pytest.approx([1 / 3, 1 / 4, 2 / 7])
    assert score.value(TripleScore(), [Prediction("1", [])], [()]) == 0.0


def test_a_file_with_triples_is_scored_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]) -> None:
    made, _ = chain(lambda text: "lives_in" if "@ Ada @" in text and "# Rome #" in text else "Other")
    monkeypatch.setattr(triples, "chained", lambda *artifacts, device: made)
    rows = [
        {"text": "Ada in Rome", "triples": [{"head": [0, 3], "relation": "lives_in", "tail": [7, 11]}]},
        {"text": "Bob in Rome", "triples": [{"head": [0, 3], "relation": "lives_in", "tail": [7, 11]}]},
    ]
    (tmp_path / "texts.json").write_text(json.dumps(rows))
    made.relations.artifact.folder = made.entities.artifact.folder = tmp_path  # type: ignore[misc]
    said = cli("evaluate", "relations", tmp_path / "texts.json", "--entities", "entities", "--json")
    assert said.code == 0
    metrics = said.json()["metrics"]
    assert {name: round(entry["value"], 4) for name, entry in metrics.items()} == {"triple_f1": 0.6667, "triple_precision": 1.0, "triple_recall": 0.5}
    said = cli("predict", "relations", tmp_path / "texts.json", "--entities", "entities")
    assert [len(json.loads(line)["prediction"]) for line in said.out.splitlines()] == [1, 0]
    said = cli("predict", "relations", "--entities", "entities", stdin="Ada and Rome\n")
    assert said.json()["prediction"][0]["relation"] == "lives_in"
    assert cli("evaluate", "relations", "--entities", "entities").code == 2
    assert cli("predict", "relations", "--entities", "entities", "--chat").code == 2


def test_two_real_artifacts_give_triples_of_raw_texts(tiny_bert: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    pytest.importorskip("weitiao.tasks.token_classification", reason="the task that finds entities is not there")
    import weitiao
    from tiny import BAD, GOOD, sentences

    tagged, related = [], []
    for text, _ in sentences(80):
        words = text.split()
        tagged.append({"tokens": words, "tags": ["B-GOOD" if w in GOOD else "B-BAD" if w in BAD else "O" for w in words]})
        first, second = [n for n, w in enumerate(words) if w in GOOD + BAD][:2]
        for head, tail in ((first, second), (second, first)):
            label = "before" if head < tail else "no_relation"
            related.append({"tokens": words, "head": [head, head + 1], "tail": [tail, tail + 1], "label": label})
    artifacts = {}
    marked = {"markers": ["90", "91", "92", "93"]}  # words of the tiny vocabulary
    for name, rows, settings in (("token_classification", tagged, {}), ("relation_extraction", related, marked)):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
        report = weitiao.train(
            model=str(tiny_bert),
            data={"name": "json", "train": str(tmp_path / f"{name}.json")},
            task={"name": name, "max_length": 32, **settings},
            method="full",
            train={"steps": 250, "batch_size": 16, "learning_rate": 3e-3, "dtype": "fp32", "device": str(DEVICE)},
            evaluate={"best": False},
            out=tmp_path / name,
        )
        artifacts[name] = report["artifact"]
    said = cli("predict", artifacts["relation_extraction"], "--entities", artifacts["token_classification"], stdin="the good film was very warm\n")
    assert said.code == 0
    found = [(t["head"]["text"], t["relation"], t["tail"]["text"]) for t in said.json()["prediction"]]
    assert found == [("good", "before", "warm")]
    assert said.json()["prediction"][0]["head"] == {"text": "good", "type": "GOOD", "start": 4, "end": 8}
    gold = {"text": "the good film was very warm", "triples": [{"head": [4, 8], "relation": "before", "tail": [23, 27]}]}
    (tmp_path / "gold.jsonl").write_text(json.dumps(gold) + "\n")
    said = cli("evaluate", artifacts["relation_extraction"], tmp_path / "gold.jsonl", "--entities", artifacts["token_classification"], "--json")
    assert said.json()["metrics"]["triple_f1"]["value"] == 1.0
