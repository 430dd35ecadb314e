from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from weitiao.core import tagging
from weitiao.core.contracts import IGNORED, Batch, Features, Frame, Prediction
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, BadValue, EmptySplit, MissingColumn, UnknownSetting
from weitiao.sources.json import Json
from weitiao.tasks.token_classification import TokenClassification

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def read(values: dict[str, Any], *, data: dict[str, Any] | None = None, labelled: bool = True) -> Row:
    return TokenClassification().read(Record(values, "a.json", 7, "id"), Json(train="a.json", **(data or {})), labelled=labelled)


def row(words: str, tags: str | None = None, id: str = "r") -> Row:
    return Row(id, words, None if tags is None else tuple(tags.split()), f"a.json:{id}", parts=tuple(words.split()))


def fitted(*rows: Row, **task: Any) -> TokenClassification:
    return TokenClassification(**task).fitted(rows)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(("words", "tags"), [("tokens", "tags"), ("words", "ner_tags"), ("tokens", "labels"), ("tokens", "label")])
def test_words_and_tags_are_found_under_the_usual_names(words: str, tags: str) -> None:
    found = read({words: ["Ada", "Lovelace", "."], tags: ["I-PER", " I-PER", "O"]})
    assert found.parts == ("Ada", "Lovelace", ".") and found.target == ("I-PER", "I-PER", "O") and found.text == "Ada Lovelace ."
    assert read({"w": ["a"], "t": ["O"]}, data={"text": "w", "label": "t"}).parts == ("a",)
    assert read({words: ["a"]}, labelled=False).target is None


def test_words_and_tags_may_be_written_with_blanks_between() -> None:
    found = read({"text": "Ada  lives in Paris, France", "tags": "B-PER O O B-LOC B-LOC"})
    assert found.parts == ("Ada", "lives", "in", "Paris,", "France") and found.target == ("B-PER", "O", "O", "B-LOC", "B-LOC")
    assert found.text == "Ada  lives in Paris, France"


@pytest.mark.parametrize(
    "entities",
    [
        [{"start": 0, "end": 12, "label": "PER"}, {"start": 22, "end": 28, "label": "LOC"}],
        [{"start": 21, "end": 28, "type": "LOC"}, {"start": 0, "end": 13, "entity": "PER"}],  # blanks at the ends, another order
        [[0, 12, "PER"], [22, 28, "LOC"]],
    ],
)
def test_entities_by_characters_become_tags_of_words(entities: list[Any]) -> None:
    found = read({"text": "Ada Lovelace lives in London.", "entities": entities})
    assert found.parts == ("Ada", "Lovelace", "lives", "in", "London", ".")
    assert found.target == ("B-PER", "I-PER", "O", "O", "B-LOC", "O")


def test_entities_stand_in_chinese_texts_too() -> None:
    found = read({"text": "我爱北京。", "label": [[2, 4, "LOC"]]})
    assert found.parts == tuple("我爱北京。") and found.target == ("O", "O", "B-LOC", "I-LOC", "O")
    assert read({"text": "nothing here", "entities": []}).target == ("O", "O")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "tags: expected 2 tags, one for each word, got 1"),
        ({"tokens": [], "tags": []}, "tokens: there is no word"),
        ({"text": " \n", "entities": []}, "text: there is no word"),
        ({"tokens": ["a", 3], "tags": ["O", "O"]}, "tokens: word 2: expected a word, got 3"),
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, "tokens: word 2: expected a word, got ''"),
        ({"tokens": {"a": 1}, "tags": ["O"]}, "tokens: expected a list of words, or a text, got"),
        ({"tokens": None, "tags": ["O"]}, "tokens: expected a list of words, or a text, got None"),
        ({"tokens": ["a"], "tags": [1]}, "tags: word 1: expected the name of a tag, got the number 1"),
        ({"tokens": ["a"], "tags": [None]}, "tags: word 1: expected a tag, got None"),
        ({"tokens": ["a"], "tags": [" "]}, "tags: word 1: expected a tag, got ' '"),
        ({"tokens": ["a"], "tags": 3}, "tags: expected a tag for each word, or a list of entities, got 3"),
        ({"tokens": ["a"], "tags": None}, "tags: expected a tag for each word"),
        ({"text": "a b", "tags": ""}, "tags: expected 2 tags, one for each word, got 0"),
        ({"tokens": ["a"], "entities": [{"start": 0, "end": 1, "label": "X"}]}, "entities: word 1: expected a tag, got"),
        ({"text": "in London", "entities": [[3, 6, "LOC"]]}, "entities: entity 1: 'Lon' (3 to 6) is only a part of the word 'London'"),
        ({"text": "in London", "entities": [[3, 12, "LOC"]]}, "entities: entity 1: characters 3 to 12 are no part of the text, which has 9"),
        ({"text": "in London", "entities": [[2, 3, "LOC"]]}, "entities: entity 1: characters 2 to 3 are no part"),
        ({"text": "in London", "entities": [[5, 5, "LOC"]]}, "entities: entity 1: characters 5 to 5 are no part"),
        ({"text": "in London", "entities": [[3, 9, "LOC"], [0, 9, "X"]]}, "entities: the entities 'in London' and 'London' overlap"),
        ({"text": "in London", "entities": [{"start": 3, "end": 9}]}, "entities: entity 1: expected start, end and label, got"),
        ({"text": "in London", "entities": [{"start": "3", "end": 9, "label": "LOC"}]}, "entities: entity 1: expected start, end and label"),
        ({"text": "in London", "entities": [[3, 9]]}, "entities: entity 1: expected start, end and label"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRow) as caught:
        read(values)
    assert caught.value.message.startswith(f"a.json:7: {said}") and caught.value.hint


def test_a_missing_column_names_the_columns_there_are() -> None:
    with pytest.raises(MissingColumn, match="no column 'tokens', 'words' or 'text' for the words") as caught:
        read({"sentence": ["a"], "tags": ["O"]})
    assert "sentence, tags" in caught.value.hint and "data.text" in caught.value.hint
    with pytest.raises(MissingColumn, match="no column 'ner' for the tags") as caught:
        read({"tokens": ["a"], "net": ["O"]}, data={"label": "ner"})
    assert "Did you mean 'net'?" in caught.value.message
    with pytest.raises(BadValue, match="data.text: a sentence has its words and its tags in one column each, got 2"):
        read({"a": ["x"], "b": ["x"]}, data={"text": ["a", "b"]})


# ---------------------------------------------------------------- what training rows tell


def test_scheme_and_labels_come_from_the_training_rows() -> None:
    assert fitted(row("a b c", "I-PER O I-LOC")).scheme == "iob1"
    assert fitted(row("a b c", "B-PER E-PER S-LOC")).labels == TAGS
    assert fitted(row("a b", "M E"), row("a", "B")).labels == ["O", "B-_", "I-_"]
    assert fitted(row("a b c", "DT NN O")).labels == ["DT", "NN", "O"]
    assert fitted(row("a b", "B-PER O"), scheme="plain").labels == ["B-PER", "O"]
    assert fitted(row("a b", "B-PER O"), labels=TAGS).labels == TAGS


@pytest.mark.parametrize(("written", "meant"), [("BIO", "iob2"), ("bioes", "iobes"), ("IOB1", "iob1"), ("BMES", "bmes")])
def test_a_scheme_has_the_names_that_people_use(written: str, meant: str) -> None:
    assert TokenClassification(scheme=written).scheme == meant  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        TokenClassification(scheme="bogus")  # type: ignore[arg-type]


def test_rows_that_cannot_teach_are_refused() -> None:
    with pytest.raises(EmptySplit, match="every word has the tag O"):
        fitted(row("a b", "O O"))
    with pytest.raises(EmptySplit, match="no entity is marked: every tag is O"):
        fitted(row("a b", "O O"), scheme="iob2")


def test_a_tag_of_no_scheme_is_refused_with_its_place_and_word() -> None:
    good = [row("a b", "B-PER I-PER", str(n)) for n in range(5)]
    with pytest.raises(BadRow, match=r"a.json:x: word 2 of the train row \('c'\) has the tag 'X-PER'"):
        fitted(*good, row("b c", "O X-PER", "x"))
    with pytest.raises(BadRow, match=r"of the dev row \('b'\) has the tag 'PER'"):
        fitted(*good).check([row("b", "PER", "x")], "dev")
    fitted(*good).check([row("b", "S-PER", "x")], "dev")
    with pytest.raises(BadRow, match=r"a.json:7: word 1 \('a'\) has the tag 'PER'"):  # where the scheme is known, such a row can be left out
        TokenClassification(scheme="iob2").read(Record({"tokens": ["a"], "tags": ["PER"]}, "a.json", 7, "id"), Json(train="a.json"), labelled=True)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"labels": ["O", "B-PER"]}, BadValue, "task.labels lacks 'I-PER'"),
        ({"labels": ["B-PER", "I-PER"]}, BadValue, "task.labels lacks 'O'"),
        ({"labels": ["O", "PER"]}, BadValue, "task.labels names 'PER'"),
        ({"labels": ["O", "O", "B-PER", "I-PER"]}, BadValue, "names one label twice"),
        ({"labels": ["O", "B-LOC", "I-LOC"]}, BadRow, "the training rows hold 'PER', which task.labels does not list"),
        ({"class_weights": {"PERS": 2.0}}, UnknownSetting, "there is no 'PERS'. Did you mean 'PER'?"),
    ],
)
def test_labels_and_weights_must_fit_the_rows(settings: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        fitted(row("a b", "B-PER O"), **settings)
    assert said in str(caught.value)


def test_jumps_and_types_that_training_lacks_are_counted_and_shown() -> None:
    task = fitted(row("a b c", "B-PER I-PER O"), row("a b c", "B-LOC O B-PER", "s"))
    assert list(task.remarks([row("a b", "B-PER I-PER")], "train")) == []
    odd, unseen = task.remarks([row("x y z", "O I-PER I-LOC", "4"), row("p q", "B-LOCC O", "5"), row("p q", "I-PER B-LOCC", "6")], "dev")
    assert odd.startswith("dev: 3 tags are out of place in IOB2, the first at a.json:4, word 2 (y, I-PER). They are read as conlleval")
    assert unseen == "dev: no training row has the type 'LOCC' (2 here, the first at a.json:5): it can only be missed. Did you mean 'LOC'?"
    plain = fitted(row("a b", "DT NN"))
    (unseen,) = plain.remarks([row("a b", "DT VB")], "test")
    assert unseen == "test: no training row has the tag 'VB' (1 here, the first at a.json:r): it can only be missed."


def test_sentences_are_parted_by_the_types_in_them() -> None:
    assert TokenClassification().stratum(row("a b c", "B-PER O I-LOC")) == "LOC PER"
    assert TokenClassification().stratum(row("a b", "DT NN")) == "" == TokenClassification(scheme="plain").stratum(row("a", "B-PER"))


def test_a_fitted_task_survives_its_file() -> None:
    task = fitted(row("a b", "B-PER O"), class_weights={"PER": 2.0}, overlap=3)
    assert TokenClassification.model_validate({key: value for key, value in task.settings().items() if key != "name"}) == task


# ---------------------------------------------------------------- features


class Letters:
    """A tokenizer with a token for each letter, and for nothing else; a blank is written into the letter behind it."""

    unknown_id = 1

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(word[-1]) + 1000 * word.startswith(" ") for word in self._letters(text)] for text in texts]

    @staticmethod
    def _letters(text: str) -> list[str]:
        return [" " * (n > 0 and text[n - 1] == " ") + letter for n, letter in enumerate(text) if letter.isascii() and not letter.isspace()]

    def frame(self, *, two: bool) -> Frame:
        return Frame((2,), (), (3,), 0)


def encoded(*rows: Row, **task: Any) -> tuple[TokenClassification, list[Features]]:
    made = fitted(row("a b c d", "B-PER O B-LOC O"), **task)
    return made, made.encode(rows, Letters())  # type: ignore[arg-type]


def test_the_first_token_of_a_word_carries_its_tag() -> None:
    _, (found,) = encoded(row("ab c de", "I-PER I-PER O"))
    assert found.input_ids == [2, ord("a"), ord("b"), 1000 + ord("c"), 1000 + ord("d"), ord("e"), 3]
    assert found.target == [IGNORED, 3, IGNORED, 4, 0, IGNORED, IGNORED]
    assert list(found.places) == [-1, 0, -1, 1, 2, -1, -1]


def test_words_that_are_glued_have_no_blank_between() -> None:
    _, (found,) = encoded(Row("r", "a-b c", None, parts=("a", "-", "b", "c")))
    assert found.input_ids == [2, ord("a"), ord("-"), ord("b"), 1000 + ord("c"), 3] and found.target is None


def test_a_word_that_becomes_nothing_has_a_place() -> None:
    _, (found,) = encoded(row("a 中 b", "O B-LOC O"))
    assert found.input_ids[2] == Letters.unknown_id and list(found.places) == [-1, 0, 1, 2, -1] and found.target[2] == 1


def test_a_type_that_training_lacks_is_not_asked_for() -> None:
    _, (found,) = encoded(row("a b", "B-ORG O"))
    assert found.target == [IGNORED, IGNORED, 0, IGNORED]


def test_long_sentences_are_windowed_and_no_word_is_learnt_twice() -> None:
    words = " ".join("abcdefghijkl")
    _, found = encoded(row(words, "O " * 11 + "B-LOC"), max_length=8, overlap=2)
    assert all(len(window) <= 8 for window in found) and [window.cut for window in found] == [0, 0, 0]
    places = [[place for place in window.places if place >= 0] for window in found]
    assert places == [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [8, 9, 10, 11]]
    learnt = [[place for place, target in zip(window.places, window.target, strict=True) if target != IGNORED] for window in found]
    assert learnt == [[0, 1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]], "each word where it is decided: of two windows in the one that shows more around it"


def test_only_what_is_too_long_of_one_word_is_cut() -> None:
    _, found = encoded(row("a " + "x" * 9 + " b", "O B-LOC O"), max_length=8, overlap=0)
    assert [window.cut for window in found] == [0, 3, 0]
    assert [(max(window.places), len(window)) for window in found] == [(0, 3), (1, 8), (2, 3)]


def test_more_overlap_than_half_a_window_is_not_taken() -> None:
    _, found = encoded(row(" ".join("abcdefgh"), "O " * 7 + "B-LOC"), max_length=8, overlap=100)
    assert [[place for place in window.places if place >= 0] for window in found] == [[0, 1, 2, 3, 4, 5], [3, 4, 5, 6, 7]]


# ---------------------------------------------------------------- objective


def test_the_loss_is_that_of_torch_over_asked_positions() -> None:
    targets = torch.tensor([[IGNORED, 0, 3, IGNORED], [IGNORED, 2, IGNORED, IGNORED]])
    batch = Batch({}, targets, ("a", "b"), 8)
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    for settings, weight in (({}, None), ({"class_weights": {"PER": 3.0, "O": 0.5}}, torch.tensor([0.5, 1, 1, 3, 3]))):
        for smoothing in (0.0, 0.1):
            task = fitted(row("a b", "B-PER B-LOC"), label_smoothing=smoothing, **settings)
            objective: Any = task.objective()
            expected = torch.nn.functional.cross_entropy(logits[targets != IGNORED], targets[targets != IGNORED], weight=weight, label_smoothing=smoothing)
            assert float(objective.loss(logits, batch).value()) == pytest.approx(float(expected), rel=1e-5)
            assert objective.counts(batch) == {"cross_entropy": 3.0 if weight is None else 4.5}


# ---------------------------------------------------------------- predictions


def decoded(task: TokenClassification, of: Row, features: list[Features], certain: dict[int, str], other: str = "O") -> Prediction:
    """Return the prediction of a model that is certain of the tags of some words, and thinks `other` of the rest."""
    labels = task.labels or []
    values = [torch.stack([10.0 * torch.eye(len(labels))[labels.index(certain.get(place, other))] for place in window.places]) for window in features]
    (found,) = task.decode(values, features, [of])
    return found


def test_entities_are_said_by_words_and_characters_with_their_probability() -> None:
    sentence = Row("r", "Ada  Lovelace, London.", None, parts=("Ada", "Lovelace", ",", "London", "."))
    task, features = encoded(sentence)
    found = decoded(task, sentence, features, {0: "B-PER", 1: "I-PER", 3: "B-LOC"})
    assert found.value == [
        {"type": "PER", "start": 0, "end": 2, "text": "Ada  Lovelace", "start_char": 0, "end_char": 13},
        {"type": "LOC", "start": 3, "end": 4, "text": "London", "start_char": 15, "end_char": 21},
    ]
    assert list(found.scores) == ["PER 0-2", "LOC 3-4"] and all(0.99 < value < 1 for value in found.scores.values())


def test_an_impossible_sequence_is_repaired() -> None:
    sentence = row("a b c", None)
    task, features = encoded(sentence)
    labels = task.labels or []
    logits = torch.tensor([[3.0, 0, 0, 2, 0], [0, 0, 0, 2, 5], [2, 0, 0, 0, 5]])  # O I-PER I-PER, word by word
    values = [torch.cat([torch.zeros(1, 5), logits, torch.zeros(1, 5)])]
    assert labels == TAGS
    (found,) = task.decode(values, features, [sentence])
    assert [(entity["type"], entity["start"], entity["end"]) for entity in found.value] == [("PER", 0, 3)]


def test_windows_are_merged_and_nothing_is_lost() -> None:
    sentence = row(" ".join("abcdefghijkl"), "O O O O B-PER I-PER O O B-LOC I-LOC O O")
    task, features = encoded(sentence, max_length=8, overlap=2)
    found = decoded(task, sentence, features, dict(enumerate(sentence.target)))
    assert found.value == task.wanted(sentence) and task.closeness(found, sentence) == 1.0


def test_a_word_that_no_window_holds_counts_as_outside() -> None:
    sentence = row("a b c", "B-PER I-PER B-LOC")
    task, features = encoded(sentence)
    few = [Features("r", features[0].input_ids[:2], places=features[0].places[:2])]
    found = decoded(task, sentence, few, {0: "B-PER"})
    assert [(entity["start"], entity["end"]) for entity in found.value] == [(0, 1)] and task.closeness(found, sentence) == 0.0


def test_plain_tags_are_said_word_by_word() -> None:
    sentence = row("the cat sat", "DT NN VB")
    task = fitted(sentence)
    features = task.encode([sentence], Letters())  # type: ignore[arg-type]
    assert decoded(task, sentence, features, {0: "DT", 1: "VB"}, other="VB").value == ["DT", "VB", "VB"]
    assert task.closeness(Prediction("r", ["DT", "VB", "VB"]), sentence) == pytest.approx(2 / 3)
    assert task.wanted(sentence) == ["DT", "NN", "VB"] and [metric.name for metric in task.metrics()] == ["accuracy"]


def test_closeness_is_the_share_of_right_entities() -> None:
    sentence = row("a b c d", "B-PER I-PER O B-LOC")
    task = fitted(sentence)
    said = task.wanted(sentence)
    nothing = row("a b", "O O")
    assert task.closeness(Prediction("r", said), sentence) == 1.0
    assert task.closeness(Prediction("r", said[:1]), sentence) == 0.5
    assert task.closeness(Prediction("r", []), sentence) == 0.0
    assert task.closeness(Prediction("r", []), nothing) == 1.0 and task.closeness(Prediction("r", said[:1]), nothing) == 0.0


def test_the_trivial_guess_is_the_usual_tag_of_each_word() -> None:
    train = [row("Paris is Paris", "B-LOC O B-LOC"), row("Paris Hilton", "B-PER I-PER", "s"), row("New York", "I-LOC I-LOC", "t")]
    task = fitted(*train)
    found = task.trivial(train, [row("Paris Hilton saw New Paris")])
    assert [(entity["type"], entity["start"], entity["end"]) for entity in found[0]] == [("LOC", 0, 1), ("PER", 1, 2), ("LOC", 3, 4), ("LOC", 4, 5)]
    plain = fitted(row("the cat sat the", "DT NN VB DT"))
    assert plain.trivial([row("the cat sat the", "DT NN VB DT")], [row("cat new the")]) == [["NN", "DT", "DT"]]


def test_a_linear_head_finds_what_states_show(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    task = fitted(row("a b", "B-PER B-LOC"))

    def drawn(count: int) -> tuple[list[np.ndarray], list[Features]]:
        targets = [random.integers(-1, 5, size=random.integers(3, 9)) for _ in range(count)]
        states = [np.concatenate([np.eye(6)[line], random.normal(size=(len(line), 3))], axis=1).astype(np.float32) for line in targets]
        return states, [Features(str(n), [0] * len(line), np.where(line < 0, IGNORED, line).tolist()) for n, line in enumerate(targets)]

    (seen, features), (new, asked) = drawn(60), drawn(10)
    monkeypatch.setattr("weitiao.tasks.token_classification._PROBED_WORDS", 150)
    said = task.probe(seen, features, new, seed=0)
    assert [tuple(part.shape) for part in said] == [(len(f), 5) for f in asked]
    right = [
        guess == target for part, f in zip(said, asked, strict=True) for guess, target in zip(part.argmax(-1).tolist(), f.target, strict=True) if target >= 0
    ]
    assert np.mean(right) > 0.95


def test_what_was_wanted_is_said_as_predictions_are() -> None:
    sentence = row("Ada Lovelace", "I-PER I-PER")
    task = fitted(sentence)
    assert task.wanted(sentence) == [{"type": "PER", "start": 0, "end": 2, "text": "Ada Lovelace", "start_char": 0, "end_char": 12}]
    assert task.wanted(row("Ada")) is None
    assert tagging.entities_of(sentence.target) == [("PER", 0, 2)]
