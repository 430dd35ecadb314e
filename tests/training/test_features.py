"""Features in flat arrays are the features that went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.core.contracts import Features
from weitiao.models.layout import lengths
from weitiao.training.features import Builder, FeatureTable, opened

ids = st.lists(st.integers(0, 300_000), min_size=1, max_size=6)
tokens = st.lists(st.integers(-100, 300_000), min_size=1, max_size=6)
KINDS: dict[str, Any] = {
    "none": st.none(),
    "class": st.integers(0, 1000),
    "number": st.floats(allow_nan=False),
    "flags": st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3),
    "ids": tokens,
    "words": st.text(max_size=3),
    "anything": st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | tokens | st.tuples(st.integers()) | st.text(max_size=2),
}


def built(features: list[Features], parts: int = 3) -> Builder:
    builder = Builder()
    for start in range(0, len(features), parts):
        part = features[start : start + parts]
        builder.add(part, {feature.row: start + n for n, feature in enumerate(part)})
    return builder


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_features_come_back_as_they_went_in(data: Any, kind: str) -> None:
    some = st.builds(Features, st.text(st.characters(exclude_categories=[]), max_size=3), ids, KINDS[kind], st.integers(0, 9), st.integers(0, 9))
    features = data.draw(st.lists(some, max_size=10))
    builder = built(features)
    table = builder.table()
    assert list(table) == features and len(table) == len(features) and table[2:5] == features[2:5] and table[::-1] == features[::-1]
    assert [type(feature.target) for feature in table] == [type(feature.target) for feature in features]
    assert lengths(table).tolist() == lengths(features).tolist() == [len(feature) for feature in features]
    assert table.cuts.tolist() == [feature.cut for feature in features]


@pytest.mark.parametrize("kind", ["none", "class", "number", "flags", "ids"])
def test_features_in_a_file_come_back_as_they_went_in(kind: str, tmp_path: Path) -> None:
    target = {"none": None, "class": 3, "number": 0.1, "flags": [0.0, 1.0], "ids": [5, -100, 7]}[kind]
    features = [Features(f"row {n // 2}", list(range(n % 7 + 1)), target, n % 2, n % 3) for n in range(1000)]
    builder = built(features, 128)
    assert builder.keepable
    facts = builder.save(tmp_path / "features.bin")
    assert list(opened(tmp_path / "features.bin", facts)) == features == list(builder.table())
    with (tmp_path / "features.bin").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    with pytest.raises(ValueError, match="damaged"):
        opened(tmp_path / "features.bin", facts)


def test_targets_of_another_kind_are_held_as_they_are_and_not_kept() -> None:
    features = [Features("a", [1], 1), Features("b", [2], 2), Features("c", [3], "three")]
    builder = built(features, 2)
    assert list(builder.table()) == features and not builder.keepable
    large = [Features("a", [1], 2**40)]
    assert list(built(large).table()) == large


def test_no_features_are_a_table_too(tmp_path: Path) -> None:
    facts = Builder().save(tmp_path / "none")
    assert list(Builder().table()) == [] == list(opened(tmp_path / "none", facts))
    assert lengths([]).tolist() == [] and isinstance(Builder().table(), FeatureTable)


def test_a_table_says_which_row_each_window_is_of() -> None:
    builder = Builder()
    builder.add([Features("a", [1]), Features("a", [2]), Features("c", [3])], {"a": 0, "b": 1, "c": 2})
    builder.add([Features("d", [4])], {"d": 3})
    assert builder.table().numbers.tolist() == [0, 0, 2, 3]


def test_columns_that_outgrow_memory_are_read_from_their_file() -> None:
    features = [Features(f"{n:012d}", [n, n + 1, n + 2], [float(n), 0.5]) for n in range(120_000)]
    table = built(features, 8192).table()
    assert table[119_999] == features[119_999] and table[0] == features[0] and int(np.sum(lengths(table))) == 360_000
