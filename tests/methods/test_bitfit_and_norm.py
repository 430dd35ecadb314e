"""Biases alone, norms alone: what trains, how many, and what is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

import weitiao
from tiny import sentences, write_csv
from weitiao.core import registry
from weitiao.errors import NoTargets

WIDTH, INNER, LAYERS = 32, 64, 3


def applied(method: str, folder: Path, kind: Any = transformers.AutoModelForSequenceClassification) -> torch.nn.Module:
    return registry.find("method", method)().apply(kind.from_pretrained(folder))


def trained(model: torch.nn.Module) -> dict[str, int]:
    return {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}


def test_bitfit_trains_every_bias_of_bert_as_many_as_the_paper_counts(tiny_bert: Path) -> None:
    found = trained(applied("bitfit", tiny_bert))
    body = {name: n for name, n in found.items() if "classifier" not in name and "pooler" not in name}
    assert all(name.endswith(".bias") for name in body)
    # of each layer q, k, v, output, two norms (6 x width), first feed-forward (inner), second (width); and the embeddings' norm
    assert sum(body.values()) == LAYERS * (7 * WIDTH + INNER) + WIDTH
    assert {name for name in found if name not in body} == {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}


def test_norm_trains_two_vectors_for_every_norm(tiny: Callable[[str], Path]) -> None:
    found = trained(applied("norm", tiny("bert")))
    assert sum(n for name, n in found.items() if "LayerNorm" in name) == (2 * LAYERS + 1) * 2 * WIDTH
    assert {name.split(".")[0] for name in found if "LayerNorm" not in name and "pooler" not in name} == {"classifier"}
    assert sum(n for name, n in trained(applied("norm", tiny("llama"))).items() if name != "score.weight") == (2 * LAYERS + 1) * WIDTH


def test_a_model_without_biases_is_refused_by_the_plan_with_what_suits_it(recipe_dict: dict[str, Any], tiny: Callable[[str], Path]) -> None:
    with pytest.raises(NoTargets, match="LlamaForSequenceClassification has no biases") as caught:
        weitiao.train(recipe_dict | {"model": str(tiny("llama")), "method": "bitfit"})
    assert "norm" in caught.value.hint


def test_a_run_writes_only_what_changed_and_plain_torch_puts_it_back(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    rows = write_csv(tmp_path / "rows.csv", sentences(80))
    train = {**recipe_dict["train"], "learning_rate": 1e-2}
    report = weitiao.train(recipe_dict | {"method": "bitfit", "train": train, "data": {"name": "csv", "train": str(rows)}}, out=tmp_path / "run")
    artifact = Path(report["artifact"])
    assert report["opens_with"]["folder"] == "delta" and not (artifact / "model").exists()
    tensors = load_file(artifact / "delta" / "delta.safetensors")
    assert sum(t.numel() for t in tensors.values()) == report["parameters"]["trainable"]
    ours = weitiao.load(artifact)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(recipe_dict["model"])
    missing, unexpected = plain.load_state_dict(tensors, strict=False)
    assert not unexpected and not {name for name in missing if name.endswith("bias")}
    ids = torch.arange(4, 14)[None]
    with torch.inference_mode():
        torch.testing.assert_close(plain.eval()(ids).logits, ours.model(ids).logits)
    assert (artifact / "delta" / "delta.safetensors").stat().st_size < 60_000
