"""`weitiao predict ARTIFACT --chat`: a conversation in the terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from rich.markup import escape

from weitiao.cli.output import stdout
from weitiao.core.artifact import open_artifact
from weitiao.core.rows import Turn
from weitiao.errors import BadRow, BadValue, WeitiaoError

_COMMAND = re.compile(r"/[a-z]+")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey instead of showing."""
_HELP = (
    ("/reset", "begin anew: what was said is forgotten"),
    ("/system TEXT", "give the model a system prompt; `off` takes it away, nothing shows it"),
    ("/help", "this list"),
    ("/quit", "leave; so does Ctrl-D"),
    ("Ctrl-C", "stop an answer; what was said of it stays"),
    ("\\", "at the end of a line: the message goes on in the next"),
)


def chat(artifact: Path, device: str, system: str | None, temperature: float | None, max_new_tokens: int | None) -> int:
    """Talk with a tuned model until the person leaves or the input ends; return the exit code.

    Where stdin or stdout is not a terminal nothing but the answers is printed, each ended by a line end, and what the
    commands reply goes to stderr. Raises BadValue where the artifact's task generates nothing, or draws nothing.
    """
    from weitiao.evaluation.predictor import Predictor, no_answers

    opened = open_artifact(artifact)
    if opened.task.generation is None:
        raise no_answers(opened)
    changed = {name: value for name, value in (("temperature", temperature), ("max_new_tokens", max_new_tokens)) if value is not None}
    if temperature and opened.task.generation.num_beams > 1:
        raise BadValue(
            f"--temperature: {artifact} follows {opened.task.generation.num_beams} beams, and nothing is drawn among them.", hint="Leave --temperature out."
        )
    opened = dataclasses.replace(opened, task=opened.task.revised(**changed))
    person = sys.stdin.isatty() and sys.stdout.isatty()
    if person:
        stdout.print(f"loading {escape(opened.manifest['base']['model'])} ...", style="dim")
    predictor = Predictor(opened, device=device)
    if person and predictor.task.generation is not None and predictor.task.generation.temperature > 0:
        import torch

        torch.seed()  # a person who asks again wants another answer; a script the same
    told = system if system is not None else getattr(opened.task, "system", None)
    return _Conversation(predictor, told or None, person=person).go()


class _Conversation:
    """What was said so far, and the loop that goes on with it."""

    def __init__(self, predictor: Any, system: str | None, *, person: bool) -> None:
        self.predictor, self.system, self.person = predictor, system, person
        self.turns: list[Turn] = []

    def go(self) -> int:
        if self.person:
            self._greet()
        while True:
            try:
                text = self._read()
                if text is None:
                    return 0
                word, *rest = text.split(maxsplit=1) or [""]
                if text.startswith("/") and _COMMAND.fullmatch(word):
                    if word in ("/quit", "/exit"):
                        return 0
                    self._obey(word, rest[0].strip() if rest else "")
                elif text.strip():
                    with _interrupted_once():  # until all about the answer is said: a second press often comes a moment later
                        self._answer(text.strip())
            except KeyboardInterrupt:
                if not self.person:
                    raise
                self._reply("\n(Ctrl-D or /quit leaves)")

    # -------------------------------------------------------- what the person says

    def _greet(self) -> None:
        artifact = self.predictor.artifact
        made = f"[bold]{escape(artifact.manifest['base']['model'])}[/] tuned by {artifact.method.title}"
        stdout.print(f"{made} [dim]({escape(str(artifact.folder))})[/]")
        stdout.print("[dim]Ctrl-D or /quit leaves, Ctrl-C stops an answer, /help says more.[/]")
        if self.system:
            self._reply(f"system prompt: {self.system}")
        else:
            print()
        with contextlib.suppress(ImportError):
            import readline

            readline.parse_and_bind("set enable-bracketed-paste on")  # a pasted text of several lines is one message

    def _read(self) -> str | None:
        """Return the next message, lines that end with a backslash joined to those that follow; None where the input ends."""
        lines: list[str] = []
        while True:
            try:
                line = self._line("... " if lines else "> ")
            except EOFError:
                if self.person:
                    print()
                return "\n".join(lines) if lines else None
            if not line.endswith("\\"):
                return "\n".join([*lines, line])
            lines.append(line[:-1])

    def _line(self, prompt: str) -> str:
        if self.person:
            return input(_coloured(prompt)).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        raw = sys.stdin.buffer.readline()
        if not raw:
            raise EOFError
        try:
            return raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise BadRow(f"stdin: byte 0x{raw[error.start]:02x} is not utf-8 text.", hint="Convert the input: iconv -t utf-8.") from None

    def _obey(self, word: str, rest: str) -> None:
        match word:
            case "/help":
                self._reply("\n".join(f"{what:<14}{means}" for what, means in _HELP))
            case "/reset":
                self.turns.clear()
                self._reply("what was said is forgotten")
            case "/system" if rest:
                self.system = None if rest == "off" else rest
                self._reply(f"system prompt: {self.system or 'none'}")
            case "/system":
                self._reply(f"system prompt: {self.system or 'none'}")
            case _:
                self._reply(f"there is no command {word}: /help lists them; a blank before it sends it as a message")

    # -------------------------------------------------------- what the model says

    def _answer(self, text: str) -> None:
        asked = [*self.turns, Turn("user", text)]
        opening = [Turn("system", self.system)] if self.system else []
        voice, note = _Voice(), ""
        try:
            answer = self.predictor.converse([*opening, *asked], on_text=voice)
            said = answer.text
            if not answer.stopped:
                note = f"cut off after {answer.tokens} tokens: --max-new-tokens sets the limit"
        except KeyboardInterrupt:
            if not self.person:
                raise
            said, note = voice.said.strip(), "stopped"
        except WeitiaoError as error:
            if not self.person:
                raise
            self._reply(f"error: {error.message}\nhint: {error.hint}")
            return
        print(flush=True)
        if said:
            self.turns = [*asked, Turn("assistant", said)]
        else:
            note = f"{note or 'the model said nothing'}; the question is forgotten"
        if self.person and note:
            self._reply(f"({note})")
        elif self.person:
            print()

    def _reply(self, text: str) -> None:
        """Say something that is not of the model: dim for a person, on stderr for a script."""
        if self.person:
            stdout.print(f"{text}\n", style="dim", markup=False)
        else:
            print(text, file=sys.stderr)


class _Voice:
    """Writes an answer as it comes: blanks at its beginning and end, and what a terminal would obey, are left out."""

    def __init__(self) -> None:
        self.said = ""
        self._written = 0

    def __call__(self, piece: str) -> None:
        """Take the next piece."""
        self.said += piece
        whole = self.said.strip()
        if len(whole) > self._written:
            print(_CONTROL.sub("\ufffd", whole[self._written :]), end="", flush=True)
            self._written = len(whole)


@contextlib.contextmanager
def _interrupted_once() -> Iterator[None]:
    """Let the first Ctrl-C raise KeyboardInterrupt and swallow those after it: who presses twice does not mean to leave."""
    asked = False

    def once(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _coloured(prompt: str) -> str:
    """Return the prompt in colour, marked so that the line editor knows how wide it is."""
    if stdout.no_color or os.environ.get("TERM") == "dumb" or "readline" not in sys.modules:
        return prompt
    return f"\001\033[1;32m\002{prompt}\001\033[0m\002"
