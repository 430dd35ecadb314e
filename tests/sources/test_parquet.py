"""Parquet files: values as JSON has them, several files, and files that are none."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record
from weitiao.errors import BadRow, EmptySplit, MissingExtra, MissingFile, WeitiaoError
from weitiao.sources import parquet as parquet_source
from weitiao.sources.parquet import Parquet

pa = pytest.importorskip("pyarrow", reason="Parquet files are read with the package pyarrow: pip install 'weitiao[hub]'")
pq = pytest.importorskip("pyarrow.parquet")


def write(path: Path, rows: list[dict[str, Any]], *, features: dict[str, Any] | None = None, **options: Any) -> Path:
    table = pa.Table.from_pylist(rows)
    if features is not None:
        table = table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": features}}).encode()})
    pq.write_table(table, path, **options)
    return path


def read(path: Path | str) -> list[Record]:
    return list(Parquet(train=str(path)).records("train", pytest.fail))


def test_rows_come_with_their_number_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"text": f"text {n}", "label": n} for n in range(3000)], row_group_size=700)
    found = read(path)
    assert [r.line for r in found] == list(range(1, 3001)) and dict(found[2999].values) == {"text": "text 2999", "label": 2999}
    assert found[6].place == f"{path}:7"


def test_nested_values_come_as_lists_and_mappings_that_json_can_hold(tmp_path: Path) -> None:
    row = {
        "turns": [{"role": "user", "content": "中文 😀"}],
        "day": datetime.date(2024, 3, 1),
        "at": datetime.datetime(2024, 3, 1, 10, 0),
        "price": decimal.Decimal("1.50"),
        "score": float("nan"),
        "flag": True,
        "nothing": None,
        "picture": b"\x89PNG",
        "image": {"bytes": b"x", "path": "a.png"},
    }
    found = read(write(tmp_path / "a.parquet", [row]))[0].values
    assert dict(found) == {
        "turns": [{"role": "user", "content": "中文 😀"}],
        "day": "2024-03-01",
        "at": "2024-03-01T10:00:00",
        "price": 1.5,
        "score": None,
        "flag": True,
        "nothing": None,
    }
    json.dumps(dict(found), allow_nan=False)


def test_entries_of_a_map_are_pairs(tmp_path: Path) -> None:
    table = pa.table({"m": pa.array([[("a", 1), ("b", 2)]], type=pa.map_(pa.string(), pa.int64()))})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[0].values["m"] == [["a", 1], ["b", 2]]


def test_labels_have_the_names_that_a_data_set_of_the_hub_writes_into_the_file(tmp_path: Path) -> None:
    kind = {"_type": "ClassLabel", "names": ["neg", "pos"]}
    rows = [{"label": 1, "tags": [0, 1], "more": {"kind": 0}, "n": 1}, {"label": -1, "tags": [], "more": {"kind": 7}, "n": 0}]
    for inner in ({"_type": "List", "feature": kind}, {"_type": "Sequence", "feature": kind}, [kind]):
        path = write(tmp_path / "a.parquet", rows, features={"label": kind, "tags": inner, "more": {"kind": kind}, "n": {"_type": "Value"}})
        first, second = (dict(r.values) for r in read(path))
        assert first == {"label": "pos", "tags": ["neg", "pos"], "more": {"kind": "neg"}, "n": 1}
        assert second == {"label": None, "tags": [], "more": {"kind": 7}, "n": 0}
    assert dict(read(write(tmp_path / "b.parquet", rows[:1], features=[]))[0].values)["label"] == 1  # type: ignore[arg-type]


def test_the_index_of_pandas_is_no_column(tmp_path: Path) -> None:
    assert dict(read(write(tmp_path / "a.parquet", [{"text": "a", "__index_level_0__": 7}]))[0].values) == {"text": "a"}


def test_a_pattern_names_several_files_of_one_shape(tmp_path: Path) -> None:
    for n in (2, 1):
        write(tmp_path / f"train-{n}.parquet", [{"text": f"{n}"}])
    recipe = {"model": "x", "data": {"name": "parquet", "train": "train-*.parquet"}, "task": "text_classification"}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    data = Recipe.load(tmp_path / "r.yaml").data
    assert [(r.values["text"], r.place) for r in data.records("train", print)] == [(f"{n}", f"{tmp_path}/train-{n}.parquet:1") for n in (1, 2)]
    write(tmp_path / "train-3.parquet", [{"body": "x"}])
    with pytest.raises(BadRow, match=r"train-3.parquet: its columns are body, those of the first file are text"):
        list(data.records("train", print))
    with pytest.raises(MissingFile, match=r"no file matches .*dev-\*"):
        read(tmp_path / "dev-*.parquet")


def test_a_name_with_brackets_is_a_name_where_such_a_file_is_there(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "a[1].parquet", [{"text": "a"}]))) == 1


def test_a_file_without_rows_gives_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], type=pa.string())}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == []


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write(tmp_path / "a.parquet", [{"text": "some text " * 50}] * 200, compression="none", use_dictionary=False).read_bytes()
    cut, text, empty, middle = (tmp_path / f"{name}.parquet" for name in ("cut", "text", "empty", "middle"))
    cut.write_bytes(whole[: len(whole) // 2])
    text.write_text("text,label\na,1\n")
    empty.touch()
    middle.write_bytes(whole[:2000] + b"\xff" * 3000 + whole[5000:])
    for path, error, said in (
        (cut, BadRow, "cut.parquet: not a Parquet file that can be read: "),
        (text, BadRow, "text.parquet: not a Parquet file that can be read: "),
        (empty, EmptySplit, "is empty"),
        (tmp_path / "none.parquet", MissingFile, "there is no file"),
        (tmp_path, MissingFile, "is a folder, expected a file"),
    ):
        with pytest.raises(error) as caught:
            read(path)
        assert said in caught.value.message and caught.value.hint and "\n" not in caught.value.message
    with pytest.raises(BadRow, match="middle.parquet: not a Parquet file"):
        read(middle)
    monkeypatch.setattr(parquet_source.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pyarrow"):
        read(tmp_path / "a.parquet")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_damaged_byte_never_causes_anything_but_records_or_a_clear_error(tmp_path: Path, at: int, byte: int) -> None:
    raw = bytearray(write(tmp_path / "whole.parquet", [{"text": "a", "tags": ["x", "y"]}] * 5).read_bytes())
    raw[at % len(raw)] = byte
    (tmp_path / "a.parquet").write_bytes(raw)
    try:
        for record in read(tmp_path / "a.parquet"):
            json.dumps(dict(record.values))
    except WeitiaoError as error:
        assert error.hint and "\n" not in error.message
