"""Splits and fingerprints do not depend on where rows lie, and are those of the plain definition."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_language
from tiny import sentences
from weitiao.core import fingerprint, spool
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Row, Turn
from weitiao.errors import WeitiaoError
from weitiao.inspect import rows as inspect_rows
from weitiao.inspect.splits import first_by_hash, take_share


def defined(rows: Sequence[Row], share: float, *, salt: str, stratum: Callable[[Row], str]) -> tuple[list[str], list[str]]:
    """Return the ids of (rest, taken), as the words of `take_share` say it, one row at a time."""
    strata: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        strata[stratum(row)].append(row)
    taken: set[str] = set()
    for name, members in strata.items():
        chance = int(fingerprint.of_text(salt + name)[:8], 16) / 2**32
        quota = min(int(share * len(members) + chance), len(members) - 1)
        copies = Counter(row.text for row in members)
        for text in sorted(copies, key=lambda text: fingerprint.of_text(salt + text)):
            if copies[text] <= quota:
                quota -= copies[text]
                taken.add(text)
    return [row.id for row in rows if row.text not in taken], [row.id for row in rows if row.text in taken]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=2), st.sampled_from(["a", "b", ""])), min_size=1, max_size=80),
    st.floats(0.05, 0.6),
    st.sampled_from(["test", "dev"]),
    st.booleans(),
)
def test_a_share_is_taken_as_defined(pairs: list[tuple[str, str]], share: float, salt: str, in_a_file: bool) -> None:
    rows = [Row(str(n), text, label) for n, (text, label) in enumerate(pairs)]
    given_rows = spool.gathered(iter(rows), most=0 if in_a_file else 100)
    rest, taken = take_share(given_rows, share, salt=salt, stratum=lambda row: row.target)
    assert ([row.id for row in rest], [row.id for row in taken]) == defined(rows, share, salt=salt, stratum=lambda row: row.target)


@given(st.lists(st.text(max_size=2), min_size=1, max_size=40), st.integers(1, 40))
def test_training_rows_are_drawn_as_defined(texts: list[str], most: int) -> None:
    rows = [Row(str(n), text) for n, text in enumerate(texts)]
    drawn = sorted(sorted(range(len(rows)), key=lambda n: (fingerprint.of_text(rows[n].text), n))[:most])
    assert [row.id for row in first_by_hash(rows, most)] == [str(n) for n in drawn]


def parts(row: Row) -> list[str]:
    return [row.id, row.text, repr(row.target), *(said for turn in row.turns for said in (turn.role, turn.content))]


def read(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, most: int) -> tuple[Any, ...]:
    monkeypatch.setattr(spool, "IN_MEMORY", most)
    try:
        data = inspect_rows.read(Recipe.load(recipe))
    except WeitiaoError as error:
        return type(error), error.message, error.hint
    assert isinstance(data.splits.train, list) == (most > 100)
    splits = [list(rows) for rows in (data.splits.train, data.splits.dev, data.splits.test, data.proof)]
    assert data.fingerprint == fingerprint.of_texts(part for rows in splits for row in rows for part in parts(row))
    said = (data.splits.said, data.splits.skipped, data.notes, data.split, data.selected_on_same_rows, data.fingerprint, data.fingerprints)
    return (*splits, *said, data.task)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data": {"test_share": 0.3, "dev_share": 0.2, "train_rows": 50}},
        {"data": {"dev": "dev.csv"}},
        {"data": {"test": "dev.csv"}},
        {"data": {"bad_rows": "skip", "train": "bad.csv"}},
        {"data": {"train": "bad.csv"}},
        {"data": {"train": "one.csv"}},
        {"data": {"test": "unknown.csv"}},
        {"task": {"problem_type": "regression"}, "data": {"label": "number"}},
        {"evaluate": {"best": False}},
        {"task": {"name": "chat", "max_length": 128}, "data": {"name": "json", "train": "chat.json"}},
        {"task": {"name": "language_modeling"}},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_rows_in_a_file_give_the_splits_fingerprints_and_errors_of_a_list(changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{text},{label},{n / 7}" for n, (text, label) in enumerate(sentences(300))]
    again = lines[:20]  # word for word: ids are counted, and dev shares texts with train
    files = {
        "rows.csv": lines + again,
        "dev.csv": lines[250:],
        "bad.csv": [*lines[:150], "too,few", ",pos,1", *lines[150:]],
        "one.csv": [line.replace("pos", "neg") for line in lines],
        "unknown.csv": [*lines[:30], "a text,other,1"],
    }
    for name, held in files.items():
        Path(name).write_text("\n".join(["text,label,number", *held]) + "\n", encoding="utf-8")
    Path("chat.json").write_text(json.dumps(tiny_language.dialogues(300)), encoding="utf-8")
    recipe = {
        "model": "minilm",
        "data": {"name": "csv", "train": "rows.csv", **changes.get("data", {})},
        "task": {"name": "text_classification", **changes.get("task", {})},
        "evaluate": changes.get("evaluate", {}),
    }
    in_memory, in_a_file = (read(recipe, monkeypatch, most=most) for most in (1000, 10))
    assert in_memory == in_a_file


def test_test_rows_bounds_the_rows_that_prove_the_result_and_never_moves_them_to_train(tmp_path: Path) -> None:
    lines = [f"{text},{label}" for text, label in sentences(200)]
    for name, held in (("train.csv", lines), ("test.csv", lines[150:])):
        (tmp_path / name).write_text("\n".join(["text,label", *held]) + "\n", encoding="utf-8")

    def read(**data: Any) -> inspect_rows.Data:
        recipe = {"model": "minilm", "data": {"name": "csv", "train": str(tmp_path / "train.csv"), **data}, "task": "text_classification"}
        return inspect_rows.read(Recipe.load(recipe))

    given = read(test=str(tmp_path / "test.csv"), test_rows=20)
    assert len(given.proof) == 20 and "test: 50 rows as given, 20 of them drawn by a hash of the text" in given.splits.said
    assert [row.id for row in read(test=str(tmp_path / "test.csv"), test_rows=20).proof] == [row.id for row in given.proof]
    whole, few = read(test_share=0.2), read(test_share=0.2, test_rows=5)
    assert len(few.proof) == 5 < len(whole.proof) and {row.id for row in few.proof} <= {row.id for row in whole.proof}
    assert [row.id for row in few.splits.train] == [row.id for row in whole.splits.train]


def test_equal_rows_have_equal_fingerprints_and_turns_are_no_rows() -> None:
    def hashed(*rows: Row) -> str:
        return inspect_rows._hashed({"train": rows}).splits["train"]

    talk, row = Row("1", "a", "b", "", (Turn("user", "a"), Turn("assistant", "b"))), Row("1", "a", "b")
    assert hashed(talk, row) == hashed(Row("1", "a", "b", "elsewhere:7", talk.turns), row)
    others = [
        [row, talk],
        [talk],
        [row, row],
        [Row("2", "a", "b", "", talk.turns), row],
        [Row("1", "a", ("b",), "", talk.turns), row],
        [row, Row("user", "a", "assistant"), row],
    ]
    assert len({hashed(talk, row), *(hashed(*rows) for rows in others)}) == 7
    flat = [Row("1", "a"), Row("user", "x"), Row("b", "c")]  # the same words one after the other
    assert hashed(Row("1", "a", None, "", (Turn("user", "x"), Turn("None", "b"), Turn("c", "None")))) != hashed(*flat)


def test_labels_that_only_rows_beyond_train_rows_have_are_known(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "label": f"class {n % 20}"} for n in range(200)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    recipe = {"model": "minilm", "data": {"name": "json", "train": str(tmp_path / "rows.json"), "train_rows": 12}, "task": "text_classification"}
    data = inspect_rows.read(Recipe.load(recipe))
    assert len(data.splits.train) == 12 and len(data.task.labels) == 20
    balanced = inspect_rows.read(Recipe.load({**recipe, "task": {"name": "text_classification", "class_weights": "balanced"}})).task.class_weights
    assert all(0.8 < weight < 1.2 for weight in balanced.values()), "a class that no drawn row has does not outweigh the others"
