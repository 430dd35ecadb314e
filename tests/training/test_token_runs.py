"""Tagging words with every kind of head: what is trained is saved, opened again, and says the same."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_language
import weitiao
from tiny import BAD, DEVICE, FAMILIES, FILLER, GOOD
from weitiao.core.recipe import Recipe
from weitiao.errors import BadValue, WrongHead
from weitiao.evaluation.predict import outputs
from weitiao.models import load
from weitiao.parallel.single import Single
from weitiao.training import loop, optim
from weitiao.training.loader import Loader
from weitiao.training.prepare import prepare

ONE = Single(DEVICE)
METHODS: list[dict[str, Any]] = [{"name": "full"}, {"name": "layers", "last": 1}, {"name": "lora", "r": 4}]


def sentences(count: int) -> list[dict[str, Any]]:
    """Return sentences whose good things, of one or two words, are entities."""
    rng = random.Random(0)
    rows = []
    for n in range(count):
        tokens, tags = [str(n % 100)], ["O"]
        for _ in range(1 + n % 3):
            length = rng.randint(1, 2)
            tokens += [rng.choice(FILLER), *rng.choices(GOOD, k=length), rng.choice(FILLER), rng.choice(BAD)]
            tags += ["O", "B-FINE", *["I-FINE"] * (length - 1), "O", "B-POOR"]
        rows.append({"tokens": tokens, "tags": tags})
    return rows


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    path.write_text(json.dumps(sentences(400)))
    return path


@pytest.fixture(scope="module")
def folder_of(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family's name to the folder of a tiny model of it: with a tokenizer of words, or of bytes (gpt2)."""
    built: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family in FAMILIES:
            return tiny(family)
        if family not in built:
            built[family] = tiny_language.build(tmp_path_factory.mktemp(family), family)
        return built[family]

    return folder


def recipe(model: Path, file: Path, **sections: Any) -> dict[str, Any]:
    return {
        "model": str(model),
        "data": {"name": "json", "train": str(file)},
        "task": {"name": "token_classification", "max_length": 64, **sections.pop("task", {})},
        "train": {"steps": 3, "batch_size": 8, "learning_rate": 3e-3, "dtype": "fp32", "device": str(DEVICE), "dropout": 0.0},
        **sections,
    }


def test_what_is_saved_says_the_same_in_a_fresh_process_with_plain_transformers(folder_of: Callable[[str], Path], file: Path, tmp_path: Path) -> None:
    expected: dict[str, Any] = {}
    for family in (*FAMILIES, "gpt2"):
        for number, method in enumerate(METHODS):
            made = prepare(Recipe.load(recipe(folder_of(family), file, method=method)))
            task, own = made.recipe.task, made.recipe.method
            model = own.apply(load.weights(made.located, made.config, task.head, seed=1).model.to(DEVICE))
            features, layout = task.encode(made.data.splits.train[:16], made.tokenizer), made.tokenizer.layout()
            fresh = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
            loader = Loader(features, task, layout=layout, batch_size=8, gradient_accumulation=1, seed=1, bucketing=True)
            optimizer = optim.optimizer(own.groups(model), made.recipe.train)
            schedule = loop.Schedule(1e-2, 0, 4, "constant")
            kept: dict[str, Any] = {"method": own, "strategy": ONE, "start": 0, "seed": 1, "dtype": "fp32", "max_grad_norm": 1.0}
            losses = [float(done.loss) for done in loop.steps(model, task.objective(), loader, optimizer, schedule, **kept)]
            assert losses[-1] < losses[0], (family, method)
            heads = [name for name in fresh if any(word in name for word in ("classifier", "score")) and "lora" not in name]
            assert heads and all(not torch.equal(fresh[name], dict(model.named_parameters())[name]) for name in heads), (family, method)
            folder = tmp_path / f"{family}-{number}"
            own.save(model, folder)
            said = outputs(model, task, features, layout=layout, strategy=ONE, batch_size=8).values
            opened = own.load(folder, task.head).to(DEVICE)
            made.tokenizer.suit(opened)
            torch.testing.assert_close(list(outputs(opened, task, features, layout=layout, strategy=ONE, batch_size=8).values), list(said), rtol=0, atol=1e-5)
            kind = "adapter" if (folder / "adapter").is_dir() else "model"
            expected[str(folder / kind)] = {
                "ids": [list(f.input_ids) for f in features],
                "logits": [line.tolist() for line in said],
                "auto_class": load.auto_class(task.head, made.config),
            }
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    code = """
import json, sys, torch, peft, transformers
for folder, case in json.load(open(sys.argv[1])).items():
    labels = len(case["logits"][0][0])
    if folder.endswith("adapter"):
        assert json.load(open(folder + "/adapter_config.json"))["task_type"] == {
            "AutoModelForTokenClassification": "TOKEN_CLS", "AutoModelForSequenceClassification": "SEQ_CLS"}[case["auto_class"]]
        model = getattr(peft, case["auto_class"].replace("AutoModel", "AutoPeftModel")).from_pretrained(folder, num_labels=labels).eval()
        inside = model.get_base_model()
    else:
        model = inside = getattr(transformers, case["auto_class"]).from_pretrained(folder).eval()
        assert model.config.id2label[1] == "B-FINE"
    for ids, logits in zip(case["ids"], case["logits"]):
        with torch.no_grad():
            if case["auto_class"] == "AutoModelForTokenClassification":
                got = model(input_ids=torch.tensor([ids])).logits[0]
            else:
                got = inside.score(inside.base_model(input_ids=torch.tensor([ids])).last_hidden_state)[0]
        torch.testing.assert_close(got, torch.tensor(logits), rtol=1e-4, atol=1e-5, msg=lambda m: folder + m)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "expected.json")], check=True, timeout=240)


@pytest.fixture(scope="module")
def trained(folder_of: Callable[[str], Path], file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of a run that learns the task, with a test row of odd tags and a type that no training row has."""
    root = tmp_path_factory.mktemp("run")
    odd = {"tokens": ["the", "good", "film", "was", "cold"], "tags": ["O", "I-FINE", "O", "B-ODD", "B-POOR"]}
    (root / "test.json").write_text(json.dumps([*sentences(460)[400:], odd]))
    settings = recipe(folder_of("gemma3"), file, train={"steps": 150, "batch_size": 16, "learning_rate": 5e-3, "dtype": "fp32", "device": str(DEVICE)})
    settings["data"]["test"] = str(root / "test.json")
    return weitiao.train(**settings, out=root / "run")


def test_a_run_proves_entities_against_honest_baselines(trained: dict[str, Any]) -> None:
    f1 = trained["metrics"]["f1"]
    assert trained["main_metric"] == "f1" and list(trained["metrics"]) == ["f1", "precision", "recall", "accuracy"]
    assert f1["after"]["value"] > 0.85 > f1["before"]["value"] and trained["before_is"] == "head_only"
    assert set(trained["baselines"]) == {"frequent_tag", "head_only"}
    assert [entry["label"] for entry in trained["per_class"]] == ["FINE", "ODD", "POOR"]
    assert trained["per_class"][1]["after"]["recall"] == 0.0 and trained["per_class"][1]["n"] == 1


def test_what_is_odd_about_the_rows_is_in_the_report(trained: dict[str, Any]) -> None:
    notes = " ".join(trained["notes"])
    assert "test: 1 tag is out of place in IOB2" in notes and "train:" not in notes
    assert "word 2 (good, I-FINE)" in notes and "no training row has the type 'ODD'" in notes


def test_rows_of_the_report_are_written_as_people_read_entities(trained: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (Path(trained["run"]) / "predictions" / "after.jsonl").read_text().splitlines()]
    assert all({"type", "start", "end", "text"} <= set(entity) for line in lines for entity in line["target"] + line["prediction"])
    page = Path(trained["report"]).read_text()
    assert "{&#39;type" not in page and "{'type" not in page
    changed = trained["changes"]["examples_better"][0]["target"]
    assert "; ".join(f"{entity['text']} {entity['type']}" for entity in changed) in page
    assert "Usual tag of each word" in page


def test_a_plain_text_is_tagged_where_its_words_stand(trained: dict[str, Any], cli: Callable[..., Any], tmp_path: Path) -> None:
    predictor = weitiao.load(trained["artifact"])
    text = "12 the warm bright, film  was"
    (found,) = predictor.predict(text)
    assert found.value and all(text[entity["start_char"] : entity["end_char"]] == entity["text"] for entity in found.value)
    assert {"type": "FINE", "text": "warm bright"}.items() <= found.value[0].items()
    tokens, words = predictor.predict([{"tokens": ["12", "the", "warm", "film"]}, {"words": ["12", "the", "warm", "film"]}])
    assert tokens.value == words.value and [entity["text"] for entity in tokens.value] == ["warm"]
    answer = cli("predict", trained["artifact"], "-", stdin="12 the warm film\n")
    assert answer.code == 0 and json.loads(answer.out)["prediction"] == tokens.value
    (tmp_path / "new.json").write_text(json.dumps([{"tokens": ["12", "the", "warm", "film"], "tags": ["O", "O", "B-FINE", "O"]}]))
    assert json.loads(cli("predict", trained["artifact"], tmp_path / "new.json").out)["prediction"] == tokens.value
    assert cli("evaluate", trained["artifact"], tmp_path / "new.json", "--json").json()["metrics"]["f1"]["value"] == 1.0


def test_a_sentence_of_any_length_is_tagged_to_its_end(trained: dict[str, Any]) -> None:
    (found,) = weitiao.load(trained["artifact"]).predict([{"tokens": ["the", "film", "was", "warm"] * 60}])
    assert {entity["start"] for entity in found.value} >= {3, 239} and all(entity["start"] % 4 == 3 for entity in found.value)


def test_features_of_words_come_back_from_the_cache(folder_of: Callable[[str], Path], file: Path) -> None:
    from weitiao.training import feature_cache
    from weitiao.training.prepare import encode

    made = prepare(Recipe.load(recipe(folder_of("bert"), file)))
    assert feature_cache.basis(made.recipe.task, made.tokenizer) is not None
    first, second = (list(encode(made)[1].train) for _ in range(2))
    assert first == second and any(place > 0 for place in second[0].places)


def test_plain_tags_are_trained_and_scored_by_word(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    rows = [{"tokens": row["tokens"], "tags": ["NUM", *("JJ" if tag[-1] in "ER" else "NN" for tag in row["tags"][1:])]} for row in sentences(60)]
    (tmp_path / "pos.json").write_text(json.dumps(rows))
    settings = recipe(folder_of("bert"), tmp_path / "pos.json")
    with pytest.raises(BadValue, match="evaluate.best: rows like these have no metric 'f1'"):
        prepare(Recipe.load({**settings, "evaluate": {"best": "f1"}}))
    report = weitiao.train(**settings, out=tmp_path / "run")
    assert report["main_metric"] == "accuracy" and {entry["label"] for entry in report["per_class"]} == {"NUM", "JJ", "NN"}
    assert report["baselines"]["frequent_tag"]["accuracy"]["value"] > 0.8


def test_an_encoder_decoder_without_such_a_head_is_refused(folder_of: Callable[[str], Path], file: Path) -> None:
    with pytest.raises(WrongHead, match="bart has no head for the task"):
        prepare(Recipe.load(recipe(folder_of("bart"), file)))
