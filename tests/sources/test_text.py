"""Plain text files: what a row is, and that nothing of the text is lost or invented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.errors import BadRow, EmptySplit, MissingFile
from weitiao.sources.text import Text


def rows(path: Path, **fields: Any) -> list[tuple[int | None, str]]:
    return [(record.line, record.values["text"]) for record in Text(train=str(path), **fields).records("train", lambda _: None)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_come_without_their_ends_and_empty_ones_are_passed_over(tmp_path: Path, end: str, mark: str, last: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((mark + end.join(["one", "", "  ", "two words ", "三"]) + (end if last else "")).encode())
    assert rows(path, rows="line") == [(1, "one"), (4, "two words "), (5, "三")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_paragraphs_stand_between_empty_lines(tmp_path: Path, end: str, last: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(("\ufeff" + end.join(["", "one", "more", "", " ", "two"]) + (end if last else "")).encode())
    assert rows(path, rows="paragraph") == [(2, f"one{end}more{end}"), (6, "two" + (end if last else ""))]


def test_a_block_is_whole_lines_of_about_so_many_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    lines = [f"line {n} " + "x" * 40 + "\n" for n in range(20)]
    path.write_text("".join(lines))
    found = rows(path, rows="block", block_characters=100)
    assert "".join(text for _, text in found) == "".join(lines)
    assert [line for line, _ in found] == list(range(1, 21, 3))
    assert all(text.endswith("\n") and len(text) < 160 for _, text in found)


def test_the_whole_file_can_be_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo\n")
    assert rows(path, rows="file") == [(1, "one\n\ntwo\n")]


@settings(max_examples=80, deadline=None)
@given(
    lines=st.lists(st.text(alphabet="ab 三\t", max_size=6), min_size=1, max_size=30),
    size=st.integers(1, 20),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_every_way_keeps_every_line_that_says_something(tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int, end: str, last: bool) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(("x" + end.join(lines) + (end if last else "")).encode())
    said = [line for line in path.read_bytes().decode().split(end) if line.strip()]
    for kind in ("line", "paragraph", "block", "file"):
        found = rows(path, rows=kind, block_characters=size)
        assert [line for _, text in found for line in text.split(end) if line.strip()] == said, kind
        assert all(text.strip() for _, text in found), kind


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"a\ncaf\xe9\n")
    with pytest.raises(EmptySplit, match="is empty"):
        rows(tmp_path / "empty.txt")
    with pytest.raises(MissingFile, match="there is no file"):
        rows(tmp_path / "none.txt")
    with pytest.raises(BadRow, match=r"latin\.txt:2: byte 0xe9"):
        rows(tmp_path / "latin.txt")
    assert rows(tmp_path / "latin.txt", encoding="latin-1", rows="line") == [(1, "a"), (2, "café")]
