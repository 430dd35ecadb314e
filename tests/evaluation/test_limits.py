"""Reference answers that are longer than what is generated are counted."""

from __future__ import annotations

import json
from pathlib import Path

import tiny_language
import weitiao
from tiny import DEVICE
from weitiao.core.contracts import IGNORED, Features
from weitiao.evaluation.limits import too_long
from weitiao.tasks.chat import Chat
from weitiao.tasks.text_classification import TextClassification


def answer(row: str, before: int, tokens: int) -> Features:
    """Return features that learn so many tokens behind so many others: a target says what stands at the next position."""
    return Features(row, list(range(before + tokens)), [IGNORED] * (before - 1) + [1] * tokens + [IGNORED])


def test_answers_past_the_limit_are_counted_by_row() -> None:
    task = Chat(max_new_tokens=5)
    fit = [answer("a", 3, 6), answer("b", 9, 2)]  # five tokens and the one that ends the answer
    assert too_long(task, fit) == []
    long = [*fit, answer("c", 4, 7), answer("d", 4, 9), answer("d", 2, 1)]
    (said,) = too_long(task, long)
    assert said.startswith("1 of 4 reference answer has more tokens than task.max_new_tokens=5") and said.endswith("(longest: 6).")
    assert too_long(TextClassification(labels=["a", "b"]), [Features("a", [1, 2], 0)]) == []


def test_the_report_of_a_run_says_so(tmp_path: Path) -> None:
    rows = tmp_path / "chat.json"
    rows.write_text(json.dumps([*tiny_language.dialogues(20, longest=1)]), encoding="utf-8")
    report = weitiao.train(
        model=str(tiny_language.build(tmp_path / "llama", "llama")),
        data={"name": "json", "train": str(rows)},
        task={"name": "chat", "max_length": 64, "max_new_tokens": 1, "generate_rows": 1},
        method="full",
        train={"steps": 1, "dtype": "fp32", "device": str(DEVICE)},
        out=tmp_path / "run",
    )
    assert any("more tokens than task.max_new_tokens=1" in note for note in report["notes"])
