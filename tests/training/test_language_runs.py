"""Whole runs of chat and language modelling on tiny models: what is written, and what does not depend on how it was done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_language
import weitiao
from tiny import DEVICE
from weitiao.errors import NotFound
from weitiao.evaluation import evaluate


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.build(tmp_path_factory.mktemp("model") / "llama", "llama")


@pytest.fixture
def train(llama: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that trains a chat recipe, sections laid over it."""
    rows = tmp_path / "chat.jsonl"
    rows.write_text("\n".join(map(json.dumps, tiny_language.dialogues(60))))

    def run(name: str = "run", **sections: Any) -> dict[str, Any]:
        recipe: dict[str, Any] = {
            "model": str(llama),
            "data": {"name": "json", "train": str(rows)},
            "task": {"name": "chat", "max_length": 96, "generate_rows": 3, "max_new_tokens": 8},
            "method": {"name": "lora", "r": 4},
            "train": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "dtype": "fp32", "device": str(DEVICE)},
        }
        for section, settings in sections.items():
            laid_over = isinstance(settings, dict) and settings.get("name", recipe.get(section, {}).get("name")) == recipe.get(section, {}).get("name")
            recipe[section] = {**recipe.get(section, {}), **settings} if laid_over else settings
        return weitiao.train(recipe, out=tmp_path / name)

    return run


def losses(report: dict[str, Any]) -> list[float]:
    return [loss for _, loss in report["curves"]["train_loss"]]


def test_a_chat_run_measures_before_and_after_and_leaves_an_adapter(train: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    report = train()
    loss, perplexity = report["metrics"]["loss"], report["metrics"]["perplexity"]
    assert loss["after"]["value"] < loss["before"]["value"] and loss["higher_is_better"] is False
    assert perplexity["after"]["value"] == pytest.approx(torch.tensor(loss["after"]["value"]).exp().item(), rel=1e-6)
    assert report["metrics"]["rougeL"]["after"]["n"] == 3 and report["baselines"] == {} and report["before_is"] == "model"
    assert report["plan"]["packing"] and report["plan"]["readout"] == "labelled positions"
    artifact = Path(report["artifact"])
    assert {p.name for p in (artifact / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert not (artifact / "model").exists() and (artifact / "tokenizer" / "chat_template.jinja").is_file()
    again = evaluate.evaluate(artifact, None)
    for name in ("loss", "perplexity", "rougeL", "stop_rate", "answer_length"):
        assert again["metrics"][name]["value"] == pytest.approx(report["metrics"][name]["after"]["value"], rel=1e-5), name
    lines = [json.loads(line) for line in (tmp_path / "run" / "predictions" / "after.jsonl").read_text().splitlines()]
    assert sum(isinstance(line["prediction"], str) for line in lines) == 3 and all(line["measures"]["tokens"] > 0 for line in lines)


def test_packed_padded_checkpointed_and_divided_runs_take_the_same_steps(train: Callable[..., dict[str, Any]]) -> None:
    expected = losses(train("packed"))
    ways: dict[str, dict[str, Any]] = {
        "padded": {"packing": False, "bucketing": False},
        "small packs": {"pack_tokens": 100},
        "checkpointed": {"gradient_checkpointing": True},
        "accumulated": {"batch_size": 2, "gradient_accumulation": 4, "packing": False, "bucketing": False},
    }
    for name, settings in ways.items():
        report = train(name, train=settings)
        assert losses(report) == pytest.approx(expected, rel=1e-4), name
        assert report["plan"]["packing"] == (settings.get("packing") is not False)


@pytest.mark.parametrize("method", ["full", "lora", {"name": "layers", "last": 1}], ids=str)
def test_what_bf16_products_trained_is_measured_and_kept_in_fp32(train: Callable[..., dict[str, Any]], method: Any) -> None:
    report = train(method=method, train={"dtype": "bf16"})
    assert report["plan"]["dtype"] == "bf16"
    again = evaluate.evaluate(report["artifact"], None)
    assert again["metrics"]["loss"]["value"] == pytest.approx(report["metrics"]["loss"]["after"]["value"], rel=1e-5)
    for parameter in weitiao.load(report["artifact"]).model.parameters():
        assert parameter.dtype == torch.float32


def test_an_adapter_is_trained_on_in_a_second_run_from_where_it_stopped(train: Callable[..., dict[str, Any]]) -> None:
    first = train("first", task={"generate_rows": 0})
    second = train("second", task={"generate_rows": 0}, method={"name": "lora", "adapter": first["artifact"] + "/adapter"})
    assert second["metrics"]["loss"]["after"]["value"] < first["metrics"]["loss"]["after"]["value"]
    assert losses(second)[0] < losses(first)[0]


def test_an_adapter_whose_base_is_gone_says_so(train: Callable[..., dict[str, Any]], llama: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(llama, base)
    report = train(model=str(base))
    shutil.rmtree(base)
    with pytest.raises(NotFound, match="base"):
        weitiao.load(report["artifact"])


def test_only_so_many_training_rows_are_used_and_always_the_same(train: Callable[..., dict[str, Any]]) -> None:
    reports = [train(name, data={"train_rows": 20}, task={"generate_rows": 0}) for name in ("one", "two")]
    assert reports[0]["rows"]["train"] == 20 and reports[0]["rows"]["test"] == reports[1]["rows"]["test"] > 0
    assert losses(reports[0]) == losses(reports[1])


def test_tied_embeddings_stay_tied_and_move_together(train: Callable[..., dict[str, Any]]) -> None:
    report = train(method="full", task={"generate_rows": 0})
    model = weitiao.load(report["artifact"]).model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    from safetensors import safe_open

    with safe_open(Path(report["artifact"]) / "model" / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - not a mapping


def test_a_long_text_is_measured_in_windows_and_by_the_byte(tmp_path: Path, llama: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("\n".join(tiny_language.texts(400)), encoding="utf-8")
    report = weitiao.train(
        model=str(llama),
        data={"name": "text", "train": str(text), "block_characters": 400},
        task={"name": "language_modeling", "max_length": 48, "end_token": False},
        train={"epochs": 2, "batch_size": 8, "learning_rate": 5e-3, "device": str(DEVICE), "dtype": "fp32"},
        out=tmp_path / "run",
    )
    metrics = report["metrics"]
    assert set(metrics) == {"loss", "perplexity", "perplexity_per_byte"} and report["divided"]["train"]["windows"] > report["rows"]["train"]
    assert 1 < metrics["perplexity_per_byte"]["after"]["value"] < metrics["perplexity"]["after"]["value"] < metrics["perplexity"]["before"]["value"]


def test_an_artifact_made_from_a_text_file_reads_another_one_the_same_way(tmp_path: Path, llama: Path) -> None:
    for name, seed in (("book.txt", 0), ("other.txt", 1)):
        (tmp_path / name).write_text("\n".join(tiny_language.texts(60, seed=seed)), encoding="utf-8")
    report = weitiao.train(
        model=str(llama),
        data={"name": "text", "train": str(tmp_path / "book.txt"), "block_characters": 300},
        task={"name": "language_modeling", "max_length": 48},
        train={"steps": 1, "device": str(DEVICE), "dtype": "fp32"},
        out=tmp_path / "run",
    )
    found = weitiao.evaluate(report["artifact"], tmp_path / "other.txt")
    assert found["n"] > 5 and found["metrics"]["perplexity_per_byte"]["value"] > 1


def test_a_masked_model_without_its_head_gets_a_new_one_and_the_report_says_so(tmp_path: Path) -> None:
    folder = tiny_language.build(tmp_path / "bert", "bert")
    import transformers

    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder)  # the body alone
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"text": text}) for text in tiny_language.texts(60)))
    report = weitiao.train(
        model=str(folder),
        data={"name": "json", "train": str(rows)},
        task={"name": "language_modeling", "masked": True, "max_length": 32},
        train={"epochs": 1, "learning_rate": 5e-3, "device": str(DEVICE), "dtype": "fp32"},
        out=tmp_path / "run",
    )
    assert report["before_is"] == "model" and any("no language-model head" in note for note in report["notes"])


def test_a_terminal_that_closes_does_not_end_the_run(train: Callable[..., dict[str, Any]]) -> None:
    from rich.console import Console as Rich

    from weitiao.record.console import Console

    class Gone:
        encoding = "utf-8"

        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

        def isatty(self) -> bool:
            return False

    console = Console(Rich(file=Gone(), force_terminal=False))  # type: ignore[arg-type]
    report = train(task={"generate_rows": 0}, train={"steps": 2})
    assert report["steps"] == 2
    from weitiao.core.events import Begun, Phase

    for event in (Phase("reading"), Begun(3, 5, "run"), Phase("sealing")):
        console(event)
