from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from weitiao.core import registry
from weitiao.core.contracts import Source
from weitiao.core.rows import Record
from weitiao.errors import BadRow, EmptySplit, MissingFile, WeitiaoError


def read(name: str, path: Path | str, bad: list[str] | None = None, **fields: object) -> list[Record]:
    source = registry.find("source", name).model_validate({"train": str(path), **fields})
    assert isinstance(source, Source)
    problems: list[str] = [] if bad is None else bad
    found = list(source.records("train", problems.append))
    if bad is None:
        assert not problems
    return found


def values(records: list[Record]) -> list[dict[str, object]]:
    return [dict(r.values) for r in records]


@pytest.mark.parametrize(
    ("file", "text", "fields"),
    [
        ("a.csv", "text,label\na,1\nb,2\n", {}),
        ("a.csv", "text,label\r\na,1\r\nb,2\r\n", {}),
        ("a.csv", "\ufefftext,label\na,1\nb,2", {}),
        ("a.tsv", "text\tlabel\na\t1\nb\t2\n", {}),
        ("a.csv", "a,1\nb,2\n", {"header": False, "columns": ["text", "label"]}),
        ("a.txt", "a\t1\nb\t2\n", {"header": False, "columns": ["text", "label"]}),
        ("a.csv", "text;label\na;1\nb;2\n", {"delimiter": ";"}),
        ("a.csv", "text\tlabel\na\t1\n\nb\t2\n", {"delimiter": "\\t"}),
        ("a.json", '[{"text": "a", "label": "1"}, {"text": "b", "label": "2"}]', {}),
        ("a.jsonl", '{"text": "a", "label": "1"}\n\n{"text": "b", "label": "2"}\n', {}),
        ("a.json", '\n[\n{"text": "a", "label": "1"},\n{"text": "b",\n "label": "2"}\n]\n', {}),
    ],
)
def test_every_usual_shape_gives_the_same_records(tmp_path: Path, file: str, text: str, fields: dict[str, object]) -> None:
    path = tmp_path / file
    path.write_text(text, encoding="utf-8", newline="")
    found = read("json" if "json" in file else "csv", path, **fields)
    assert values(found) == [{"text": "a", "label": "1"}, {"text": "b", "label": "2"}]
    lines = text.replace("\r", "").splitlines()
    for record, mark in zip(found, "ab", strict=True):
        assert record.line is not None and mark in lines[record.line - 1]


def test_headerless_columns_are_numbered_when_not_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n")
    assert values(read("csv", tmp_path / "a.csv", header=False)) == [{"1": "x", "2": "y"}]


def test_a_quoted_cell_may_hold_lines_and_the_next_record_keeps_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n"one\ntwo ""q""",1\nb,2\n')
    found = read("csv", tmp_path / "a.csv")
    assert [(r.values["text"], r.line) for r in found] == [('one\ntwo "q"', 2), ("b", 4)]


def test_quotes_are_plain_characters_in_tab_separated_files(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tlabel\n"open quote\t1\n')
    assert values(read("csv", tmp_path / "a.tsv")) == [{"text": '"open quote', "label": "1"}]


@pytest.mark.parametrize(
    ("file", "raw", "error", "message"),
    [
        ("a.csv", b'text,label\na,1\n"open,2\nb,1\n', BadRow, "a.csv:3: a quote opens here and never closes"),
        ("a.csv", b'text,label\n"a" b,1\n', BadRow, "a.csv:2: "),
        ("a.csv", b"text,label\nf\xfcr,1\n", BadRow, "a.csv:2: byte 0xfc at column 2 is not utf-8 text"),
        ("a.csv", b"text,label\nab\0c,1\n", BadRow, "a.csv:2: a NUL byte at column 3"),
        ("a.csv", "text,label\na,1\n".encode("utf-16"), BadRow, "a.csv:1: the file is utf-16, not utf-8"),
        ("a.csv", b"text,text\na,1\n", BadRow, "a.csv:1: the header names 'text' twice"),
        ("a.csv", b"", EmptySplit, "a.csv is empty"),
        ("b/", b"", MissingFile, "is a folder"),
        ("a.json", b'[{"text": "a"},\n' + b'{"text": "b"},\n' * 15 + b'{"text": oops},\n{"text": "c"}]', BadRow, "a.json:17: broken JSON: Expecting value"),
        ("a.jsonl", b'{"text": "a"}\n' * 16 + b'{"text": "b"\n', BadRow, "a.jsonl:17: this line is not JSON"),
        ("a.json", b'[{"text": "a"}\n{"text": "b"}]', BadRow, "a.json:2: broken JSON: expected a comma or ]"),
        ("a.json", b'[{"text": "a"},', BadRow, "a.json:1: broken JSON"),
        ("a.json", b'[{"text": "a"}] x', BadRow, "text after the closing bracket"),
        ("a.json", b'{\n"text": "a"\n}', BadRow, "a.json:1: this line is not JSON"),
        ("a.json", b'[{"text": NaN}]', BadRow, "NaN is not a JSON value"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_and_line(tmp_path: Path, file: str, raw: bytes, error: type[WeitiaoError], message: str) -> None:
    path = tmp_path / file
    if file.endswith("/"):
        path.mkdir()
    else:
        path.write_bytes(raw)
    with pytest.raises(error) as caught:
        read("json" if "json" in file else "csv", path)
    assert message in caught.value.message
    assert caught.value.hint


def test_rows_with_too_many_cells_are_named_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,1\nb, with a comma,2\nc,1\n")
    bad: list[str] = []
    assert len(read("csv", tmp_path / "a.csv", bad)) == 2
    assert bad == [f"{tmp_path}/a.csv:3: expected 2 cells (text, label), got 3: a stray comma, or a missing quote?"]


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x")
    with pytest.raises(MissingFile) as caught:
        read("csv", tmp_path / "trian.csv")
    assert "train.csv" in caught.value.hint


def test_other_encodings_are_read_when_named(tmp_path: Path) -> None:
    for encoding in ("latin-1", "gb18030", "utf-16"):
        text = "für" if encoding == "latin-1" else "中文"
        (tmp_path / "a.csv").write_bytes(f"text,label\n{text},1\n".encode(encoding))
        assert read("csv", tmp_path / "a.csv", encoding=encoding)[0].values["text"] == text


def test_a_folder_of_texts_per_label(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text(f"text of {label}\n")
    (tmp_path / "b" / "2.txt").write_bytes(b"\xff")
    bad: list[str] = []
    found = read("folder", tmp_path, bad)
    assert values(found) == [{"text": "text of a", "label": "a"}, {"text": "text of b", "label": "b"}]
    assert len(bad) == 1 and "2.txt:1: byte 0xff" in bad[0]


def test_a_file_of_lines_per_label(tmp_path: Path) -> None:
    (tmp_path / "neg.txt").write_text("bad\nworse\n")
    (tmp_path / "pos.txt").write_text("good\n")
    assert [r.values["label"] for r in read("folder", tmp_path)] == ["neg", "neg", "pos"]


def test_texts_may_have_any_ending_lie_deeper_and_have_hidden_files_beside_them(tmp_path: Path) -> None:
    for name in ("alt.atheism/49960", "alt.atheism/1993/49961", "sci.med/1.md", "sci.med/.DS_Store", ".git/config", "_cache/x", "unsup/1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xfe\xfa" if ".DS" in name else name.encode())
    found = read("folder", tmp_path, leave_out=["unsup"])
    assert values(found) == [
        {"text": "alt.atheism/1993/49961", "label": "alt.atheism"},
        {"text": "alt.atheism/49960", "label": "alt.atheism"},
        {"text": "sci.med/1.md", "label": "sci.med"},
    ]


def test_a_label_without_texts_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.txt").write_text("text")
    bad: list[str] = []
    assert len(read("folder", tmp_path, bad)) == 1
    assert bad == [f"{tmp_path}/a: the folder of this label holds no files"]


@pytest.mark.parametrize("names", [("train", "test"), ("train", "validation", "test"), ("Train", "dev")])
def test_splits_are_not_taken_for_labels(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name / "pos").mkdir(parents=True)
        (tmp_path / name / "pos" / "1.txt").write_text("text")
    with pytest.raises(EmptySplit, match="which are splits, and no labels") as caught:
        read("folder", tmp_path)
    assert f"data.train={tmp_path / names[0]}" in caught.value.hint
    assert len(read("folder", tmp_path / names[0])) == 1


def test_labels_that_are_called_like_splits_beside_others_are_labels(tmp_path: Path) -> None:
    for label in ("train", "car", "test"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text("text")
    assert [r.values["label"] for r in read("folder", tmp_path)] == ["car", "test", "train"]


def test_data_inside_a_package_are_read_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "carrier"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data" / "rows.jsonl").write_text('{"text": "a", "label": "x"}\n')
    monkeypatch.syspath_prepend(tmp_path)
    found = read("package", "data/rows.jsonl", package="carrier")
    assert (found[0].values["text"], found[0].place) == ("a", "carrier/data/rows.jsonl:1")
    with pytest.raises(WeitiaoError, match="leaves the package"):
        read("package", "../../etc/passwd", package="carrier")
    with pytest.raises(MissingFile, match="holds no 'nothing'"):
        read("package", "nothing", package="carrier")
    with pytest.raises(MissingFile, match="'nowhere' is not installed"):
        read("package", "x", package="nowhere")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(raw=st.one_of(st.binary(max_size=120), st.text(alphabet='ab,"\n\t\r{}[]:1 \\', max_size=120).map(str.encode)), name=st.sampled_from(["csv", "json"]))
@example(raw=b"[" * 5000, name="json")
def test_no_file_ever_causes_anything_but_records_or_a_clear_error(tmp_path: Path, raw: bytes, name: str) -> None:
    path = tmp_path / "fuzz.csv"
    path.write_bytes(raw)
    try:
        for record in read(name, path, []):
            json.dumps(dict(record.values))
    except WeitiaoError as error:
        assert error.hint and "\n" not in error.message
