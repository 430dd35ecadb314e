"""Rows in a file are what they were in a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.core import environment, spool
from weitiao.core.rows import Row, Turn
from weitiao.errors import MachineError

texts = st.text(st.characters(exclude_categories=[]), max_size=8)  # lone surrogates too
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
targets = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple), max_leaves=4)
turns = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), texts, texts, texts), max_size=3).map(tuple)
some_rows = st.lists(st.builds(Row, texts, texts, targets, texts, turns), min_size=1, max_size=30)


def numbered(count: int) -> list[Row]:
    return [Row(f"id-{n}", f"text {n}\n", ("a",) * (n % 3), f"file.csv:{n + 2}") for n in range(count)]


@settings(deadline=None)
@given(some_rows)
def test_rows_come_back_from_the_file_as_they_went_in(rows: list[Row]) -> None:
    found = spool.gathered(iter(rows), most=0)
    assert isinstance(found, spool.SpooledRows) and list(found) == rows
    assert [type(row.target) for row in found] == [type(row.target) for row in rows]


def test_rows_in_the_file_are_asked_for_as_those_of_a_list() -> None:
    rows = numbered(1000)
    found = spool.gathered(iter(rows), most=10)
    assert len(found) == 1000 and bool(found)
    for n in (0, 127, 128, 999, -1, -1000):
        assert found[n] == rows[n]
    with pytest.raises(IndexError):
        found[1000]
    assert list(found[100:400:7]) == rows[100:400:7] and list(found[::-1]) == rows[::-1] and list(found[5:2]) == []
    assert list(found[3:900][10:20]) == rows[13:23]
    picked = spool.chosen(found, [999, 3, 3, 500])
    assert isinstance(picked, spool.SpooledRows) and list(picked) == [rows[n] for n in (999, 3, 3, 500)] and picked[1] == rows[3]
    readers = zip(found, found[500:], strict=False)
    assert all((a.id, b.id) == (f"id-{n}", f"id-{n + 500}") for n, (a, b) in enumerate(readers)), "two readers do not disturb each other"
    assert list(spool.Texts(found)) == [row.text for row in rows] and list(spool.Texts(found)[7:9]) == [row.text for row in rows[7:9]]


def test_few_rows_stay_in_a_list() -> None:
    assert spool.gathered(iter(numbered(10)), most=10) == numbered(10)
    assert spool.gathered(iter(())) == []
    assert spool.chosen(numbered(3), [2, 0]) == [numbered(3)[2], numbered(3)[0]]


def test_rows_with_a_target_that_json_does_not_give_back_stay_in_memory() -> None:
    rows: list[Row] = [*numbered(300), Row("x", "x", {1: 2}), *numbered(5)]
    found = spool.gathered(iter(rows), most=10)
    assert isinstance(found, list) and found == rows


def test_nothing_of_the_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "cache_folder", lambda: tmp_path / "cache")
    found = spool.gathered(iter(numbered(300)), most=10)
    assert list((tmp_path / "cache").iterdir()) == [] and found[299] == numbered(300)[299]


def test_rows_go_elsewhere_where_the_cache_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(environment, "cache_folder", lambda: tmp_path / "file" / "cache")
    assert list(spool.gathered(iter(numbered(300)), most=10)) == numbered(300)


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    full: Any = Full()
    monkeypatch.setattr(spool, "_unnamed", lambda: full)
    with pytest.raises(MachineError, match="temporary file: No space left on device") as caught:
        spool.gathered(iter(numbered(300)), most=10)
    assert "HF_HOME" in caught.value.hint
