"""Plain text: windows that cover every token once, tokens hidden as BERT hides them, and perplexity as anyone would compute it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_language
import weitiao
from tiny import DEVICE
from weitiao.core.contracts import IGNORED, Features
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, MissingColumn, ModelError
from weitiao.inspect import rows
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer
from weitiao.sources.json import Json
from weitiao.tasks.language_modeling import LanguageModeling

TEXTS = st.lists(st.sampled_from(tiny_language.THINGS + tiny_language.ANSWERS), min_size=1, max_size=60).map(" ".join)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tokenizer]:
    """Return a function to a tokenizer that puts the given special tokens around a text."""
    built: dict[str, Tokenizer] = {}

    def make(around: str = "$A", **names: Any) -> Tokenizer:
        key = f"{around}{names}"
        if key not in built:
            folder = tmp_path_factory.mktemp("tokenizer")
            tokenizer = tiny_language.tokenizer(**names)
            special = [("<bos>", 1), ("<eos>", 2)]
            tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single=around, special_tokens=special)
            tokenizer.save_pretrained(folder)
            built[key] = Tokenizer(Located("tiny", str(folder), True, "tiny"), 256)
        return built[key]

    return make


def features(text: str, tokens: Tokenizer, **task: Any) -> list[Features]:
    return LanguageModeling(**task).encode([Row("r", text)], tokens)


# ------------------------------------------------------------ rows


def read(values: dict[str, Any], **data: Any) -> Row:
    return LanguageModeling().read(Record(values, "a.json", 7, "id"), Json(train="a.json", **data), labelled=True)


def test_text_is_kept_as_it_is_written() -> None:
    assert read({"text": "  a\n\n b \r\n"}).text == "  a\n\n b \r\n"
    assert read({"title": "A", "body": "b"}, text=["title", "body"]).text == "A\nb"


@pytest.mark.parametrize(("value", "words"), [(" \n", "text: the text is empty."), (3, "text: expected text, got 3."), (None, "text: expected text")])
def test_what_is_no_text_is_refused(value: Any, words: str) -> None:
    with pytest.raises(BadRow) as caught:
        read({"text": value})
    assert caught.value.message.startswith("a.json:7: ") and words in caught.value.message


def test_a_missing_column_names_the_one_meant_and_the_text_source() -> None:
    with pytest.raises(MissingColumn, match=r"there is no column 'text' for the text\. Did you mean 'texts'\?") as caught:
        read({"texts": "a"})
    assert "data.name=text" in caught.value.hint


# ------------------------------------------------------------ causal windows


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, most=st.integers(4, 40), overlap=st.integers(0, 20), begins=st.booleans(), ends=st.booleans())
def test_causal_windows_predict_every_token_once(opened: Callable[..., Tokenizer], text: str, most: int, overlap: int, begins: bool, ends: bool) -> None:
    tokens = opened("<bos> $A" if begins else "$A")
    whole = [*([1] if begins else []), *tokens.plain([text])[0], *([2] if ends else [])]
    overlap = min(overlap, most // 2)
    found = features(text, tokens, max_length=most, overlap=overlap, end_token=ends)
    if len(whole) < 2:
        assert found == []
        return
    predicted, at = [], 0
    for number, window in enumerate(found):
        assert 2 <= len(window) <= most and len(window.target) == len(window.input_ids)
        left = at - max(overlap, 1) if number else 0
        left = max(left, 0)
        assert list(window.input_ids) == whole[left : left + len(window)]
        asked = [n for n, target in enumerate(window.target) if target != IGNORED]
        assert all(window.target[n] == window.input_ids[n + 1] for n in asked)
        predicted += [left + n + 1 for n in asked]
        at = left + len(window)
    assert predicted == list(range(1, len(whole))), "every token but the first, once, in order"


@pytest.mark.parametrize("overlap", [0, 3])
def test_each_predicted_token_but_those_at_the_start_sees_the_overlap(opened: Callable[..., Tokenizer], overlap: int) -> None:
    found = features("sky " * 40, opened(), max_length=16, overlap=overlap)
    for window in found[1:]:
        assert list(window.target[: max(overlap, 1) - 1]) == [IGNORED] * (max(overlap, 1) - 1)
        assert window.target[max(overlap, 1) - 1] != IGNORED


def test_the_first_token_is_predicted_only_behind_a_begin_token(opened: Callable[..., Tokenizer]) -> None:
    ids = opened().plain(["france sky"])[0]
    (plain,) = features("france sky", opened(), end_token=False)
    (begun,) = features("france sky", opened("<bos> $A"), end_token=False)
    assert list(plain.target) == [*ids[1:], IGNORED]
    assert list(begun.input_ids) == [1, *ids] and list(begun.target) == [*ids, IGNORED]


def test_the_end_token_stands_once_behind_the_text_and_is_learnt(opened: Callable[..., Tokenizer]) -> None:
    for around in ("$A", "<bos> $A <eos>"):  # a tokenizer that ends texts itself does not end them twice
        found = features("sky " * 40, opened(around), max_length=16)
        assert [w.input_ids.count(2) for w in found] == [0] * (len(found) - 1) + [1]
        assert found[-1].target[-2:][0] == 2
    assert all(2 not in window.input_ids for window in features("sky " * 40, opened(), max_length=16, end_token=False))


def test_special_tokens_in_the_text_are_plain_letters(opened: Callable[..., Tokenizer]) -> None:
    (window,) = features("a <eos> b", opened(), end_token=False)
    assert 2 not in window.input_ids and opened().decode(window.input_ids) == "a <eos> b"


# ------------------------------------------------------------ masked


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, most=st.integers(8, 40), overlap=st.integers(0, 4))
def test_masked_windows_let_every_token_be_hidden_in_one_of_them(opened: Callable[..., Tokenizer], text: str, most: int, overlap: int) -> None:
    tokens = opened("<bos> $A <eos>")
    overlap = min(overlap, (most - 2) // 2)
    ids = tokens.plain([text])[0]
    found = features(text, tokens, masked=True, max_length=most, overlap=overlap)
    if len(ids) < 2:
        assert found == []
        return
    maskable = [target for window in found for target in window.target if target != IGNORED]
    assert maskable == ids
    for window in found:
        assert len(window) <= most and window.input_ids[0] == 1 and window.input_ids[-1] == 2
        assert window.target[0] == window.target[-1] == IGNORED
        assert all(target in (IGNORED, token) for target, token in zip(window.target, window.input_ids, strict=True))


def hidden(tokens: Tokenizer, items: list[Features], draw: int, **task: Any) -> tuple[np.ndarray, np.ndarray]:
    batch = LanguageModeling(masked=True, **task).collate(items, tokens.layout(draw=draw))
    return batch.inputs["input_ids"].numpy(), batch.targets.numpy()


def test_fifteen_percent_are_hidden_eight_in_ten_behind_the_mask(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("<bos> $A <eos>")
    items = features(" ".join(tiny_language.texts(600)), tokens, masked=True, max_length=202)
    ids, targets = hidden(tokens, items, 0)
    original = np.array([[*item.input_ids, *[0] * (ids.shape[1] - len(item))] for item in items])
    chosen = targets != IGNORED
    open_ = np.array([[*(t != IGNORED for t in item.target), *[False] * (ids.shape[1] - len(item))] for item in items])
    assert (targets[chosen] == original[chosen]).all() and (ids[~chosen] == original[~chosen]).all()
    assert not (chosen & ~open_).any(), "special tokens and padding are never hidden"
    assert chosen.sum() / open_.sum() == pytest.approx(0.15, abs=0.002)
    masked, kept = (ids[chosen] == tokens.mask_id).mean(), (ids[chosen] == original[chosen]).mean()
    assert masked == pytest.approx(0.8, abs=0.05) and kept == pytest.approx(0.1, abs=0.04)
    other = ids[chosen][(ids[chosen] != tokens.mask_id) & (ids[chosen] != original[chosen])]
    assert len(set(other.tolist())) > 20, "the rest stands behind tokens drawn from the whole vocabulary"


def test_the_same_draw_hides_the_same_tokens_and_another_epoch_others(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("<bos> $A <eos>")
    items = LanguageModeling(masked=True, max_length=64).encode([Row(f"r{n}", text) for n, text in enumerate(tiny_language.texts(20))], tokens)
    first, again, later = (hidden(tokens, items, draw) for draw in (1, 1, 2))
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all()
    assert (first[0] != later[0]).any()
    alone = hidden(tokens, items[3:4], 1)
    length = len(items[3])
    assert (alone[0][0, :length] == first[0][3, :length]).all(), "whoever else is in the batch"


def test_short_texts_have_at_least_one_hidden_token(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("<bos> $A <eos>")
    _, targets = hidden(tokens, features("sky sea", tokens, masked=True), 0)
    assert (targets != IGNORED).sum() >= 1


def test_a_model_without_mask_token_cannot_be_masked(opened: Callable[..., Tokenizer]) -> None:
    with pytest.raises(ModelError, match="has no mask token"):
        LanguageModeling(masked=True).settled(opened(mask_token=None))
    assert LanguageModeling().settled(opened(mask_token=None))


# ------------------------------------------------------------ measures


@pytest.mark.parametrize("overlap", [0, 8])
def test_perplexity_is_what_plain_transformers_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: int) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tiny_language.build(tmp_path / "gpt2", "gpt2")
    (tmp_path / "a.txt").write_text("\n".join(tiny_language.texts(60)))
    report = weitiao.train(
        model=str(folder),
        data={"name": "text", "train": "a.txt", "rows": "line"},
        task={"name": "language_modeling", "max_length": 32, "overlap": overlap},
        method="full",
        train={"steps": 2, "device": str(DEVICE), "dtype": "fp32"},
    )
    artifact = Path(report["artifact"])
    model = transformers.AutoModelForCausalLM.from_pretrained(artifact / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact / "tokenizer")
    proof = [row.text for row in rows.read(Recipe.load(Path(report["run"]) / "recipe.yaml")).proof]
    assert len(proof) == report["rows"]["proof"] > 2
    nll = tokens = size = 0.0
    for text in proof:
        ids = torch.tensor([*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id])
        size += len(text.encode()) - len(tokenizer.decode(ids[:1]).encode())  # nothing stands before the first token, so it is not predicted
        begin, done = 0, 1
        while done < len(ids):
            part = ids[begin : begin + 32]
            with torch.no_grad():
                logits = model(part[None]).logits[0]
            each = F.cross_entropy(logits[:-1], part[1:], reduction="none")[done - begin - 1 :]
            nll, tokens = nll + float(each.sum()), tokens + len(each)
            done = begin + len(part)
            begin = done - max(overlap, 1)
    after = {name: metric["after"]["value"] for name, metric in report["metrics"].items()}
    assert after["loss"] == pytest.approx(nll / tokens, rel=1e-5)
    assert after["perplexity"] == pytest.approx(math.exp(nll / tokens), rel=1e-4)
    assert after["perplexity_per_byte"] == pytest.approx(math.exp(nll / size), rel=1e-4)
