"""The beginning of a Python function, or what it should do, and the code that passes its tests."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from weitiao.answers import sandbox
from weitiao.answers.text_to_text import PLACE, TextToText
from weitiao.core.contracts import Answer, Generation, Metric, Prediction, Source, Tokens
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row, Turn
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, MissingColumn
from weitiao.labels.reading import MEND

if TYPE_CHECKING:
    from weitiao.models.dialogue import Encoded

_FUNCTION = re.compile(r"^(?:async\s+def|def|class)\s", re.MULTILINE)
_TESTS = ("test", "tests", "test_list")
_FENCE = "```"


class CodeGeneration(TextToText):
    """Complete Python functions, and run the tests of the rows: HumanEval, MBPP, or a table or JSON with columns of prompts, solutions and tests.

    A prompt that holds a function's head is continued; another says in words what the code should do. A chat model is asked in its
    template, and its answer is begun for it: with a code block that already holds the function's head. Where there is no chat
    template the model simply goes on.

    Tests run code that a model wrote ON THIS MACHINE: in a process of its own without network, other processes, or files outside a
    temporary folder, and with limits of time and memory. That guards against accidents, not against an attacker: the code can read your
    files, and code that means to can make its tests pass. Use a container for models that you do not trust.
    """

    max_length: int = Field(default=1024, ge=16)
    """Longest row in tokens: prompt and solution together. A longer row is left out and counted: half a prompt asks for something else."""
    prompt: str | None = None
    """What a chat model is asked, with {text} where the row's prompt goes. Default: to write Python. A model without a chat template is given
    nothing but the row's prompt, unless this is set."""
    template: str = "auto"
    """Chat template: auto (the model's own, else one that its vocabulary knows, else none), own, chatml, gemma, or a .jinja file; plain uses none,
    and the model goes on with the prompt itself."""
    max_new_tokens: PositiveInt = 256
    """Longest completion in tokens."""
    stop: tuple[str, ...] = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n```")
    """Strings at which a completion ends besides its end token; they are no part of it. Default: those of HumanEval (arXiv:2107.03374), and
    the end of a code block. Where solutions are whole programs, leave out those with which a further function begins."""
    tests: str | None = None
    """Column of the tests: Python that raises an error where the code is wrong, as a text or a list of lines; or, as in HumanEval, a function
    `check`, which gets the one that the column entry_point names. Default: test, tests or test_list. Rows without tests teach, and prove nothing."""
    show_tests: bool = True
    """Whether a prompt in words is followed by its tests where they are a list, as MBPP asks (arXiv:2108.07732): they say what the function is called."""
    run_tests: bool = True
    """Whether tests are run. Without them the likelihood of the reference solutions is all that is measured."""
    k: tuple[PositiveInt, ...] = (1,)
    """pass@k is measured for each of these k, and for 1."""
    samples: PositiveInt = 1
    """Completions of each row: as many as the largest k, and better twice as many. Several need a temperature, such as 0.8 for pass@10
    and 0.2 for pass@1."""
    seconds: PositiveFloat = 5.0
    """Processor time of one completion and its tests; four times as much may pass on the clock."""
    memory_mb: PositiveInt = Field(default=1024, ge=64)
    """Memory of one completion and its tests."""

    keeps_features: ClassVar[bool] = True
    keeps_blanks: ClassVar[bool] = True
    shortens: ClassVar[bool] = False
    usual: ClassVar[tuple[tuple[str, str], ...]] = (
        ("prompt", "canonical_solution"),
        ("prompt", "completion"),
        ("prompt", "solution"),
        ("text", "code"),
        ("prompt", "code"),
        ("instruction", "output"),
        ("input", "output"),
    )

    @model_validator(mode="after")
    def _samples_suffice(self) -> Self:
        if max(self.k, default=1) > self.samples:
            raise ValueError(f"k: pass@{max(self.k)} needs {max(self.k)} completions, and samples is {self.samples}")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("samples needs a temperature, such as 0.8: the most probable completion is always the same")
        return self

    def instruction(self) -> str:
        """Return what a chat model is asked."""
        return f"Write Python code. Answer with the code alone.\n\n{PLACE}"

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return prompt, solution and tests. Raises MissingColumn, or BadRow naming file, line and field."""
        row = super().read(record, data, labelled=labelled)
        column, held = self._held(record)
        text, target = row.text.rstrip(), row.target
        if isinstance(target, tuple):
            target = target[0]
        if target is not None:  # the line break between the two is the first thing that is to be said
            target = row.text[len(text) :] + target if _is_begun(text) else target.strip("\n")
        if self.show_tests and isinstance(held, list) and held and not _is_begun(text):
            text = "\n".join([text, "Your code should pass these tests:", *held])
        tests = self._tests(record, column, held) if labelled and held else ""
        return dataclasses.replace(row, text=text, target=target, parts=(tests,) if tests else ())

    def _held(self, record: Record) -> tuple[str, str | list[str]]:
        """Return the column of the tests and what a record holds there, nothing where it has none. Raises MissingColumn, BadRow."""
        values = record.values
        if self.tests is not None and self.tests not in values:
            names = list(map(str, values))
            raise MissingColumn(
                f"{record.place}: there is no column '{self.tests}' for the tests.{did_you_mean(self.tests, names)}",
                hint=f"The columns are: {', '.join(names[:12])}. Name that of the tests in task.tests.",
            )
        column = self.tests or next((name for name in _TESTS if name in values), "")
        held = values.get(column)
        if not isinstance(held, str | list | None) or (isinstance(held, list) and not all(isinstance(line, str) for line in held)):
            raise BadRow(f"{record.place}: {column}: expected Python as text, or a list of lines, got {shown(held)}.", hint=MEND)
        return column, held or ""

    def _tests(self, record: Record, column: str, held: str | list[str]) -> str:
        """Return the tests of a record as one piece of Python. Raises BadRow."""
        setup, named = record.values.get("test_setup_code"), record.values.get("entry_point")
        tests = "\n".join([*([setup] if isinstance(setup, str) and setup else []), *([held] if isinstance(held, str) else held)])
        if isinstance(named, str) and re.search(r"^def check\(", tests, re.MULTILINE):
            if not named.isidentifier():
                raise BadRow(f"{record.place}: entry_point: expected the name of a function, got {shown(named)}.", hint=MEND)
            tests += f"\n\ncheck({named})\n"
        try:
            with warnings.catch_warnings(action="ignore"):
                compile(tests, "tests", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise BadRow(f"{record.place}: {column}: the tests are not Python: {error}.", hint=MEND) from None
        return tests if tests.strip() else ""

    def check(self, rows: Sequence[Row], split: str) -> None:
        """Raise MachineError where tests cannot be run here."""
        if self._runs(rows):
            sandbox.lacking()

    def remarks(self, rows: Sequence[Row], split: str) -> Iterator[str]:
        """Yield how many reference solutions hold a string at which completions end."""
        stopped = Counter(stop for row in rows if row.target for stop in self.stop if stop in row.target)
        for stop, count in stopped.most_common(1):
            yield (
                f"{count} of the {len(rows)} rows of {split} have solutions that go on behind {shown(stop)}, "
                "where completions end: leave it out of task.stop to let them be whole."
            )

    def rests_on(self, rows: Sequence[Row]) -> list[str]:
        """Return on how many rows pass@k rests, and what the code was not kept from."""
        if not (run := self._runs(rows)):
            return []
        without = f" {len(rows) - run} proof rows have no tests." if run < len(rows) else ""
        lacking = sandbox.lacking()
        less = f" This system lacks {' and '.join(lacking)}: generated code was kept from network, processes and files in Python only." if lacking else ""
        return [f"The tests of up to {min(run, self.generated_rows)} proof rows were run on this machine, with limits.{without}{less}"]

    def _runs(self, rows: Sequence[Row]) -> int:
        return sum(bool(row.parts) for row in rows) if self.run_tests else 0

    # ------------------------------------------------------------ model and features

    def settled(self, tokens: Tokens) -> Self:
        """Return a copy with the prompt and the template in use; a model without a chat template is given nothing but the text, unless a prompt is set."""
        made = super().settled(tokens)
        return made.revised(prompt=PLACE) if self.prompt is None and not made._talks else made

    @property
    def _talks(self) -> bool:
        """Whether the model has a chat template: without one it goes on with the prompt itself."""
        return self.template != "plain"

    def _before(self, text: str) -> str:
        """Return what a model without a chat template goes on from: the code, or the docstring of a module that does what is asked."""
        return f'"""\n{text}\n"""\n' if self.prompt == PLACE and not _is_begun(text) else self._said(text)

    def _begun(self, text: str) -> str:
        """Return how the answer of a chat model begins."""
        return f"{_FENCE}python\n{text}" if _is_begun(text) else f"{_FENCE}python\n"

    def line(self, text: str, answer: str, tokens: Tokens) -> Encoded:
        """Return the tokens of prompt and solution, of which the solution is learnt."""
        from weitiao.models import dialogue

        if not self._talks:
            return dialogue.continued(self._before(text), answer, tokens)
        begun = self._begun(text)
        return dialogue.encode([self._asked(text), Turn("assistant", f"{begun}{answer.rstrip()}\n{_FENCE}")], tokens, given=begun)

    def opening(self, text: str, tokens: Tokens) -> list[int]:
        """Return the tokens that a completion follows."""
        from weitiao.models import dialogue

        if not self._talks:
            return dialogue.continued(self._before(text), None, tokens).ids
        return dialogue.prompt([self._asked(text)], tokens, given=self._begun(text))

    # ------------------------------------------------------------ answers

    @property
    def generation(self) -> Generation:
        """How completions are generated."""
        return dataclasses.replace(super().generation, samples=self.samples)

    def all_answered(self, rows: Sequence[Row], predictions: Sequence[Prediction], answers: Sequence[Sequence[Answer]]) -> list[Prediction]:
        """Return the predictions with the first completion of their rows, and how the tests of all of them ended where a row has any."""
        found = super().all_answered(rows, predictions, answers)
        tested = [n for n, row in enumerate(rows) if row.parts] if self.run_tests else []
        programs = [(program(rows[n].text, answer.text), rows[n].parts[0]) for n in tested for answer in answers[n]]
        outcomes = iter(sandbox.run_all(programs, sandbox.Limits(seconds=self.seconds, memory_mb=self.memory_mb)))
        for n in tested:
            kinds = Counter(next(outcomes).kind for _ in answers[n])
            found[n] = dataclasses.replace(found[n], measures={**found[n].measures, **_counted(kinds)})
        return found

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return loss and perplexity per token; pass@k, how completions failed, their length and ends."""
        from weitiao.metrics.generated import AnswerLength, StopRate
        from weitiao.metrics.likelihood import Perplexity, TokenLoss
        from weitiao.metrics.passing import EndedIn, PassAtK

        passing = [PassAtK(k, self.samples) for k in sorted({1, *self.k})]
        failing = [EndedIn(kind) for kind in sandbox.KINDS if kind != "passed"]
        return TokenLoss(), Perplexity(), *passing, *failing, StopRate(), AnswerLength()


def program(text: str, completion: str) -> str:
    """Return the code that a completion makes of its prompt."""
    return f"{text}{completion}\n" if _is_begun(text) else f"{completion}\n"


def _is_begun(text: str) -> bool:
    """Tell whether a prompt is code that is to be continued."""
    return _FUNCTION.search(text) is not None


def _counted(kinds: Counter[sandbox.Kind]) -> dict[str, float]:
    from weitiao.metrics.passing import RUN

    return {RUN: float(kinds.total()), **{kind: float(kinds[kind]) for kind in sandbox.KINDS}}
