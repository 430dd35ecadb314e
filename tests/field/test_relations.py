"""Relations of real sentences: every one is read, and its entities are where its authors marked them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from weitiao.core.recipe import Recipe
from weitiao.inspect.rows import read

pytestmark = pytest.mark.field


def test_every_sentence_of_semeval_is_read_with_both_entities(shared_data: Path) -> None:
    pytest.importorskip("weitiao.sources.semeval", reason="the source semeval is not there")
    folder = shared_data / "semeval2010_task8"
    files = {"train": str(folder / "TRAIN_FILE.TXT"), "test": str(folder / "TEST_FILE_FULL.TXT")}
    found = read(Recipe.load({"model": "m", "data": {"name": "semeval", **files}, "task": "relation_extraction", "evaluate": {"best": False}}))
    assert found.splits.sizes() == {"train": 8000, "dev": 0, "test": 2717}
    assert len(found.task.labels) == 19 and found.task.negative_label == "Other"
    marked = re.findall(r"<e1>(.*?)</e1>.*?<e2>(.*?)</e2>", (folder / "TRAIN_FILE.TXT").read_text(encoding="utf-8"))
    assert [(row.parts[1], row.parts[3]) for row in found.splits.train] == marked
    assert all(f"@ {head} @" in row.text and f"# {tail} #" in row.text for row, (head, tail) in zip(found.splits.train, marked, strict=True))
