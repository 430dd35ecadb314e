"""Every method on every kind of task, as a whole run: planned, trained, sealed, and read back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_language
import weitiao
from tiny import BAD, GOOD, choices, questions, sentences
from weitiao.core import registry
from weitiao.errors import WeitiaoError

SETTINGS: dict[str, dict[str, Any]] = {
    "attention_heads": {"most_important": 3, "rows": 8},
    "subnetwork": {"rows": 8, "density": 0.02},
    "prompt_tuning": {"num_virtual_tokens": 4},
    "p_tuning": {"num_virtual_tokens": 4},
    "prefix_tuning": {"num_virtual_tokens": 4},
    "adalora": {"init_r": 4, "target_r": 2},
    "vera": {"r": 8},
    "peft": {"type": "loha"},
    "combined": {"methods": ["norm", {"name": "adapter", "form": "parallel", "bottleneck_size": 4}]},
}
"""What the defaults of a method would be too large for here, or what it needs."""
KINDS = {
    "conversations": ("llama", {"name": "chat", "max_length": 64, "generate_rows": 2, "max_new_tokens": 4}),
    "texts": ("gpt2", {"name": "language_modeling", "max_length": 24}),
    "hidden words": ("roberta", {"name": "language_modeling", "masked": True, "max_length": 24}),
    "translations": ("t5", {"name": "translation", "max_length": 48, "max_new_tokens": 4, "generate_rows": 2}),
    "tags": ("bert", {"name": "token_classification", "max_length": 64}),
    "vectors": ("bert", {"name": "embedding", "max_length": 32}),
    "labels": ("deberta", {"name": "text_classification", "max_length": 48}),
    "pairs": ("roberta", {"name": "text_pair", "max_length": 48}),
    "relations": ("bert", {"name": "relation_extraction", "max_length": 64, "markers": ["0", "1", "2", "3"]}),
    "questions": ("bert", {"name": "question_answering", "max_length": 64, "doc_stride": 4}),
    "options": ("llama", {"name": "multiple_choice", "max_length": 48}),
    "summaries": ("bart", {"name": "summarization", "max_length": 48, "max_new_tokens": 4, "generate_rows": 2}),
    "sums": ("llama", {"name": "math_reasoning", "max_length": 250, "max_new_tokens": 4, "generate_rows": 2}),
    "programs": ("gpt2", {"name": "code_generation", "max_length": 250, "max_new_tokens": 4, "generate_rows": 2, "run_tests": False}),
    "orders": ("llama", {"name": "controlled_generation", "max_length": 128, "begin_words": 1, "max_new_tokens": 4, "generate_rows": 2}),
}
"""Kind of task -> the family it is tried on, and the task. The table in README.md is made of this and of what is refused."""
REFUSED = {
    ("qlora", "texts"): "no plain linear layers",
    ("qlora", "programs"): "no plain linear layers",
    ("bitfit", "conversations"): "no biases",
    ("bitfit", "translations"): "no biases",
    ("bitfit", "options"): "no biases",
    ("bitfit", "sums"): "no biases",
    ("bitfit", "orders"): "no biases",
    ("peft", "texts"): "Conv1D",
    ("peft", "programs"): "Conv1D",
    ("prefix_tuning", "translations"): "two stacks",
    ("prefix_tuning", "summaries"): "two stacks",
    ("prefix_tuning", "labels"): "cannot be given keys and values",
}
"""Method and kind that cannot go together -> words of the reason."""
THIN = {("adapter", "conversations"), ("subnetwork", "hidden words"), ("prompt_tuning", "translations"), ("prefix_tuning", "tags"), ("combined", "pairs")}
"""Cells of the quick half."""


ROWS: dict[str, Callable[[int, str, str], dict[str, Any]]] = {
    "pairs": lambda n, text, label: {"sentence1": text.split()[0], "sentence2": text, "label": label},
    "relations": lambda n, text, label: {"tokens": text.split(), "head": [0, 1], "tail": [len(text.split()) - 1, len(text.split())], "label": label},
    "summaries": lambda n, text, label: {"text": text, "summary": text.split()[0]},
    "sums": lambda n, text, label: {"question": f"{n} and {n}?", "answer": f"#### {2 * n}"},
    "programs": lambda n, text, label: {"prompt": f"def f{n}(x):\n", "completion": f"    return x + {n}\n", "test": f"assert f{n}(1) == {n + 1}"},
    "orders": lambda n, text, label: {"text": text, "label": label},
}
"""Kind -> its row of a number, a sentence and its label."""


def rows_of(kind: str) -> list[dict[str, Any]]:
    if kind == "conversations":
        return tiny_language.dialogues(24)
    if kind == "translations":
        return [dict(pair) for pair in tiny_language.pairs(24)]
    if kind == "tags":
        return [{"tokens": text.split(), "tags": ["B-X" if word in {*GOOD, *BAD} else "O" for word in text.split()]} for text, _ in sentences(24)]
    if kind == "vectors":
        return [{"query": text, "positive": f"the {text.split()[-1]} day"} for text, _ in sentences(24)]
    if kind == "labels":
        return [{"text": text, "label": label} for text, label in sentences(24)]
    if kind in ROWS:
        return [ROWS[kind](n, text, label) for n, (text, label) in enumerate(sentences(24))]
    if kind in ("questions", "options"):
        return {"questions": questions, "options": choices}[kind](24)
    return [{"text": text} for text in tiny_language.texts(24)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Return a function from a kind of task to the folder of its model and the file of its rows."""
    root, built = tmp_path_factory.mktemp("kinds"), dict[str, tuple[Path, Path]]()

    def of(kind: str) -> tuple[Path, Path]:
        if kind not in built:
            rows = root / f"{kind}.jsonl"
            rows.write_text("\n".join(map(json.dumps, rows_of(kind))))
            built[kind] = tiny_language.build(root / kind, KINDS[kind][0]), rows
        return built[kind]

    return of


CELLS = [
    pytest.param(method, kind, marks=() if (method, kind) in THIN else pytest.mark.soak, id=f"{method} {kind}")
    for method, kind in itertools.product(registry.names("method"), KINDS)
]


@pytest.mark.parametrize(("method", "kind"), CELLS)
def test_every_method_goes_through_every_kind_of_task(made: Callable[[str], tuple[Path, Path]], tmp_path: Path, method: str, kind: str) -> None:
    model, rows = made(kind)
    asked = {
        "model": str(model),
        "data": {"name": "json", "train": str(rows)},
        "task": KINDS[kind][1],
        "method": {"name": method, **SETTINGS.get(method, {})},
        "train": {"steps": 3, "batch_size": 4, "dtype": "fp32", "device": "cpu", "gradient_checkpointing": True},
        "evaluate": {"best": False},
    }
    if (method, kind) in REFUSED:
        with pytest.raises(WeitiaoError, match=REFUSED[method, kind]):
            weitiao.train(asked, out=tmp_path / "run")
        return
    report = weitiao.train(asked, out=tmp_path / "run")
    assert report["steps"] == 3 and 0 < report["parameters"]["trainable"] <= report["parameters"]["total"]
    assert (Path(report["artifact"]) / report["opens_with"]["folder"]).is_dir()
