"""Sentences with two marked entities and their relation, in blocks of lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from weitiao.core import textfile
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record
from weitiao.core.textfile import shown

_FIRST = re.compile(r"(\d+)[\t ]+(.*\S)\s*")
_MARKER = re.compile(r"</?e[12]>")
_ENTITIES = {"head": "e1", "tail": "e2"}


class Semeval(Source):
    """Read relations in the format of SemEval-2010 task 8 (arXiv:1911.10422).

    Each block of lines holds a number, a tab and a quoted sentence with <e1> and <e2> around two entities; then the
    relation; then a comment; then nothing.
    """

    encoding: str = "utf-8"
    """Encoding of the file."""

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per block: `text` without the markers, `head` and `tail` as [start, end] of e1 and e2 in it, and `label`.

        Characters count from 0, ends are exclusive. A block of a test file may lack its relation, then `label` is absent.
        """
        path = Path(getattr(self, split))
        for number, block in self._blocks(path):
            place = f"{path}:{number}"
            first = _FIRST.fullmatch(block[0])
            if first is None:
                bad(f"{place}: expected a number, a tab and a quoted sentence, got {shown(block[0].strip())}")
                continue
            id, sentence = first.groups()
            if len(sentence) > 1 and sentence[0] == sentence[-1] == '"':
                sentence = sentence[1:-1]
            labels = [line.strip() for line in block[1:] if not line.lstrip().startswith("Comment")]
            if len(labels) > 1 or (not labels and split != "test"):
                bad(f"{place}: sentence {id}: expected one line with the relation below the sentence, got {len(labels)}")
                continue
            try:
                text, spans = _unmarked(sentence)
            except ValueError as error:
                bad(f"{place}: sentence {id}: {error}")
                continue
            yield Record({"text": text, **spans, **({"label": labels[0]} if labels else {})}, str(path), number, id)

    def _blocks(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Yield the lines of each block and the number of the first; a numbered sentence begins a block even where no empty line stands above it."""
        held: list[str] = []
        began = 1
        for number, line in textfile.lines(path, self.encoding):
            if held and (not line.strip() or _FIRST.fullmatch(line)):
                yield began, held
                held = []
            if line.strip():
                began = began if held else number
                held.append(line)
        if held:
            yield began, held


def _unmarked(sentence: str) -> tuple[str, dict[str, list[int]]]:
    """Return the sentence without markers and the spans of its entities. Raises ValueError saying what is wrong with the markers."""
    markers = [found.group() for found in _MARKER.finditer(sentence)]
    for entity in _ENTITIES.values():
        for marker in (f"<{entity}>", f"</{entity}>"):
            if markers.count(marker) != 1:
                raise ValueError(f"expected {marker} once, got it {markers.count(marker)} times")
    at: dict[str, int] = {}
    parts: list[str] = []
    end = length = 0
    for found in _MARKER.finditer(sentence):
        parts.append(sentence[end : found.start()])
        length += len(parts[-1])
        at[found.group()], end = length, found.end()
    parts.append(sentence[end:])
    spans = {name: [at[f"<{entity}>"], at[f"</{entity}>"]] for name, entity in _ENTITIES.items()}
    for name, (start, stop) in spans.items():
        if start >= stop:
            raise ValueError(f"<{_ENTITIES[name]}> marks nothing")
    return "".join(parts), spans
