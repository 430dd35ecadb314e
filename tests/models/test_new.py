"""Models from a configuration: their tokenizers, their weights, and that they train into something plain transformers opens."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_language
import weitiao
from tiny import DEVICE
from weitiao.core.contracts import Head
from weitiao.core.recipe import NewModel
from weitiao.models import new
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer

CAUSAL = Head("AutoModelForCausalLM", {})
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
TEXTS = ["ROMEO:\nBut, soft! what light\nthrough yonder window breaks?\n", "JULIET:\r\n  Ay me!\t<unk> 夜 naïve 🙂\n"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Located, Tokenizer]]:
    """Return a function from settings to the new model and its tokenizer; the cache is empty at first."""
    home = tmp_path_factory.mktemp("cache")

    def make(*, seed: int = 1, texts: list[str] | None = None, **asked: Any) -> tuple[Located, Tokenizer]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_HOME", str(home))
            located = new.make(NewModel(**{"configuration": SIZES, **asked}), texts or TEXTS, CAUSAL, seed=seed)
        return located, Tokenizer(located, 64)

    return make


# ------------------------------------------------------------ tokenizers


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_byte_pairs_bring_back_any_text(made: Callable[..., Any], text: str) -> None:
    _, tokens = made(tokenizer="bpe", vocabulary=300)
    (ids,) = tokens.plain([text])
    assert tokens.decode(ids, special=True) == text
    assert not set(ids) & tokens.special_ids, "what looks like a special token in a text is letters"


@pytest.mark.parametrize("text", ["<eos>", " leading", "trailing \n\n", "\ttab  two", "a<mask>b", "\r\n", "🙂夜"])
def test_byte_pairs_keep_spaces_line_ends_and_the_names_of_special_tokens(made: Callable[..., Any], text: str) -> None:
    _, tokens = made(tokenizer="bpe", vocabulary=300)
    assert tokens.decode(tokens.plain([text])[0], special=True) == text


def test_characters_are_one_token_each_and_strange_ones_are_unknown(made: Callable[..., Any]) -> None:
    _, tokens = made(tokenizer="characters")
    for text in TEXTS:
        (ids,) = tokens.plain([text])
        assert len(ids) == len(text) and tokens.decode(ids, special=True) == text
    (ids,) = tokens.plain(["RZ\n"])
    assert [tokens.decode([token], special=True) for token in ids] == ["R", "<unk>", "\n"]


def test_words_stand_between_spaces_and_a_line_end_is_a_word(made: Callable[..., Any]) -> None:
    _, tokens = made(tokenizer="words", texts=["the cat sat\n on the <unk> mat \r\n\nthe end\n"])
    (ids,) = tokens.plain(["the dog sat\non <unk> mat\r\n"])
    assert tokens.decode(ids, special=True).split() == ["the", "<unk>", "sat", "<eos>", "on", "<unk>", "mat", "<eos>"]


def test_the_most_frequent_words_are_kept_and_every_id_is_one_token(made: Callable[..., Any]) -> None:
    _, tokens = made(tokenizer="words", vocabulary=8, texts=["a b c d a b c a b a"])
    assert tokens.vocabulary == 8
    assert [tokens.decode([n], special=True) for n in range(8)] == ["<pad>", "<unk>", "<bos>", "<eos>", "<mask>", "a", "b", "c"]


@pytest.mark.parametrize("kind", ["bpe", "characters", "words"])
def test_a_text_begins_with_a_begin_token_and_padding_has_its_own(made: Callable[..., Any], kind: str) -> None:
    _, tokens = made(tokenizer=kind)
    assert (tokens.pad_id, tokens.begin_id, tokens.end_id, tokens.mask_id) == (0, 2, 3, 4)
    assert tokens.encode(["ROMEO:"], 64)[0][0][0] == 2


# ------------------------------------------------------------ weights


def weights(located: Located) -> dict[str, torch.Tensor]:
    return dict(transformers.AutoModelForCausalLM.from_pretrained(located.place).state_dict())


def test_equal_settings_texts_and_seeds_give_the_same_folder_which_is_made_once(made: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = made(seed=5)
    with monkeypatch.context() as patch:
        patch.setattr(new, "_tokenizer", lambda *_: pytest.fail("made again"))
        again, _ = made(seed=5)
    assert again == first
    others = [made(seed=6)[0], made(seed=5, vocabulary=300)[0], made(seed=5, texts=["other words"])[0]]
    assert len({first.place, *(other.place for other in others)}) == 4


def test_the_seed_draws_the_weights_whatever_was_drawn_before(made: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = weights(made(seed=5)[0])
    torch.manual_seed(99)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    elsewhere = weights(new.make(NewModel(configuration=SIZES), TEXTS, CAUSAL, seed=5))
    assert first.keys() == elsewhere.keys() and all(torch.equal(first[name], elsewhere[name]) for name in first)
    other = weights(made(seed=6)[0])
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "qwen3", "gemma3_text", "opt", "mistral"])
def test_sizes_are_those_asked_for_under_either_name(made: Callable[..., Any], architecture: str) -> None:
    located, tokens = made(architecture=architecture)
    config = transformers.AutoConfig.from_pretrained(located.place)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (32, 2, 4)
    assert config.vocab_size == tokens.vocabulary and (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 2, 3)
    if architecture == "gpt2":
        theirs, _ = made(architecture="gpt2", configuration={"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64})
        assert transformers.AutoConfig.from_pretrained(theirs.place).to_diff_dict() == config.to_diff_dict()


# ------------------------------------------------------------ training


@pytest.mark.parametrize(("architecture", "tokenizer"), [("gpt2", "bpe"), ("llama", "characters"), ("llama", "words")])
def test_a_new_model_learns_and_opens_in_plain_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, tokenizer: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    Path("a.txt").write_text("\n".join(tiny_language.texts(300)))
    report = weitiao.train(
        model={"architecture": architecture, "tokenizer": tokenizer, "vocabulary": 300, "configuration": SIZES},
        data={"name": "text", "train": "a.txt", "rows": "line"},
        task={"name": "language_modeling", "max_length": 64},
        method="full",
        train={"steps": 40, "batch_size": 16, "learning_rate": 5e-3, "device": str(DEVICE), "dtype": "fp32"},
    )
    perplexity = report["metrics"]["perplexity"]
    assert perplexity["after"]["value"] < 0.7 * perplexity["before"]["value"]
    artifact = Path(report["artifact"])
    model, tokens = transformers.AutoModelForCausalLM.from_pretrained(artifact / "model"), transformers.AutoTokenizer.from_pretrained(artifact / "tokenizer")
    ids = tokens("sky sea", return_tensors="pt")["input_ids"]
    assert ids[0, 0] == tokens.bos_token_id
    with torch.no_grad():
        assert float(model(ids, labels=ids).loss) < math.log(perplexity["before"]["value"])
