"""A conversation with a tuned model: as a script types it, and in a real terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import weitiao
from weitiao.core.contracts import Answer
from weitiao.core.rows import Turn


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[list[Turn]]:
    """Let an echo answer instead of the model; return what it is told, call by call."""
    from weitiao.evaluation import predictor

    told: list[list[Turn]] = []

    class Echo:
        def __init__(self, artifact: Any, *, device: str) -> None:
            self.artifact, self.task = artifact, artifact.task

        def converse(self, turns: list[Turn], *, on_text: Callable[[str], None]) -> Answer:
            told.append(list(turns))
            said = turns[-1].content.upper()
            if said == "NOTHING":
                return Answer("", 0, True)
            for piece in ("\n ", said[:3], said[3:], "\n\n"):
                on_text(piece)
            return Answer(said, 4, len(said) < 20)

    monkeypatch.setattr(predictor, "Predictor", Echo)
    return told


def test_a_script_gets_the_answers_and_nothing_else(cli: Callable[..., Any], tiny_chat_artifact: Path, heard: list[list[Turn]]) -> None:
    answer = cli("predict", tiny_chat_artifact, "--chat", stdin="hello\n\n   \nhow are you?\r\nand this is the last")
    assert (answer.code, answer.out) == (0, "HELLO\nHOW ARE YOU?\nAND THIS IS THE LAST\n")
    assert answer.err == ""
    assert [turn.content for turn in heard[-1]] == ["hello", "HELLO", "how are you?", "HOW ARE YOU?", "and this is the last"]
    assert [turn.role for turn in heard[-1]] == ["user", "assistant"] * 2 + ["user"]


@pytest.mark.parametrize("person", [True, False])
def test_who_types_rows_gets_each_answer_before_the_next_row(
    cli: Callable[..., Any], tiny_chat_artifact: Path, monkeypatch: pytest.MonkeyPatch, person: bool
) -> None:
    printed: list[str] = []
    before_each: list[int] = []

    class Typed:
        buffer: Iterator[bytes]

        def isatty(self) -> bool:
            return person

    def lines() -> Iterator[bytes]:
        for line in (b"name of moon?\n", b"colour of sky?\n", b"number of dogs?\n"):
            before_each.append(len(printed))
            yield line

    typed = Typed()
    typed.buffer = lines()
    monkeypatch.setattr(sys, "stdin", typed)
    monkeypatch.setattr("weitiao.cli.predict._print", lambda found, stream, as_json: printed.extend(json.dumps(line) for line in found))
    assert cli("predict", tiny_chat_artifact, "-").code == 0
    assert before_each == ([0, 1, 2] if person else [0, 0, 0]) and len(printed) == 3


def test_commands_change_what_the_model_is_told(cli: Callable[..., Any], tiny_chat_artifact: Path, heard: list[list[Turn]]) -> None:
    lines = ["one", "/reset", "two", "/system Be  brief.", "three", "/system", "/system off", "/reset", "four", "/quit", "five"]
    answer = cli("predict", tiny_chat_artifact.parent, "--chat", "--system", "Be kind.", stdin="\n".join(lines))
    assert answer.out == "ONE\nTWO\nTHREE\nFOUR\n"
    told = [[f"{turn.role}: {turn.content}" for turn in turns] for turns in heard]
    assert told == [
        ["system: Be kind.", "user: one"],
        ["system: Be kind.", "user: two"],
        ["system: Be  brief.", "user: two", "assistant: TWO", "user: three"],
        ["user: four"],
    ]
    assert answer.err.count("system prompt: Be  brief.") == 2


def test_help_lists_the_commands_and_an_unknown_one_is_told(cli: Callable[..., Any], tiny_chat_artifact: Path, heard: list[list[Turn]]) -> None:
    answer = cli("predict", tiny_chat_artifact, "--chat", stdin="/help\n/rest\n /reset is a word\n/etc/hosts is a file\n")
    for word in ("/reset", "/system TEXT", "/quit", "Ctrl-D", "Ctrl-C"):
        assert word in answer.err
    assert "there is no command /rest" in answer.err
    assert answer.out == "/RESET IS A WORD\n/ETC/HOSTS IS A FILE\n", "only a command on its own is one"


def test_a_backslash_at_the_end_goes_on_in_the_next_line(cli: Callable[..., Any], tiny_chat_artifact: Path, heard: list[list[Turn]]) -> None:
    assert cli("predict", tiny_chat_artifact, "--chat", stdin="one\\\ntwo\\\nthree\nfour\\\n").out == "ONE\nTWO\nTHREE\nFOUR\n"
    assert [turns[-1].content for turns in heard] == ["one\ntwo\nthree", "four"]


def test_an_empty_answer_is_forgotten_together_with_its_question(cli: Callable[..., Any], tiny_chat_artifact: Path, heard: list[list[Turn]]) -> None:
    assert cli("predict", tiny_chat_artifact, "--chat", stdin="nothing\nyes\n").out == "\nYES\n"
    assert [turn.content for turn in heard[-1]] == ["yes"]


def test_what_a_terminal_would_obey_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from weitiao.cli.chat import _Voice

    voice = _Voice()
    for piece in (" ", "\x1b[2J", "line\n\tnext\x07", "\r", "字 "):
        voice(piece)
    assert capsys.readouterr().out == "\ufffd[2Jline\n\tnext\ufffd\ufffd字"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["file.csv", "--chat"], "FILE has no meaning with --chat"),
        (["--chat", "--json"], "--json has no meaning with --chat"),
        (["--chat", "--out", "x"], "--out has no meaning with --chat"),
        (["--system", "Be kind."], "--system has no meaning without --chat"),
        (["file.csv", "--temperature", "0"], "--temperature has no meaning without --chat"),
    ],
)
def test_options_that_do_not_go_together_are_refused(cli: Callable[..., Any], tiny_chat_artifact: Path, arguments: list[str], words: str) -> None:
    answer = cli("predict", tiny_chat_artifact, *arguments, stdin="")
    assert answer.code == 2 and words in answer.err and "hint: " in answer.err


def test_an_artifact_that_generates_nothing_is_refused_before_its_weights_are_read(
    cli: Callable[..., Any], recipe_dict: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weitiao.evaluation import predictor

    recipe_dict["train"] |= {"steps": 1}
    weitiao.train(recipe_dict, out=tmp_path / "run")
    monkeypatch.setattr(predictor.Predictor, "__init__", lambda *_, **__: pytest.fail("the weights are read"))
    answer = cli("predict", tmp_path / "run", "--chat", stdin="hello\n")
    assert answer.code == 2 and answer.out == ""
    assert "was made for text_classification, which generates no answers" in answer.err and "task.name=chat" in answer.err


def test_input_that_is_not_utf8_is_named(cli: Callable[..., Any], tiny_chat_artifact: Path, heard: list[list[Turn]]) -> None:
    answer = cli("predict", tiny_chat_artifact, "--chat", stdin=b"hello\n\xff\xfe\n")
    assert answer.code == 3 and answer.out == "HELLO\n" and "byte 0xff is not utf-8" in answer.err


# ---------------------------------------------------------------- with the model


def test_the_model_answers_and_a_setting_of_the_conversation_holds(cli: Callable[..., Any], tiny_chat_artifact: Path) -> None:
    asked = "capital of france 1?"
    first = cli("predict", tiny_chat_artifact, "--chat", stdin=f"{asked}\n/reset\n{asked}\n")
    one, two = first.out.rstrip("\n").split("\n")
    assert first.code == 0 and one == two != "", "the most probable answer is always the same"
    short = cli("predict", tiny_chat_artifact, "--chat", "--max-new-tokens", 1, stdin=f"{asked}\n").out.rstrip("\n")
    assert len(short) < len(one) and one.startswith(short.rstrip("\ufffd"))
    drawn = [cli("predict", tiny_chat_artifact, "--chat", "--temperature", 3, stdin=f"{asked}\n").out for _ in range(2)]
    assert drawn[0] != first.out and drawn[0] == drawn[1], "a script gets the same answer each time, a drawn one too"


def test_the_pieces_of_an_answer_are_the_answer(tiny_chat_artifact: Path) -> None:
    predictor = weitiao.load(tiny_chat_artifact)
    pieces: list[str] = []
    answer = predictor.converse([Turn("user", "colour of sky 3?")], on_text=pieces.append)
    assert "".join(pieces).strip() == answer.text and len(pieces) > 1
    record = {"messages": [{"role": "user", "content": "colour of sky 3?"}]}
    assert predictor.predict([record])[0].value == answer.text, "one word at a time, or many rows at a time"


def test_a_conversation_past_the_context_drops_its_oldest_exchanges(tiny_chat_artifact: Path) -> None:
    predictor = weitiao.load(tiny_chat_artifact)
    exchange = [Turn("user", "number of dogs 7?"), Turn("assistant", "seven seven")]
    said = [predictor.converse([*exchange * times, Turn("user", "name of sea 1?")], on_text=lambda piece: None) for times in (60, 61)]
    assert said[0] == said[1], "both hear the same last exchanges"


def test_rows_with_reference_answers_are_answered_and_nothing_empty_is_printed(cli: Callable[..., Any], tiny_chat_artifact: Path) -> None:
    run = tiny_chat_artifact.parent
    answer = cli("predict", run, run.parent / "chat.json")
    assert answer.code == 0, answer.err
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert len(lines) == 41
    assert all(set(line) == {"id", "prediction", "measures"} and set(line["measures"]) == {"answer_tokens", "stopped"} for line in lines)
    measured = {line["id"]: line["prediction"] for line in map(json.loads, (run / "predictions" / "after.jsonl").read_text().splitlines())}
    generated = {id: said for id, said in measured.items() if said is not None}
    assert len(generated) == 3 and generated.items() <= {line["id"]: line["prediction"] for line in lines}.items()


# ---------------------------------------------------------------- in a terminal

SLOW = """
import time
from weitiao.models import tokens
whole = tokens.Tokenizer.decode
def slowly(self, ids, **options):
    time.sleep(0.03)
    return whole(self, ids, **options)
tokens.Tokenizer.decode = slowly
tokens.Tokenizer.ends = property(lambda self: frozenset())
from weitiao.cli.app import main
main()
"""
"""The command line with a model that takes its time and never ends by itself."""


class Terminal:
    """A process in a terminal of its own."""

    def __init__(self, *arguments: object) -> None:
        self.shown = ""
        self.pid, self.file = pty.fork()
        if self.pid == 0:  # the child
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets what it starts with & ignore Ctrl-C
            os.environ |= {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
            os.execv(sys.executable, [sys.executable, "-c", SLOW, *map(str, arguments)])

    def until(self, pattern: str, seconds: float = 200) -> str:
        """Read until a pattern stands in what is new, and return that."""
        new, end = "", time.monotonic() + seconds
        while not re.search(pattern, new):
            assert time.monotonic() < end, f"{pattern!r} does not come; shown so far:\n{self.shown}"
            if select.select([self.file], [], [], 0.1)[0]:
                try:
                    piece = os.read(self.file, 65536).decode("utf-8", "replace")
                except OSError:  # the other side is gone
                    piece = ""
                assert piece, f"it ended before {pattern!r}:\n{self.shown}"
                new, self.shown = new + piece, self.shown + piece
        return new

    def waiting(self) -> bool:
        """Tell whether there is something new to read."""
        return bool(select.select([self.file], [], [], 0)[0])

    def type(self, keys: str) -> None:
        os.write(self.file, keys.encode())

    def ended(self, seconds: float = 60) -> int:
        """Return the exit code."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.file], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):  # the other side is gone
                    os.read(self.file, 65536)
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("it does not end")

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.file)


@pytest.fixture
def terminal(tiny_chat_artifact: Path) -> Iterator[Terminal]:
    opened = Terminal("predict", tiny_chat_artifact, "--chat", "--max-new-tokens", 200)
    yield opened
    opened.close()


PROMPT = r"> \x1b\[0m|(\n|\x1b\[\?2004h)> "


def test_in_a_terminal_ctrl_c_stops_the_answer_and_keeps_the_conversation(terminal: Terminal) -> None:
    greeting = terminal.until(PROMPT)
    assert "tuned by full" in greeting and "Ctrl-D or /quit leaves" in greeting and "Traceback" not in greeting
    terminal.type("colour of sky 3?\r")
    terminal.until(r"sky 3\?[^\n]*\n[^\n]*\S")
    time.sleep(0.5)
    terminal.type("\x03")
    terminal.type("\x03")
    assert "(stopped" in terminal.until(PROMPT), "an answer of 200 tokens would be said to be cut off"
    for _ in range(20):  # a signal between the prompt and the waiting for keys is seen by Python at the next key only
        terminal.type("\x03")
        time.sleep(0.2)
        if terminal.waiting():
            break
    assert "Ctrl-D or /quit leaves" in terminal.until(PROMPT), "at the prompt Ctrl-C does not leave"
    terminal.type("\x1b[A")
    assert "colour of sky 3?" in terminal.until(r"sky 3\?"), "the arrow up brings the last message back"
    terminal.type("\x15/reset\r")
    assert "forgotten" in terminal.until(PROMPT)
    terminal.type("\x04")
    assert terminal.ended() == 0
