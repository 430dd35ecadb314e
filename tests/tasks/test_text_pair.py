from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny_language
import weitiao
from tiny import BAD, DEVICE, FILLER, GOOD
from weitiao.core.contracts import Features, Frame
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, BadValue, MissingColumn
from weitiao.models.tokens import Tokenizer
from weitiao.sources.json import Json
from weitiao.tasks.text_pair import USUAL, TextPair

CPU = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3, "dtype": "fp32", "device": str(DEVICE)}


def read(values: dict[str, Any], *, text: Any = None, **task: Any) -> Row:
    return TextPair(**task).read(Record(values, "a.json", 7, "id"), Json(train="a.json", text=text), labelled=True)


@pytest.mark.parametrize("columns", USUAL)
def test_pairs_are_found_under_their_usual_names(columns: tuple[str, str]) -> None:
    row = read({columns[1]: " so b ", columns[0]: "as a", "label": 1, "other": "x"})
    assert row.parts == ("as a", "so b") and row.text == "as a\nso b" and row.target == "1"


def test_named_columns_are_taken_in_the_order_they_are_named() -> None:
    assert read({"x": "one", "y": "two", "label": "n"}, text=["y", "x"]).parts == ("two", "one")


@pytest.mark.parametrize("text", ["x", ["x"], ["x", "y", "z"]])
def test_other_than_two_columns_are_refused(text: Any) -> None:
    with pytest.raises(BadValue, match="expected two columns"):
        read({"x": "one", "y": "two", "z": "three", "label": "n"}, text=text)


def test_a_record_without_a_pair_names_its_columns() -> None:
    with pytest.raises(MissingColumn, match=r"^a\.json:7: expected two columns of texts.*: premise, label\.$"):
        read({"premise": "x", "label": "1"})
    with pytest.raises(MissingColumn, match=r"no column 'hypotesis' for the text. Did you mean 'hypothesis'"):
        read({"premise": "x", "hypothesis": "y", "label": "1"}, text=["premise", "hypotesis"])


@pytest.mark.parametrize(("second", "said"), [("  ", "the text is empty"), (None, "expected text, got None"), (["a"], "expected text, got")])
def test_half_a_pair_is_refused_with_its_place(second: Any, said: str) -> None:
    with pytest.raises(BadRow, match=rf"^a\.json:7: sentence2: {said}"):
        read({"sentence1": "x", "sentence2": second, "label": "1"})


def test_numbers_and_several_labels_are_read_as_for_one_text() -> None:
    pair = {"sentence1": "x", "sentence2": "y"}
    assert read({**pair, "label": "4.25"}, problem_type="regression").target == 4.25
    assert read({**pair, "label": ["b", "a"]}, problem_type="multi_label_classification").target == ("a", "b")
    with pytest.raises(BadRow, match="label: expected a number"):
        read({**pair, "label": "much"}, problem_type="regression")


# ---------------------------------------------------------------- the form of a pair


def pairs(count: int) -> list[tuple[str, str]]:
    """Return pairs of very different lengths: short and long, long and short, equal, and far too long."""
    rng = random.Random(0)
    lengths = [(1, 1), (3, 30), (30, 3), (10, 10), (11, 11), (25, 26), (26, 25), (1, 60), (60, 1), (60, 60)]
    drawn = [(rng.randint(1, 40), rng.randint(1, 40)) for _ in range(count - len(lengths))]
    return [(" ".join(rng.choices(FILLER, k=a)), " ".join(rng.choices(GOOD, k=b))) for a, b in [*lengths, *drawn]]


@pytest.mark.parametrize("family", ["bert", "roberta", "llama"])
@pytest.mark.parametrize("max_length", [12, 21, 48])
def test_a_pair_is_what_the_tokenizer_of_transformers_makes_of_it(tiny: Callable[[str], Path], family: str, max_length: int) -> None:
    folder = tiny(family)
    own = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer_of(folder)
    rows = [Row(str(n), "", None, parts=pair) for n, pair in enumerate(pairs(60))]
    task = TextPair(max_length=max_length)
    for row, feature in zip(rows, task.encode(rows, tokens), strict=True):
        expected = own(*row.parts, truncation="longest_first", max_length=max_length, return_token_type_ids=True)
        assert list(feature.input_ids) == expected["input_ids"], "the same tokens, the longer text cut first"
        assert feature.cut == len(own(*row.parts)["input_ids"]) - len(expected["input_ids"]), "and what was cut is counted"
        inputs = task.collate([feature], tokens.layout()).inputs
        if family == "bert":
            assert inputs["token_type_ids"][0].tolist() == expected["token_type_ids"] and 1 in expected["token_type_ids"]
        else:
            assert "token_type_ids" not in inputs


def tokenizer_of(folder: Path) -> Tokenizer:
    from weitiao.models import locate, tokens

    config = transformers.AutoConfig.from_pretrained(folder)
    return Tokenizer(locate.locate(str(folder)), tokens.positions(config), token_types=tokens.token_types(config))


def test_texts_of_a_model_without_a_form_for_pairs_stand_on_two_lines(tmp_path: Path) -> None:
    tokens = tokenizer_of(tiny_language.build(tmp_path, "llama"))
    (feature,) = TextPair(max_length=64).encode([Row("r", "", None, parts=("the sea", "a fire"))], tokens)
    assert tokens.decode(feature.input_ids) == "the sea\na fire" and not tokens.pair_form()["own"]


class Letters:
    """A tokenizer with a token for each letter, and a frame of 4."""

    def frame(self, *, two: bool) -> Frame:
        return Frame((1,), (2, 3), (4,), 1)

    def plain(self, texts: list[str]) -> list[list[int]]:
        return [[ord(letter) for letter in text] for text in texts]


@pytest.mark.parametrize(
    ("first", "second", "kept"), [(2, 9, (2, 4)), (9, 2, (4, 2)), (9, 9, (3, 3)), (3, 3, (3, 3)), (1, 5, (1, 5)), (1, 9, (1, 5)), (4, 3, (3, 3))]
)
def test_the_longer_text_gives_way_first(first: int, second: int, kept: tuple[int, int]) -> None:
    (feature,) = TextPair(max_length=10).encode([Row("r", "", None, parts=("a" * first, "b" * second))], Letters())  # type: ignore[arg-type]
    assert feature == Features("r", [1, *[97] * kept[0], 2, 3, *[98] * kept[1], 4], None, first + second - sum(kept), second=1 + kept[0] + 1)


def test_a_limit_that_leaves_no_room_for_a_pair_is_refused() -> None:
    with pytest.raises(BadValue, match="5 is less than the 6 tokens of the shortest pair"):
        TextPair(max_length=5).settled(Letters())  # type: ignore[arg-type]
    assert TextPair(max_length=6).settled(Letters()).max_length == 6  # type: ignore[arg-type]


def test_features_are_made_anew_where_the_code_that_labels_share_changes() -> None:
    from weitiao.core import fingerprint
    from weitiao.labels import labels_or_number, one_label
    from weitiao.training.feature_cache import _code

    assert {fingerprint.of_file(Path(module.__file__)) for module in (labels_or_number, one_label)} <= set(_code(TextPair) or ())


# ---------------------------------------------------------------- runs


def made(folder: Path, model: Path, **sections: Any) -> dict[str, Any]:
    """Train on pairs that are alike where both texts are good, or both bad."""
    rng = random.Random(1)
    rows = []
    for n in range(80):
        sides = [rng.choice([GOOD, BAD]) for _ in range(2)]
        texts = [f"{rng.choice(FILLER)} {rng.choice(side)} {n}" for side in sides]
        rows.append({"premise": texts[0], "hypothesis": texts[1], "label": "alike" if sides[0] is sides[1] else "apart", "score": n % 5 + 0.5})
    folder.mkdir(exist_ok=True)
    (folder / "pairs.json").write_text(json.dumps(rows))
    data = {"name": "json", "train": str(folder / "pairs.json"), **sections.pop("data", {})}
    task = {"name": "text_pair", "max_length": 32, **sections.pop("task", {})}
    return weitiao.train(model=str(model), data=data, task=task, train=CPU, out=folder / "run", **{"method": "full", **sections})


@pytest.mark.parametrize("family", ["bert", "roberta", "llama"])
def test_plain_transformers_say_the_same_of_a_pair(tiny: Callable[[str], Path], tmp_path: Path, family: str) -> None:
    report = made(tmp_path, tiny(family))
    folder = Path(report["artifact"]) / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    asked = [{"premise": a, "hypothesis": b} for a, b in [("the good", "a bad"), ("a bad", "the good"), ("very warm film", "cold " * 40)]]
    for pair, found in zip(asked, weitiao.load(report["artifact"]).predict(asked), strict=True):
        inputs = tokenizer(*pair.values(), truncation=True, return_tensors="pt", return_token_type_ids=family == "bert")
        with torch.no_grad():
            expected = model(**inputs).logits[0].softmax(-1)
        scores = torch.tensor([found.scores[model.config.id2label[n]] for n in range(2)])
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def test_which_text_comes_first_reaches_the_model(tiny_bert: Path, tmp_path: Path) -> None:
    said = weitiao.load(made(tmp_path, tiny_bert)["artifact"])
    one, other = said.predict([{"premise": "good", "hypothesis": "bad"}, {"premise": "bad", "hypothesis": "good"}])
    assert one.scores != pytest.approx(other.scores, abs=1e-4)


def test_numbers_are_scored_by_correlations(tiny_bert: Path, tmp_path: Path) -> None:
    report = made(tmp_path, tiny_bert, task={"problem_type": "regression"}, data={"label": "score"})
    assert list(report["metrics"]) == ["pearson", "spearman", "mse"] and report["main_metric"] == "pearson"
    assert {"head_only", "majority"} <= set(report["baselines"]) and report["baselines"]["majority"]["pearson"]["value"] == 0.0


def test_a_text_alone_is_refused_with_what_to_give(tiny_bert: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    artifact = made(tmp_path, tiny_bert)["artifact"]
    said = cli("predict", artifact, stdin="only one text\n")
    assert said.code == 3 and "stdin:1: expected two columns of texts" in said.err and "JSON object" in said.err and "Traceback" not in said.err
    said = cli("predict", artifact, stdin='{"premise": "a film", "hypothesis": "one day"}\n')
    assert said.code == 0 and said.json()["prediction"] in ("alike", "apart")
