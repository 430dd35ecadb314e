"""Mixtures: weights act on train alone and after splitting, records know their source, and mistakes inside are named by their key."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weitiao.core import spool
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Row
from weitiao.errors import BadRow, BadValue, MissingColumn, RecipeError
from weitiao.inspect import rows
from weitiao.sources.csv import Csv
from weitiao.sources.mixture import Mixture


def table(path: Path, count: int, word: str, header: str = "text,label") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(header + "\n" + "".join(f"{word} number {n},{'pos' if n % 2 else 'neg'}\n" for n in range(count)))
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    """Return a function that writes a recipe with a mixture of a.csv (100 rows) and b.csv (40 rows) and loads it."""
    table(tmp_path / "a.csv", 100, "apple")
    table(tmp_path / "b.csv", 40, "brick", "sentence,mood")
    table(tmp_path / "dev_b.csv", 7, "dust", "sentence,mood")

    def load(first: Any = None, second: Any = None, **data: Any) -> Recipe:
        one = {"name": "csv", "train": "a.csv", **(first or {})}
        two = {"name": "csv", "train": "b.csv", "text": "sentence", "label": "mood", **(second or {})}
        document = {"model": "x", "data": {"name": "mixture", "sources": [one, two], **data}, "task": "text_classification"}
        (tmp_path / "r.yaml").write_text(json.dumps(document, indent=1))
        return Recipe.load(tmp_path / "r.yaml")

    return load


def words(found: Any) -> Counter[str]:
    return Counter(row.text.split()[0] for row in found)


def test_every_record_says_which_source_it_came_from_and_has_the_mixtures_columns(recipe: Any, tmp_path: Path) -> None:
    data = recipe({"title": "fruit"}).data
    found = list(data.records("train", pytest.fail))
    assert Counter(r.values["from_source"] for r in found) == {"fruit": 100, "b": 40}
    assert found[100].values["text"] == "brick number 0" and found[100].values["label"] == "neg"
    assert found[100].place == f"{tmp_path}/b.csv:2", "paths of the held sources are relative to the recipe"


def test_weights_repeat_and_thin_out_train_and_nothing_else(recipe: Any) -> None:
    plain, weighed = rows.read(recipe()), rows.read(recipe({"weight": 0.5}, {"weight": 2.5}))
    for split in ("dev", "test"):
        before, after = getattr(plain.splits, split), getattr(weighed.splits, split)
        assert list(before) == list(after) and len({row.text for row in after}) == len(after), "split off first, each row once"
    before, after = words(plain.splits.train), words(weighed.splits.train)
    assert after == {"apple": round(before["apple"] * 0.5), "brick": 2 * before["brick"] + round(before["brick"] * 0.5)}
    assert set(Counter(r.text for r in weighed.splits.train if r.text.startswith("brick")).values()) == {2, 3}
    assert len({row.id for row in weighed.splits.train}) == len(weighed.splits.train), "features are found by the ids of their rows"
    assert f"train: {len(weighed.splits.train)} rows, drawn by weight from {len(plain.splits.train)}" in weighed.splits.said


def test_the_same_rows_are_drawn_whatever_the_order_of_the_files(recipe: Any, tmp_path: Path) -> None:
    first = rows.read(recipe({"weight": 0.5}))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    assert sorted(r.text for r in rows.read(recipe({"weight": 0.5})).splits.train) == sorted(r.text for r in first.splits.train)


def test_many_rows_are_drawn_from_the_file_that_holds_them(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small = rows.read(recipe({"weight": 2})).splits.train
    monkeypatch.setattr(spool, "IN_MEMORY", 10)
    large = rows.read(recipe({"weight": 2})).splits.train
    assert not isinstance(large, list) and list(large) == list(small)


def test_train_rows_bound_what_was_drawn(recipe: Any) -> None:
    assert len(rows.read(recipe({"weight": 3}, train_rows=50)).splits.train) == 50


def test_dev_rows_are_those_of_the_sources_that_have_some(recipe: Any) -> None:
    found = rows.read(recipe(None, {"dev": "dev_b.csv", "weight": 9}))
    assert words(found.splits.dev) == {"dust": 7}
    assert found.splits.said.count("dev: 7 rows as given") == 1


def test_a_mixture_survives_being_written_and_read(recipe: Any) -> None:
    given = recipe({"weight": 2, "title": "fruit"}, {"bad_rows": "error"}, text="body")
    assert Recipe.load(given.settings()).settings() == given.settings()
    again = given.data.revised(cache=False)
    assert again.sources == given.data.sources and given.data.settings()["sources"][0]["weight"] == 2.0


def test_titles_are_as_long_as_it_takes_to_tell_the_files_apart(tmp_path: Path) -> None:
    def titles(*paths: str) -> list[str]:
        return Mixture.model_validate({"sources": [{"name": "csv", "train": path} for path in paths]}).titles()

    assert titles("/x/a.csv", "/x/b.csv") == ["a", "b"]
    assert titles("/x/a/train.csv", "/x/b/train.csv") == ["a/train", "b/train"]
    assert titles("/x/a.csv", "/x/a.csv") == ["1 a", "2 a"]


def test_sources_of_different_kinds_go_together(tmp_path: Path) -> None:
    table(tmp_path / "a.csv", 4, "apple")
    (tmp_path / "b.jsonl").write_text('{"title": "one", "body": "two", "label": "x"}\n')
    mixture = Mixture.model_validate(
        {
            "sources": [
                {"name": "csv", "train": str(tmp_path / "a.csv"), "id": "text"},
                {"name": "json", "train": str(tmp_path / "b.jsonl"), "text": ["title", "body"]},
            ]
        }
    )
    found = list(mixture.records("train", pytest.fail))
    assert found[0].id == "1:apple number 0" and found[-1].values["text"] == "one two"
    other = mixture.for_file(str(tmp_path / "new.jsonl"))
    assert other.name == "json" and other.text == ["title", "body"] and other.test == str(tmp_path / "new.jsonl")
    assert mixture.for_file("x.csv").name == "csv" and mixture.for_file("x.csv").id == "text"
    assert mixture.endings() == {".csv", ".jsonl"}


@pytest.mark.parametrize(
    ("first", "data", "said"),
    [
        ({"trian": "a.csv"}, {}, "data.sources.0.trian: csv has no setting 'trian'. Did you mean 'train'?"),
        ({"name": "cvs"}, {}, "data.sources.0.name: there is no source 'cvs'. Did you mean 'csv'?"),
        ({"header": "perhaps"}, {}, "data.sources.0.header: expected true or false, got 'perhaps'"),
        ({"weight": -1}, {}, "data.sources.0.weight: input should be greater than 0, got -1"),
        ({"weight": "much"}, {}, "data.sources.0.weight: expected number, got 'much'"),
        ({"dev_share": 0.2}, {}, "data.sources.0.dev_share: this is said of all rows together"),
        ({"bad_rows": "skip"}, {}, "data.sources.0.bad_rows: this is said of all rows together"),
        ({"label": ["x", "y"]}, {}, "data.sources.0.label: several label columns"),
        ({"name": "mixture", "sources": ["csv"], "train": None}, {}, "data.sources.0.name: a mixture cannot stand in a mixture"),
        ({}, {"train": "a.csv"}, "data: train is a setting of each source, not of the mixture"),
        ({}, {"sources": []}, "data: sources is empty"),
        ({}, {"sources": "csv"}, "data.sources: expected list of mapping, got 'csv'"),
        ({}, {"sources": [7]}, "data.sources.0: expected a name and settings, got 7"),
        ({"title": "b"}, {"sources": [{"name": "csv", "title": "b"}, {"name": "json", "title": "b"}]}, "data: two sources have the same title"),
    ],
)
def test_a_mistake_inside_a_source_is_named_by_its_key(recipe: Any, tmp_path: Path, first: Any, data: Any, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(first, **data)
    assert said in caught.value.message and caught.value.hint and "\n" not in caught.value.message
    assert str(tmp_path / "r.yaml") + ":" in caught.value.message or said.startswith("data: ")


def test_several_mistakes_are_all_said(recipe: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe({"trian": "a"}, {"headr": True}, dev_shaer=0.1)
    assert [problem.message.partition(": ")[2].partition(":")[0] for problem in caught.value.problems] == ["data.sources.0.trian", "data.sources.1.headr"]


def test_columns_that_are_not_there_are_named_with_their_record(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(MissingColumn, match=r"b.csv:2: there is no column 'sentense' for the text. Did you mean 'sentence'\?"):
        list(recipe(None, {"text": "sentense"}).data.records("train", pytest.fail))
    with pytest.raises(BadValue, match=r"data.origin: .*a.csv:2 has a column 'label' already"):
        list(recipe(origin="label").data.records("train", pytest.fail))


def test_bad_rows_of_every_source_are_named_together(recipe: Any, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text((tmp_path / name).read_text() + "too, many, cells\n")
    with pytest.raises(BadRow, match=r"(?s)2 rows cannot be used.*a.csv:102: .*b.csv:42: "):
        rows.read(recipe())
    assert rows.read(recipe(bad_rows="skip")).splits.skipped["train"].count == 2


def test_a_mixture_trains_and_its_artifact_reads_new_files_as_the_source_of_their_ending(
    cli: Callable[..., Any], recipe_dict: dict[str, Any], write_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "a.csv", 60, "apple")
    objects = "".join(json.dumps({"body": f"brick number {n}", "label": ["neg", "pos"][n % 2]}) + "\n" for n in range(60))
    (tmp_path / "b.jsonl").write_text(objects)
    sources = [{"name": "csv", "train": "a.csv", "weight": 2}, {"name": "json", "train": "b.jsonl", "text": "body", "weight": 0.5}]
    report = cli("train", write_recipe({**recipe_dict, "data": {"name": "mixture", "sources": sources}}), "train.steps=2", "--json").json()
    assert "drawn by weight from" in json.dumps(report)
    (tmp_path / "new.jsonl").write_text(objects)
    answer = cli("evaluate", report["artifact"], tmp_path / "new.jsonl", "--json")
    assert answer.code == 0 and answer.json()["n"] == 60, answer.err


def test_only_mixtures_draw() -> None:
    given = [Row("a", "text")]
    assert Csv(train="x").drawn(given) is given
