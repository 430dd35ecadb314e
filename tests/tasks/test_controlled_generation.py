"""Controlled generation: what is ordered, what is learnt of it, what is refused, and who judges the texts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tiny_language
import weitiao
from tiny import build_tiny, sentences, write_csv
from weitiao.core.contracts import IGNORED, Prediction
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, BadValue, EmptySplit, MissingColumn, NotAnArtifact
from weitiao.evaluation import evaluate, score
from weitiao.evaluation.reader import Reader
from weitiao.metrics.generated import CorpusDistinct, LengthAccuracy
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer
from weitiao.parallel.single import Single
from weitiao.sources.csv import Csv
from weitiao.tasks.controlled_generation import ControlledGeneration

LENGTHS = {"short": [1, 4], "long": [5, 9]}


def read(record: dict[str, Any], *, labelled: bool = True, data: dict[str, Any] | None = None, **task: Any) -> Row:
    return ControlledGeneration(**task).read(Record(record, "a.csv", 7, "id"), Csv(train="a.csv", **(data or {})), labelled=labelled)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.build(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def tokens(folder: Path) -> Tokenizer:
    return Tokenizer(Located("tiny", str(folder), True, "tiny"), 256)


# ------------------------------------------------------------ orders


def test_an_order_names_the_attribute_and_how_the_text_begins() -> None:
    row = read({"text": "A fine, long film.", "label": "good"})
    assert row.asked[0].content == 'Write a text that is good and begins with "A fine, long".'
    assert (row.text, row.target, row.turns[-1].content) == ("A fine, long film.", ("A fine, long film.", "good", ""), "A fine, long film.")
    assert read({"text": "今天天气很好。", "label": "good"}).asked[0].content.endswith('"今天天".'), "characters are words where there are no spaces"
    assert read({"text": "Short", "label": "good"}).asked[0].content.endswith('"Short".')
    assert read({"text": "A film.", "label": "good"}, begin_words=0).asked[0].content == "Write a text that is good."


def test_the_prompt_says_values_as_it_is_told_to() -> None:
    row = read({"s": "A film.", "y": 1}, data={"text": "s", "label": "y"}, values={"0": "bad", "1": "good"}, prompt="{attribute}: {begin}", begin_words=1)
    assert row.asked[0].content == "good: A" and row.target == ("A film.", "1", "")
    assert ControlledGeneration(values=["a", "b"]).values == {"a": "a", "b": "b"}
    assert read({"text": "A film.", "label": "good"}, values={"0": "bad", "1": "good"}).target[1] == "1", "who orders may call it as the prompt does"
    with pytest.raises(BadValue, match="expected one column"):
        read({"a": "x", "b": "y", "label": "z"}, data={"text": ["a", "b"]})


def test_the_length_of_a_row_is_counted_and_that_of_an_order_is_given() -> None:
    task = {"lengths": LENGTHS, "begin_words": 1}
    assert read({"text": "A long and winding film."}, **task).target[1:] == ("", "long")
    both = read({"text": "A film.", "label": "good"}, data={"label": "label"}, **task)
    assert both.asked[0].content == 'Write a short text that is good and begins with "A".'
    order = read({"text": "The", "length": "long"}, labelled=False, **task)
    assert order.asked[0].content == 'Write a long text that begins with "The".' and order.target is None
    with pytest.raises(BadRow, match=r"a\.csv:7: length: 'lng' is not known\. Did you mean 'long'\?"):
        read({"text": "The", "length": "lng"}, labelled=False, **task)
    with pytest.raises(MissingColumn, match="there is no column 'length'"):
        read({"text": "The"}, labelled=False, **task)
    with pytest.raises(BadRow, match=r"a\.csv:7: text: the text has 10 words, and no length of task\.lengths takes them\."):
        read({"text": "one two three four five six seven eight nine ten"}, **task)


@pytest.mark.parametrize("labelled", [True, False])
def test_an_unknown_value_is_refused_in_one_sentence_with_the_known_ones(labelled: bool) -> None:
    with pytest.raises(BadRow) as caught:
        read({"text": "A film.", "label": "goud"}, labelled=labelled, values=["good", "bad"])
    assert caught.value.message == "a.csv:7: label: the attribute 'goud' is not known. Did you mean 'good'?" and "Known: good, bad." in caught.value.hint


def test_values_are_found_in_training_rows_and_others_refused_in_the_rest() -> None:
    rows = [read({"text": f"A film {n}.", "label": label}) for n, label in enumerate(["sad", "glad", "sad"])]
    task = ControlledGeneration().fitted(rows)
    assert task.values == {"glad": "glad", "sad": "sad"}
    with pytest.raises(BadRow, match="the test row has the attribute 'mad', which no training row has"):
        task.check([read({"text": "A film.", "label": "mad"})], "test")
    with pytest.raises(EmptySplit, match=r"every training row orders the same \(sad; 2 rows\)"):
        ControlledGeneration().fitted([rows[0], rows[2]])
    assert task.stratum(rows[0]) == "sad " and task.wanted(rows[0]) == "A film 0."


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text": "", "label": "a"}, "a.csv:7: text: the text is empty."),
        ({"text": 3, "label": "a"}, "a.csv:7: text: expected text, got 3."),
        ({"text": "x", "label": None}, "a.csv:7: label: expected the name of a class, got None."),
        ({"text": "x", "lable": "a"}, "a.csv:7: there is no column 'label' for the label. Did you mean 'lable'?"),
    ],
)
def test_what_is_no_order_is_refused_with_place_and_column(values: dict[str, Any], words: str) -> None:
    with pytest.raises((BadRow, MissingColumn)) as caught:
        read(values)
    assert caught.value.message == words


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "Write."},
        {"prompt": "{attribute}"},
        {"prompt": "{attribute} {begin} {length}"},
        {"prompt": "{attribute} {begin}", "begin_words": 0},
        {"prompt": "{attribute} {begin}", "lengths": LENGTHS},
        {"lengths": {}},
        {"lengths": {"a": [3, 1]}},
        {"lengths": {"a": [1, 3], "b": [3, 5]}},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ControlledGeneration(**settings)


# ------------------------------------------------------------ features


def test_the_text_and_its_end_are_learnt_and_one_that_does_not_fit_is_left_out(tokens: Tokenizer) -> None:
    rows = [read({"text": text, "label": "good"}) for text in ("the sky is blue.", "sky " * 200)]
    task = ControlledGeneration(max_length=128).settled(tokens)
    (feature,) = task.encode(rows, tokens)
    assert tokens.decode([token for token in feature.target if token != IGNORED], special=True) == "the sky is blue.<|im_end|>"
    (prompt,) = task.prompts(rows[:1], tokens)
    assert prompt == list(feature.input_ids[: len(prompt)]) and task.trained_tokens(feature)[len(prompt)]
    order = task.read(Record({"text": "the sky is", "label": "good"}, "a", 1, "i"), Csv(train="a"), labelled=False)
    assert task.prompts([order], tokens) == [prompt], "an order reads as the rows did in training"


# ------------------------------------------------------------ scores


def test_distinct_over_all_texts_is_their_distinct_runs_over_all_runs() -> None:
    texts = ["a b a b", "a b c", "d", ""]
    predictions = [Prediction(str(n), text) for n, text in enumerate(texts)]
    for n, expected in ((1, 4 / 8), (2, 3 / 5)):  # a b c d of eight words; ab ba bc of five pairs
        assert score.value(CorpusDistinct(n=n), predictions, texts) == pytest.approx(expected)
    assert score.value(CorpusDistinct(), [Prediction("a", "x y"), Prediction("b", "x y")], ["", ""]) == 0.5


def test_length_accuracy_counts_words() -> None:
    metric = LengthAccuracy({"short": (1, 4), "long": (5, 9)})
    predictions = [Prediction(str(n), text) for n, text in enumerate(["one two", "one two", "今天天气很好。", ""])]
    targets = [("", "", "short"), ("", "", "long"), ("", "", "long"), ("", "", "short")]
    assert metric.statistics(predictions, targets)[:, 0].tolist() == [1, 0, 1, 0]


def test_fluency_is_the_likelihood_of_the_text_alone_under_the_model_that_is_asked(folder: Path, tokens: Tokenizer) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    texts = ["the sky is blue", "gold", "", "sea and moon"]
    found = Reader(lambda: model, tokens, Single(torch.device("cpu"))).likelihoods(texts)
    assert found is not None and found[2] is None
    for text, said in zip(texts, found, strict=True):
        ids = torch.tensor([tokens.plain([text])[0]])
        if ids.shape[1] < 2:
            assert said is None
            continue
        with torch.inference_mode():
            own = model(input_ids=ids, labels=ids).loss
        assert said is not None and said[1] == ids.shape[1] - 1 and said[0] / said[1] == pytest.approx(float(own), rel=1e-4)
    assert Reader(lambda: None, tokens, Single(torch.device("cpu"))).likelihoods(texts) is None


# ------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> dict[str, Path]:
    """A classifier of good and bad words, and a model tuned to write texts with them."""
    top = tmp_path_factory.mktemp("runs")
    build_tiny(top / "bert", "bert")
    file = write_csv(top / "rows.csv", sentences(80))
    common = {"data": {"name": "csv", "train": str(file)}, "evaluate": {"best": False}}
    steps = {"device": "cpu", "steps": 60, "learning_rate": 3e-3, "batch_size": 8}
    weitiao.train(
        {"model": str(top / "bert"), "task": {"name": "text_classification", "max_length": 32}, **common, "train": steps},
        out=top / "classifier",
    )
    weitiao.train(
        {
            "model": str(folder),
            "task": {
                "name": "controlled_generation",
                "begin_words": 1,
                "max_length": 160,
                "max_new_tokens": 12,
                "generate_rows": 8,
                "classifier": str(top / "classifier" / "artifact"),
                "temperature": 0.5,
            },
            **common,
            "train": {**steps, "steps": 4},
        },
        out=top / "controlled",
    )
    return {"classifier": top / "classifier" / "artifact", "controlled": top / "controlled", "rows": file}


def test_control_is_what_the_classifier_says_and_fluency_what_the_untuned_model_says(runs: dict[str, Path], folder: Path, tokens: Tokenizer) -> None:
    report = json.loads((runs["controlled"] / "report.json").read_text())
    names = {"control_accuracy", "fluency_perplexity", "corpus_distinct_1", "corpus_distinct_2", "stop_rate"}
    assert names <= report["metrics"].keys() and report["metrics"]["control_accuracy"]["after"]["n"] == 8
    assert any("control_accuracy is what" in note and "was right on" in note for note in report["notes"])
    files = {side: runs["controlled"] / "predictions" / f"{side}.jsonl" for side in ("before", "after")}
    lines = {side: [json.loads(line) for line in file.read_text().splitlines()] for side, file in files.items()}
    classifier = weitiao.load(runs["classifier"])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    reader = Reader(lambda: model, tokens, Single(torch.device("cpu")))
    labels = dict(sentences(80))
    for side in ("before", "after"):
        written = [line for line in lines[side] if line["prediction"] is not None]
        assert len(written) == 8
        for line in written:
            said = classifier.predict(line["prediction"])[0].value if line["prediction"].strip() else None
            assert line["measures"]["controlled"] == float(said == labels[line["target"]])
        likelihoods = reader.likelihoods([line["prediction"] for line in written])
        assert likelihoods is not None
        for line, likelihood in zip(written, likelihoods, strict=True):
            if likelihood is not None:
                np.testing.assert_allclose([line["measures"][f"untuned_{name}"] for name in ("nll", "tokens")], likelihood, rtol=1e-3)


def test_the_card_shows_an_order_in_full(runs: dict[str, Path]) -> None:
    card = (runs["controlled"] / "artifact" / "README.md").read_text()
    turns = [{"role": "user", "content": 'Write a text that is neg and begins with "The".'}]
    assert f"turns = {json.dumps(turns)}" in card


def test_an_artifact_is_judged_again_and_writes_to_order(runs: dict[str, Path]) -> None:
    report = json.loads((runs["controlled"] / "report.json").read_text())
    again = evaluate.evaluate(runs["controlled"], None, device="cpu")
    for name in ("loss", "control_accuracy", "fluency_perplexity", "corpus_distinct_2"):
        assert again["metrics"][name]["value"] == pytest.approx(report["metrics"][name]["after"]["value"], rel=1e-3), name
    opened = weitiao.load(runs["controlled"])
    (found,) = opened.predict({"text": "the", "label": "pos"})
    assert isinstance(found.value, str) and "controlled" not in found.measures
    with pytest.raises(BadRow, match="item 1: label: the attribute 'angry' is not known"):
        opened.predict({"text": "the", "label": "angry"})


def test_a_classifier_of_another_task_or_other_labels_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    rows = [read({"text": f"A film {n}.", "label": label}) for n, label in enumerate(["sad", "glad"])]
    with pytest.raises(BadValue, match=r"task\.classifier: .*artifact knows the labels .*, and none is the attribute 'glad'\."):
        ControlledGeneration(classifier=str(runs["classifier"])).fitted(rows)
    with pytest.raises(BadValue, match="was made for controlled_generation, expected an artifact that gives texts one of several labels"):
        ControlledGeneration(classifier=str(runs["controlled"])).fitted(rows)
    with pytest.raises(NotAnArtifact, match="there is no artifact"):
        ControlledGeneration(classifier=str(tmp_path / "none")).fitted(rows)
    labels = weitiao.load(runs["classifier"]).task.labels
    mapped = ControlledGeneration(classifier=str(runs["classifier"]), values=dict(zip(["sad", "glad"], labels, strict=True))).fitted(rows)
    assert list(mapped.values or {}) == ["sad", "glad"], "labels may be the prompt's words"


def test_a_prompt_that_has_no_place_for_what_is_ordered_is_refused() -> None:
    told = [read({"text": text, "label": "x"}, lengths=LENGTHS, data={"label": "label"}) for text in ("a b", "a b c d e f")]
    untold = [read({"text": text}, lengths=LENGTHS) for text in ("a b", "a b c d e f")]
    for rows, prompt, words in ((told, "{length} {begin}", "once, since data.label"), (untold, "{attribute} {length} {begin}", "nowhere, since only lengths")):
        with pytest.raises(BadValue, match=words):
            ControlledGeneration(lengths=LENGTHS, prompt=prompt).fitted(rows)


def test_without_a_classifier_control_is_left_out_and_said_so() -> None:
    task = ControlledGeneration().fitted([read({"text": f"A film {n}.", "label": label}) for n, label in enumerate(["sad", "glad"])])
    assert "control_accuracy" not in [metric.name for metric in task.metrics()]
    assert task.rests_on([]) == ["control_accuracy is left out: task.classifier names no artifact that says which attribute a text has."]
    counted = ControlledGeneration(lengths=LENGTHS).fitted([read({"text": text}, lengths=LENGTHS) for text in ("a b", "a b c d e f")])
    assert counted.rests_on([]) == [] and counted.values == {} and "length_accuracy" in [metric.name for metric in counted.metrics()]
    assert counted.read(Record({"text": "x y z", "length": "short"}, "a", 1, "i"), Csv(train="a"), labelled=False).turns
    assert dataclasses.asdict(counted.generation)["temperature"] == 0.7
