"""Reads a Markdown document as what it asks a reader to do: files to write, commands to type, Python to run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (.*?) -->")
_NAMED = re.compile(r"^`([^`\n]+)`(?::|：)$")


@dataclass(frozen=True)
class Command:
    """One line after `$ `, and the output that the document shows below it."""

    line: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One fenced block: its language and text, its line in the document, and what stands just above it."""

    language: str
    text: str
    line: int
    marks: tuple[str, ...]
    """Comments directly above."""
    file: str | None
    """Name of the file that the block shows, if the line above names one."""

    def mark(self, begins: str) -> str | None:
        """Return the rest of the mark that begins so."""
        return next((mark.removeprefix(begins).strip(" :") for mark in self.marks if mark.startswith(begins)), None)

    def codes(self) -> set[int]:
        """Return the exit codes that the last command may have."""
        said = self.mark("exits with")
        return {int(code) for code in re.findall(r"\d+", said)} if said else {0}

    def commands(self) -> list[Command]:
        """Return the commands of a console block."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.strip():
                found[-1][1].append(line)
        return [Command(line, tuple(shown)) for line, shown in found]


def read(name: str) -> str:
    """Return a document's text; `name` is relative to the root of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a document, in order."""
    found = []
    for match in _FENCE.finditer(text):
        above = [line.strip() for line in text[: match.start()].splitlines()]
        marks: list[str] = []
        while above and (comment := _COMMENT.fullmatch(above[-1])):
            marks.append(comment[1])
            above.pop()
        while above and not above[-1]:
            above.pop()
        named = _NAMED.match(above[-1]) if above else None
        found.append(Block(match[1], match[2], text[: match.start()].count("\n") + 1, tuple(marks[::-1]), named[1] if named else None))
    return found


def prose(text: str) -> str:
    """Return a document without its blocks and comments."""
    return _COMMENT.sub("", _FENCE.sub("", text))


def headings(text: str) -> list[tuple[int, str]]:
    """Return (level, words) of every heading."""
    return [(len(level), words.strip()) for level, words in re.findall(r"^(#{1,6}) (.+)$", _FENCE.sub("", text), re.MULTILINE)]


def tables(text: str) -> list[list[list[str]]]:
    """Return every table as rows of cells, the line of dashes left out."""
    found: list[list[list[str]]] = []
    inside = False
    for line in prose(text).splitlines():
        if line.startswith("|"):
            if not inside:
                found.append([])
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if not all(set(cell) <= set("-:") and cell for cell in cells):
                found[-1].append(cells)
        inside = line.startswith("|")
    return found


def links(text: str) -> list[str]:
    """Return the targets of every link and picture."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def anchors(text: str) -> set[str]:
    """Return the anchors that a reader can jump to, as GitHub makes them from headings."""
    return {re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for _, words in headings(text)}
