"""Data for language models, seen from what is in them: conversations, and plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weitiao.core import textfile
from weitiao.core.rows import Record, Row
from weitiao.inspect.columns import LABEL_NAMES, WITHOUT_SPACES, columns_of
from weitiao.inspect.reading import Reason, Sample, dialects, encoding_of, sampled
from weitiao.sources.text import Text

CHAT_LENGTHS = (256, 512, 1024, 2048)
"""What max_length of conversations is rounded up to."""
PLAIN_TEXT = {".txt", ".text", ".md", ""}
"""Endings of files that may be plain text."""
_LISTS = (("messages", ("role", "content")), ("conversations", ("from", "value")), ("messages", ("message",)))
_PAIRS = (("instruction", "output"), ("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("query", "response"), ("input", "output"))
_PREFERENCE = {"chosen", "rejected"}
_FEWEST_CHARACTERS = 1_000
_BLOCKS = 200
"""Blocks that a text is to come apart into at least, so that tenths can be split off."""


def conversation(records: Sequence[Record]) -> str | None:
    """Return why the records are conversations whose answers can be learnt, None where they are not."""
    keys = {name for record in records for name in record.values}
    if not records or keys & _PREFERENCE:
        return None
    for key, parts in _LISTS:
        if sum(_is_talk(record.values.get(key), parts) for record in records) > 0.9 * len(records):
            judged = any(isinstance(record.values.get("label"), bool) for record in records)  # answers that are called good or bad
            return None if judged else f"each holds {key}, lists of {' and '.join(parts)}"
    if keys & {name for name, strength in LABEL_NAMES.items() if strength >= 3}:
        return None
    columns = columns_of(records)
    for question, answer in _PAIRS:
        if question not in columns or answer not in columns:
            continue
        said = columns[answer]
        texts = [sum(isinstance(cell, str) for cell in columns[name].cells) for name in (question, answer)]
        plain = (question, answer) == ("instruction", "output")  # names that nothing else uses: short answers are answers too
        if min(texts) > 0.9 * len(records) and said.distinct >= 0.5 * said.rows and (plain or said.worded >= 0.5):
            return f"each holds {question} and {answer}, and hardly two answers are the same"
    return None


def _is_talk(value: Any, parts: tuple[str, ...]) -> bool:
    return bool(isinstance(value, list) and value and all(isinstance(turn, Mapping) and {*parts} <= turn.keys() for turn in value))


def answer_to_compare(rows: Sequence[Row]) -> Reason | None:
    """Return which answer of conversations is telling, where it is not the last: the last call of functions."""
    calling = sum(any(turn.calls for turn in row.turns) for row in rows)
    return Reason("task.answer", "call", f"functions are called in {calling} conversations: the last call is generated and compared") if calling else None


def chat_length(rows: Sequence[Row]) -> tuple[int, str]:
    """Return the smallest usual length that holds about 95 % of the conversations, and why."""
    lengths = sorted(sum(tokens(turn.text) + 6 for turn in row.turns) for row in rows)
    most = round(lengths[min(int(0.95 * len(lengths)), len(lengths) - 1)])
    chosen = next((length for length in CHAT_LENGTHS if length >= most), CHAT_LENGTHS[-1])
    if most <= chosen:
        return chosen, f"about 95 % of the conversations have at most {most} tokens, by their letters; longer ones are split between exchanges"
    long = sum(length > chosen for length in lengths) / len(lengths)
    return chosen, f"about {100 * long:.0f} % of the conversations are longer, by their letters: they are split between exchanges"


def tokens(text: str) -> float:
    """Return about how many tokens a text has: one for four letters, or for one Chinese character."""
    return len(text) / 4 + 0.75 * len(WITHOUT_SPACES.findall(text))


def prose(path: Path) -> tuple[Text, Sample, list[Reason]] | None:
    """Return how to read a file of plain text, a sample of its blocks, and why; None where it is a table, a list of words, or short.

    Raises BadRow for bytes that are no text.
    """
    if path.suffix.lower() not in PLAIN_TEXT:
        return None
    with path.open("rb") as file:
        encoding, why = encoding_of(file.read(2**20))
    lines = words = characters = 0
    for _, line in textfile.lines(path, encoding):
        if line.strip():
            lines, characters = lines + 1, characters + len(line)
            words += len(line.split()) + len(WITHOUT_SPACES.findall(line)) // 2
    if characters < _FEWEST_CHARACTERS or words < 3 * lines or _is_table(path, encoding):
        return None
    reasons = [] if encoding == "utf-8" else [Reason("data.encoding", encoding, why)]
    source = Text(train=str(path), encoding=encoding)
    if characters < _BLOCKS * source.block_characters:
        size = max(200, characters // _BLOCKS // 100 * 100)
        source = source.revised(block_characters=size)
        reasons.append(Reason("data.block_characters", size, "small enough that there are blocks to split off for dev and test"))
    why = f"plain text, {characters:,} characters in {lines:,} lines, that does not come apart into columns"
    return source, sampled(source), [Reason("data.name", "text", why), *reasons]


def _is_table(path: Path, encoding: str) -> bool:
    return any(dialect.bad <= 0.02 and len(dialect.rows) >= 10 for dialect in dialects(path, encoding))
