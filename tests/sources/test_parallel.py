"""Parallel text: how files are found, what becomes of their lines, and every way in which they are damaged."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from weitiao.core.contracts import Split
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record
from weitiao.errors import BadRow, EmptySplit, MissingFile, RecipeError
from weitiao.evaluation.evaluate import source_for
from weitiao.sources.parallel import Parallel


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(place: Path, *, split: Split = "train", bad: list[str] | None = None, **settings: Any) -> list[Record]:
    problems: list[str] = [] if bad is None else bad
    found = list(Parallel.model_validate({split: str(place), **settings}).records(split, problems.append))
    if bad is None:
        assert problems == []
    return found


def pairs(records: list[Record]) -> list[tuple[str, str | None]]:
    return [(record.values["source"], record.values.get("target")) for record in records]


TWO = [("Hello.", "Hallo."), ("A dog.", "Ein Hund.")]


# ------------------------------------------------------------ how files are found


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_two_files_are_named_by_what_their_names_have_in_common(tmp_path: Path, packed: str) -> None:
    write(tmp_path / f"train.v1.en{packed}", "Hello.\nA dog.\n")
    write(tmp_path / f"train.v1.de{packed}", "Hallo.\r\nEin Hund.")
    found = read(tmp_path / "train.v1", languages=["en", "de"])
    assert pairs(found) == TWO and found[1].place == f"{tmp_path}/train.v1.en{packed}:2"
    assert pairs(read(tmp_path / "train.v1", languages=["de", "en"])) == [(two, one) for one, two in TWO]


def test_the_language_may_stand_anywhere_in_the_path(tmp_path: Path) -> None:
    write(tmp_path / "src" / "train.txt", "Hello.\nA dog.\n")
    write(tmp_path / "tgt" / "train.txt.gz", "Hallo.\nEin Hund.\n")
    assert pairs(read(tmp_path / "{language}" / "train.txt", languages=["src", "tgt"])) == TWO


def test_a_path_in_a_recipe_is_relative_to_it(tmp_path: Path) -> None:
    write(tmp_path / "recipes" / "r.yaml", "model: x\ndata: {name: parallel, train: ../corpus/train, languages: [en, de]}\ntask: translation\n")
    assert Recipe.load(tmp_path / "recipes" / "r.yaml").data.train == str(tmp_path / "corpus" / "train")


def test_one_file_with_tabs_holds_text_translation_and_more(tmp_path: Path) -> None:
    path = write(tmp_path / "train.txt", "Hi.\t嗨。\tCC-BY (France)\n\nWait!\t等等！\tCC-BY\n")
    assert pairs(read(path)) == [("Hi.", "嗨。"), ("Wait!", "等等！")]
    assert pairs(read(path, source_column=2, target_column=1)) == [("嗨。", "Hi."), ("等等！", "Wait!")]
    assert pairs(read(write(tmp_path / "train.tsv.gz", "Hi.\t嗨。\n"))) == [("Hi.", "嗨。")]


def test_lines_that_are_empty_on_both_sides_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "a.en", "Hello.\n\nA dog.\n\n")
    write(tmp_path / "a.de", "Hallo.\n \nEin Hund.\n\n")
    assert [record.line for record in read(tmp_path / "a", languages=["en", "de"])] == [1, 3]


def test_a_line_separator_inside_a_line_does_not_shift_the_lines_behind_it(tmp_path: Path) -> None:
    write(tmp_path / "a.en", "Hello.\u2028Again.\nA dog.\n")
    write(tmp_path / "a.de", "Hallo.\nEin\x85 Hund.\n")
    assert len(read(tmp_path / "a", languages=["en", "de"])) == 2


def test_a_file_of_texts_alone_can_be_predicted_and_not_trained_on(tmp_path: Path) -> None:
    write(tmp_path / "train.en", "Hello.\n")
    write(tmp_path / "train.de", "Hallo.\n")
    data = Parallel(train=str(tmp_path / "train"), languages=("en", "de"))
    for name, text, expected in (
        ("new.en", "A cat.\n", [("A cat.", None)]),
        ("new.txt", "A\tcat.\n\n", [("A\tcat.", None)]),
        ("new.en.gz", "A cat.\n", [("A cat.", None)]),
        ("train.en", "Hello.\n", [("Hello.", "Hallo.")]),
    ):
        path = write(tmp_path / name, text)
        assert pairs(list(source_for(data, str(path)).records("test", pytest.fail))) == expected
    tabbed = Parallel(train=str(tmp_path / "pairs.tsv"))
    path = write(tmp_path / "new.tsv", "A cat.\nA dog.\tEin Hund.\n")
    assert pairs(list(source_for(tabbed, str(path)).records("test", pytest.fail))) == [("A cat.", None), ("A dog.", "Ein Hund.")]
    with pytest.raises(MissingFile, match=r"there is no file of translations beside .*new\.en"):
        read(tmp_path / "new.en", languages=["en", "de"])


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize("side", [0, 1])
def test_files_of_different_length_are_refused_with_both_lines(tmp_path: Path, side: int) -> None:
    names = ("a.en", "a.de")
    write(tmp_path / names[side], "1\n2\n3\n4\n5\n")
    write(tmp_path / names[1 - side], "1\n2\n")
    for how in ("error", "skip"):
        with pytest.raises(BadRow) as caught:
            read(tmp_path / "a", languages=["en", "de"], bad_rows=how)
        assert f"{names[1 - side]} ends after line 2, {tmp_path}/{names[side]}:3 goes on for 3 more" in caught.value.message and caught.value.hint


def test_a_line_that_is_empty_on_one_side_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.en", "1\n\n3\n")
    write(tmp_path / "a.de", "1\n2\n \n")
    bad: list[str] = []
    assert pairs(read(tmp_path / "a", languages=["en", "de"], bad=bad)) == [("1", "1")]
    assert bad == [f"{tmp_path}/a.en:2: the line is empty, and that of a.de is not", f"{tmp_path}/a.de:3: the line is empty, and that of a.en is not"]


def test_a_line_without_a_tab_or_with_nothing_beside_it_is_named(tmp_path: Path) -> None:
    bad: list[str] = []
    path = write(tmp_path / "a.txt", "Hi.\t嗨。\nWait!\nRun.\t\n\tx\n")
    assert pairs(read(path, bad=bad)) == [("Hi.", "嗨。")]
    assert bad == [
        f"{path}:2: expected a tab between text and translation, so 2 cells or more, got 1",
        f"{path}:3: the translation is empty",
        f"{path}:4: the text is empty",
    ]


def test_bytes_that_are_no_text_are_named_by_line(tmp_path: Path) -> None:
    write(tmp_path / "a.en.gz", "1\n2\n")
    write(tmp_path / "a.de.gz", b"eins\nzw\xf6lf\n")
    with pytest.raises(BadRow, match=r"a\.de\.gz:2: byte 0xf6 at column 3 is not utf-8 text"):
        read(tmp_path / "a", languages=["en", "de"])
    assert pairs(read(tmp_path / "a", languages=["en", "de"], encoding="latin-1"))[1] == ("2", "zwölf")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_damaged_archive_is_named_by_line(tmp_path: Path, encoding: str) -> None:
    text = "\n".join(f"line {n * 7919 % 1000}" for n in range(5000)).encode(encoding)
    whole = gzip.compress(text)
    for name, data in (("cut", whole[: len(whole) // 2]), ("bent", whole[:2000] + bytes(50) + whole[2050:])):
        (tmp_path / f"{name}.en.gz").write_bytes(data)
        (tmp_path / f"{name}.de.gz").write_bytes(whole)
        with pytest.raises(BadRow) as caught:
            read(tmp_path / name, languages=["en", "de"], encoding=encoding)
        assert f"{name}.en.gz:" in caught.value.message and "Traceback" not in caught.value.message
    (tmp_path / "no.txt.gz").write_text("Hi.\t嗨。\n")
    with pytest.raises(BadRow, match=r"no\.txt\.gz:1: the file is not what gzip writes"):
        read(tmp_path / "no.txt.gz", encoding=encoding)


def test_a_missing_file_is_named_with_what_lies_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "train.en.gz", "1\n")
    write(tmp_path / "train.de.gz", "1\n")
    with pytest.raises(MissingFile) as caught:
        read(tmp_path / "train")
    assert f"there is no file {tmp_path}/train." in caught.value.message and "set data.languages to two of de, en" in caught.value.hint
    with pytest.raises(MissingFile) as caught:
        read(tmp_path / "train", languages=["en", "fr"])
    assert "train.fr" in caught.value.message and "train.de.gz, train.en.gz" in caught.value.hint
    with pytest.raises(MissingFile, match="there is no file"):
        read(tmp_path / "nowhere" / "train", languages=["en", "fr"])
    (tmp_path / "e.en").touch()
    write(tmp_path / "e.de", "1\n")
    with pytest.raises(EmptySplit, match=r"e\.en is empty"):
        read(tmp_path / "e", languages=["en", "de"])


@pytest.mark.parametrize("settings", [{"languages": ["en", "en"]}, {"languages": ["en", ""]}, {"source_column": 2}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Recipe.load({"model": "x", "task": "translation", "data": {"name": "parallel", "train": "a", **settings}})


# ------------------------------------------------------------ real data

REAL = [
    ("multi30k_en_de/train", {"languages": ["en", "de"]}, 29_000),
    ("multi30k_en_de/val", {"languages": ["en", "de"]}, 1_014),
    ("multi30k_en_de/test_2016_flickr", {"languages": ["de", "en"]}, 1_000),
    ("tatoeba_en_zh/train.txt", {}, 6_575),
    ("tatoeba_en_zh/test.txt", {}, 374),
]


@pytest.mark.field
@pytest.mark.parametrize(("name", "settings", "count"), REAL)
def test_real_parallel_text_is_read_to_the_last_line(shared_data: Path, name: str, settings: dict[str, Any], count: int) -> None:
    found = read(shared_data / name, **settings)
    assert len(found) == count and all(record.values["source"] and record.values["target"] for record in found)
