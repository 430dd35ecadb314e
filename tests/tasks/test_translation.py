"""Translation: which columns are read, what is asked and learnt of decoders and of encoder-decoders, and what is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_language
from weitiao.core.contracts import IGNORED, Prediction
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record, Row
from weitiao.core.snippets import snippet
from weitiao.errors import BadRow, BadValue, MissingColumn, RecipeError
from weitiao.models import dialogue
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer
from weitiao.sources.json import Json
from weitiao.tasks.translation import Translation


def read(values: dict[str, Any], *, labelled: bool = True, data: dict[str, Any] | None = None, **task: Any) -> Row:
    return Translation(**task).read(Record(values, "a.json", 7, "id"), Json(train="a.json", **(data or {})), labelled=labelled)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tokenizer")
    made = tiny_language.tokenizer()
    made.chat_template = tiny_language.CHATML
    made.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def tokens(folder: Path) -> Tokenizer:
    """Of a model that continues text."""
    return Tokenizer(Located("tiny", str(folder), True, "tiny"), 256)


@pytest.fixture(scope="module")
def apart(folder: Path) -> Tokenizer:
    """Of an encoder-decoder."""
    return Tokenizer(Located("tiny", str(folder), True, "tiny"), 256, decoder_start=0)


@pytest.fixture
def settled(tokens: Tokenizer) -> Callable[..., Translation]:
    return lambda **settings: Translation(source_language="English", target_language="German", **settings).settled(tokens)


def row(text: str = "the sky is blue", target: Any = "der Himmel ist blau") -> Row:
    return Row("r", text, target, "a.json:7")


# ------------------------------------------------------------ rows


@pytest.mark.parametrize(
    ("values", "data"),
    [
        ({"source": "a dog", "target": "ein Hund"}, {}),
        ({"src": " a dog\n", "tgt": "ein Hund "}, {}),
        ({"en": "a dog", "de": "ein Hund"}, {"text": "en", "label": "de"}),
        ({"en": "a dog", "de": "ein Hund"}, {"text": ["en"], "label": ["de"]}),
        ({"translation": {"en": "a dog", "de": "ein Hund"}, "id": 3}, {}),
        ({"translation": {"de": "ein Hund", "en": "a dog"}}, {"text": "en", "label": "de"}),
        ({"en": "a dog", "target": "ein Hund"}, {"text": "en"}),
        ({"source": "a dog", "de": "ein Hund"}, {"label": "de"}),
    ],
)
def test_text_and_translation_are_found_under_their_usual_names_or_those_that_are_given(values: dict[str, Any], data: dict[str, Any]) -> None:
    found = read(values, data=data)
    assert (found.text, found.target, found.place) == ("a dog", "ein Hund", "a.json:7")


@pytest.mark.parametrize(
    ("values", "data"),
    [
        ({"source": "a", "target": ["x", "y"]}, {}),
        ({"source": "a", "target1": "x", "target2": "y"}, {}),
        ({"source": "a", "x": "x", "y": "y", "z": None}, {"label": ["x", "y", "z"]}),
        ({"source": "a", "x": "x", "y": "y", "z": " "}, {"label": ["x", "y", "z", "not in this split"]}),
    ],
)
def test_several_references_stand_in_a_list_or_in_columns(values: dict[str, Any], data: dict[str, Any]) -> None:
    assert read(values, data=data).target == ("x", "y")


def test_what_is_to_be_translated_needs_no_translation() -> None:
    for values in ({"source": "a dog"}, {"source": "a dog", "target": "ein Hund"}, {"text": "a dog"}):
        found = read(values, labelled=False)
        assert found.text == "a dog" and found.target is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"source": " ", "target": "x"}, "a.json:7: source: the text is empty."),
        ({"source": "x", "target": ""}, "a.json:7: target: the answer is empty."),
        ({"source": "x", "target": []}, "a.json:7: target: the answer is empty."),
        ({"source": 3, "target": "x"}, "a.json:7: source: expected text, got 3."),
        ({"source": None, "target": "x"}, "a.json:7: source: the text is missing."),
        ({"source": "x", "target": {"de": "y"}}, "a.json:7: target: expected text, got {'de': 'y'}."),
        ({"source": "x", "target": ["y", 3]}, "a.json:7: target: expected text, got 3."),
    ],
)
def test_what_is_no_text_is_refused_with_place_and_column(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRow) as caught:
        read(values)
    assert caught.value.message == words and "data.bad_rows=skip" in caught.value.hint


@pytest.mark.parametrize(
    ("values", "data", "words"),
    [
        ({"english": "x", "german": "y"}, {}, "expected columns of text and answer, such as source and target; the columns are: english, german."),
        ({"english": "x", "target": "y"}, {"text": "englisch"}, "there is no column 'englisch' for the text. Did you mean 'english'?"),
        ({"source": "x", "german": "y"}, {"label": "germn"}, "there is no column 'germn' for the answer. Did you mean 'german'?"),
    ],
)
def test_columns_that_are_not_there_are_named(values: dict[str, Any], data: dict[str, Any], words: str) -> None:
    with pytest.raises(MissingColumn) as caught:
        read(values, data=data)
    assert words in caught.value.message and "data.text" in caught.value.hint
    with pytest.raises(BadValue, match="expected one column"):
        read({"a": "x", "b": "y"}, data={"text": ["a", "b"]})


@pytest.mark.parametrize("task", [{"prompt": "Translate."}, {"prompt": "{text} {text}"}, {"num_beams": 4, "temperature": 0.5}, {"bleu_tokenize": "moses"}])
def test_settings_that_cannot_be_are_refused(task: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Recipe.load({"model": "x", "data": {"name": "json", "train": "a"}, "task": {"name": "translation", **task}})


def test_an_answer_ends_where_the_recipe_says(tokens: Tokenizer) -> None:
    asked = {"model": "x", "data": {"name": "json", "train": "a"}}
    for name in ("translation", "chat"):
        task = Recipe.load({**asked, "task": {"name": name, "stop": ["\n", "。"]}}).task.settled(tokens)
        assert task.generation is not None and task.generation.stop == ("\n", "。")
        opens = {"auto_class": "AutoModelForCausalLM", "takes": task.takes, "folder": "model"}
        for wrong in ([""], "x"):
            with pytest.raises(RecipeError, match="task.stop"):
                Recipe.load({**asked, "task": {"name": name, "stop": wrong}})
        assert 'stop_strings=["\\n", "。"], tokenizer=tokenizer' in "\n".join(snippet(opens, task.settings()))


# ------------------------------------------------------------ models that continue text


def test_the_instruction_names_the_languages_that_are_known(tokens: Tokenizer) -> None:
    for settings, words in (
        ({}, "Translate: {text}"),
        ({"target_language": "German"}, "Translate to German: {text}"),
        ({"source_language": "English", "target_language": "German"}, "Translate from English to German: {text}"),
        ({"prompt": "{text}\nAuf Deutsch:"}, "{text}\nAuf Deutsch:"),
    ):
        assert Translation(**settings).settled(tokens).prompt == words


def test_the_translation_and_its_end_are_learnt_and_nothing_else(settled: Callable[..., Translation], tokens: Tokenizer) -> None:
    (feature,) = settled().encode([row()], tokens)
    learnt = tokens.decode([token for token in feature.target if token != IGNORED], special=True)
    assert learnt == "der Himmel ist blau<|im_end|>" and feature.cut == feature.second == 0
    assert "user\nTranslate from English to German: the sky is blue" in tokens.decode(feature.input_ids)
    (prompt,) = settled().prompts([row()], tokens)
    assert prompt == list(feature.input_ids[: len(prompt)]) and settled().trained_tokens(feature)[len(prompt)]
    assert not any(settled().trained_tokens(feature)[: len(prompt)])
    assert settled().encode([row(target=None)], tokens) == []


def test_of_several_references_the_first_is_learnt(settled: Callable[..., Translation], tokens: Tokenizer) -> None:
    assert settled().encode([row(target=("eins", "zwei"))], tokens) == settled().encode([row(target="eins")], tokens)


def test_of_a_row_that_is_too_long_the_text_alone_is_cut(settled: Callable[..., Translation], tokens: Tokenizer) -> None:
    text = " ".join(f"word{n}" for n in range(60))
    task = settled(prompt="Say {text} in German, please", max_length=80)
    (feature,) = task.encode([row(text)], tokens)
    whole = dialogue.encode([task._asked(text), tiny_turn("der Himmel ist blau")], tokens)
    assert len(feature) <= 80 < len(whole) and feature.cut > 0
    said = tokens.decode(feature.input_ids)
    assert "Say word0 word1" in said and "in German, please" in said and said.rstrip().endswith("der Himmel ist blau")
    assert abs(len(feature) + feature.cut - len(whole)) <= 3, "what was cut is counted, but for tokens that join anew"
    (prompt,) = task.prompts([row(text, None)], tokens)
    assert len(prompt) <= 80 and "in German, please" in tokens.decode(prompt)


def tiny_turn(text: str) -> Any:
    from weitiao.core.rows import Turn

    return Turn("assistant", text)


def test_a_row_whose_answer_leaves_no_room_for_a_text_is_left_out(settled: Callable[..., Translation], tokens: Tokenizer) -> None:
    assert settled(max_length=40).encode([row("blue " * 30, "blau " * 60)], tokens) == []


def test_a_text_of_characters_of_several_bytes_is_cut_between_them(settled: Callable[..., Translation], tokens: Tokenizer) -> None:
    for most in range(70, 76):
        (feature,) = settled(max_length=most).encode([row("天气很好" * 20)], tokens)
        assert "\ufffd" not in tokens.decode(feature.input_ids) and len(feature) <= most


# ------------------------------------------------------------ encoder-decoders


def test_an_encoder_reads_the_text_alone_and_the_decoder_says_the_answer_and_its_end(apart: Tokenizer) -> None:
    task = Translation().settled(apart)
    assert task.prompt == "{text}" and task.template == "auto"
    few, many = task.encode([row(), row("a dog and a cat", "ein Hund")], apart)
    assert apart.decode(few.input_ids[: few.second]) == "the sky is blue" and few.target[: few.second] == [IGNORED] * few.second
    answer = list(few.target[few.second :])
    assert apart.decode(answer, special=True) == "der Himmel ist blau<eos>" and list(few.input_ids[few.second :]) == answer
    assert task.trained_tokens(few) == [False] * few.second + [True] * len(answer)
    batch = task.collate([few, many], apart.layout())
    assert batch.inputs["input_ids"].tolist()[0][: few.second] == list(few.input_ids[: few.second])
    assert batch.inputs["attention_mask"].sum(1).tolist() == [few.second, many.second]
    assert batch.inputs["decoder_input_ids"].tolist()[0][: len(answer)] == [0, *answer[:-1]]
    assert batch.targets is not None and batch.targets.tolist()[0][: len(answer)] == answer
    assert int((batch.targets != IGNORED).sum()) == len(answer) + len(many) - many.second
    assert batch.tokens == len(few) + len(many)


def test_of_a_text_that_is_too_long_for_an_encoder_the_end_is_cut_and_its_prompt_is_not(apart: Tokenizer) -> None:
    task = Translation(prompt="translate: {text} </end>", max_length=32).settled(apart)
    (feature,) = task.encode([row(" ".join(f"w{n}" for n in range(40)), "x")], apart)
    said = apart.decode(feature.input_ids[: feature.second])
    assert said.startswith("translate: w0 w1") and said.endswith("</end>") and feature.second <= 32 and feature.cut > 0
    assert task.prompts([row(" ".join(f"w{n}" for n in range(40)), None)], apart) == [list(feature.input_ids[: feature.second])]
    assert task.encode([row("x", "y " * 40)], apart) == [], "an answer is never cut"


# ------------------------------------------------------------ scores


@pytest.mark.parametrize(
    ("targets", "tokenize"),
    [
        (["Ein Hund."] * 3, "13a"),
        (["今天天气很好。", "GPU 很快"], "zh"),
        (["今日はとても良い天気です。"], "char"),
        (["วันนี้อากาศดี"], "char"),
        ([("Ein Hund.", "天气")], "13a"),
        (["3.5", "!"], "13a"),
    ],
)
def test_what_bleu_counts_as_a_word_follows_from_the_training_translations(targets: list[Any], tokenize: str) -> None:
    fitted = Translation().fitted([row(target=target) for target in targets])
    assert fitted.bleu_tokenize == tokenize
    assert {metric.name: metric for metric in fitted.metrics()}["bleu"].tokenize == tokenize  # type: ignore[attr-defined]
    assert Translation(bleu_tokenize="char").fitted([row()]).bleu_tokenize == "char"


def test_the_trivial_translation_is_the_text_itself_and_loss_chooses_the_weights() -> None:
    task = Translation()
    assert task.trivial([row()], [row("a"), row("b")]) == ["a", "b"] and task.trivial_is == "copy"
    names = [metric.name for metric in task.metrics()]
    assert names == ["loss", "perplexity", "bleu", "chrf", "length_ratio", "stop_rate", "distinct_2"]
    assert [metric.name for metric in task.metrics() if not metric.needs_answer] == ["loss", "perplexity"]
    assert task.closeness(Prediction("r", "x", measures={"nll": 4.0, "tokens": 2.0}), row()) == -2
