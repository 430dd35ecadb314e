"""`weitiao show rows`: the rows of a recipe as the model sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_language


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.build(tmp_path_factory.mktemp("rows") / "llama", "llama")


@pytest.fixture
def recipe(llama: Path, tmp_path: Path, write_recipe: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function (task, rows, file name) -> recipe file."""

    def write(task: dict[str, Any], rows: list[dict[str, Any]], **sections: Any) -> Path:
        (tmp_path / "rows.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        data = {"name": "json", "train": str(tmp_path / "rows.json"), "dev": str(tmp_path / "rows.json"), **sections.pop("data", {})}
        return write_recipe({"model": str(llama), "data": data, "task": task, "method": "full", **sections})

    return write


CHAT = {"name": "chat", "max_length": 64}


def said(question: str, answer: str) -> dict[str, Any]:
    return {"instruction": question, "output": answer}


def test_learnt_tokens_stand_between_marks_where_there_is_no_colour(cli: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    answer = cli("show", "rows", recipe(CHAT, [said("capital of france?", "paris\nparis"), said("colour of sky?", "blue")]))
    assert answer.code == 0, answer.err
    assert "<|im_start|>user↵\ncapital of france?<|im_end|>↵\n<|im_start|>assistant↵\n⟦paris↵\nparis<|im_end|>⟧↵\n\n" in answer.out
    assert "rows.json:1  " in answer.out and " learnt  " in answer.out
    assert "What stands ⟦like this⟧ is learnt." in answer.out and "\x1b" not in answer.out
    assert "the first 2 of 2 rows of train" in answer.out


def test_colour_takes_the_place_of_marks_in_a_terminal(recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    from weitiao.cli import rows

    screen = io.StringIO()
    monkeypatch.setattr(rows, "stdout", Console(file=screen, force_terminal=True, color_system="standard", soft_wrap=True, highlight=False, _environ={}))
    rows.rows(str(recipe(CHAT, [said("colour of sky?", "blue \x1b[2J sea"), said("x?", "y")])), 1, False)
    shown = screen.getvalue()
    assert "⟦" not in shown.split("rows.json:1")[1]
    assert "\x1b[1;32mblue ␛[2J sea\x1b[0m\x1b[1;35m<|im_end|>\x1b[0m" in shown, "learnt is green, special tokens are of another colour, and nothing is obeyed"


def test_the_json_holds_every_token_and_its_text_is_that_of_the_row(cli: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    answer = "微调很有趣 🦊, naïve."
    entries = cli("show", "rows", recipe({**CHAT, "max_length": 200}, [said("天空是什么颜色?", answer), said("x?", "y")]), "--limit", 1, "--json").json()
    assert len(entries) == 1
    (entry,) = entries
    assert set(entry) == {"id", "place", "window", "windows", "tokens", "cut", "target"} and entry["target"] == answer
    assert entry["place"].endswith("rows.json:1")
    text = "".join(token["text"] for token in entry["tokens"])
    assert text == f"<|im_start|>user\n天空是什么颜色?<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
    assert "".join(token["text"] for token in entry["tokens"] if token["trained"]) == f"{answer}<|im_end|>"
    assert any(token["text"] == "" for token in entry["tokens"]), "a character of several tokens stands at the last of them"
    assert all(isinstance(token["id"], int) and isinstance(token["trained"], bool) for token in entry["tokens"])


@pytest.mark.parametrize("words", [1, 31, 32, 33, 200])
def test_the_pieces_of_any_length_are_the_whole_text(llama: Path, tiny_bert: Path, words: int) -> None:
    from weitiao.cli.rows import _pieces
    from weitiao.models.locate import Located
    from weitiao.models.tokens import Tokenizer

    text = " ".join(["the film 好看 was", "🦊"][n % 2] for n in range(words))
    for folder in map(str, (llama, tiny_bert)):
        tokenizer = Tokenizer(Located(folder, folder, True, folder), None)
        (ids,) = tokenizer.plain([text])
        assert "".join(_pieces(ids, tokenizer)) == tokenizer.decode(ids, special=True)


def test_rows_that_are_left_out_or_read_in_windows_are_told_with_the_reason(cli: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    rows = [said("capital of france?", "paris " * 60), said("colour of sky?", "blue"), said("name of sea?", "deep")]
    path = recipe(CHAT, rows)
    shown = cli("show", "rows", path).out
    assert "rows.json:1  left out: too long (" in shown and "task.max_length is 64)" in shown
    assert "train: 1 row is left out, such as " in shown
    entries = cli("show", "rows", path, "--json").json()
    assert entries[0]["tokens"] == [] and entries[0]["left_out"].startswith("too long (") and "left_out" not in entries[1]

    turns = [turn for n in range(8) for turn in ({"role": "user", "content": f"number of dogs {n}?"}, {"role": "assistant", "content": "seven"})]
    path = recipe(CHAT, [{"messages": turns}, said("a b?", "c")])
    shown = cli("show", "rows", path).out
    assert "window 1 of " in shown and "train: 1 row is longer than one window: " in shown
    entries = cli("show", "rows", path, "--json").json()
    assert [entry["window"] for entry in entries[:-1]] == list(range(1, entries[0]["windows"] + 1)) and entries[0]["windows"] > 1


def test_plain_text_is_learnt_but_for_its_first_token_and_what_is_seen_twice(cli: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    rows = [{"text": text} for text in tiny_language.texts(6)]
    entries = cli("show", "rows", recipe({"name": "language_modeling", "max_length": 32}, rows), "--json").json()
    assert all(not entry["tokens"][0]["trained"] and all(token["trained"] for token in entry["tokens"][1:]) for entry in entries)
    assert {entry["target"] for entry in entries} == {None}


def test_hidden_words_are_said_to_be_those_that_may_be_hidden(
    cli: Callable[..., Any], recipe: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    masked = tiny_language.build(tmp_path_factory.mktemp("masked") / "bert", "bert")
    path = recipe({"name": "language_modeling", "masked": True, "max_length": 32}, [{"text": text} for text in tiny_language.texts(6)], model=str(masked))
    shown = cli("show", "rows", path, "--limit", 1).out
    assert "may be hidden, and is then learnt" in shown and "<bos>⟦" in shown and "⟧<eos>" in shown


def test_a_label_stands_beside_the_tokens(cli: Callable[..., Any], recipe_dict: dict[str, Any], write_recipe: Callable[..., Path]) -> None:
    path = write_recipe(recipe_dict)
    shown = cli("show", "rows", path, "--limit", 2).out
    assert "[CLS] " in shown and "⟦" not in shown and 'target "neg"' in shown
    assert re.search(r"^train +162 +162 +[\d,]+ +–$", shown, re.MULTILINE)
    entries = cli("show", "rows", path, "--limit", 2, "--json").json()
    assert [entry["target"] in ("neg", "pos") for entry in entries] == [True, True]
    assert not any(token["trained"] for entry in entries for token in entry["tokens"])


def test_what_cannot_be_shown_is_one_sentence(cli: Callable[..., Any], recipe: Callable[..., Path]) -> None:
    path = recipe({**CHAT, "too_long": "error"}, [said("capital of france?", "paris " * 60), said("x?", "y")])
    for arguments, code, words in (
        (("rows",), 2, "of which recipe?"),
        (("rows", "nowhere.yaml"), 3, "nowhere.yaml"),
        (("rows", path), 3, "task.max_length is 64"),
        (("tasks", "--limit", "3"), 2, "--limit has a meaning for rows alone"),
    ):
        answer = cli("show", *arguments)
        assert answer.code == code and words in answer.err and answer.err.startswith("error: ") and "hint: " in answer.err and answer.out == ""
