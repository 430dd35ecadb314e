from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny_language
from tiny import FAMILIES
from weitiao.core.contracts import Head
from weitiao.errors import ModelError, NotFound
from weitiao.models import attention, dropout, load, locate, precision
from weitiao.models.anatomy import anatomy
from weitiao.models.tokens import Tokenizer, positions
from weitiao.parallel.single import Single
from weitiao.training import optim

HEAD = Head("AutoModelForSequenceClassification", {"num_labels": 2, "id2label": {0: "neg", 1: "pos"}, "label2id": {"neg": 0, "pos": 1}})


def loaded(folder: Path, head: Head = HEAD, seed: int = 1) -> load.Loaded:
    located = locate.locate(str(folder))
    return load.weights(located, load.configuration(located, head), head, seed=seed)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_head_is_drawn_from_the_seed_and_nothing_else(tiny: Callable[[str], Path], family: str) -> None:
    first, again, other = (loaded(tiny(family), seed=seed) for seed in (1, 1, 2))
    assert first.head_is_new
    for (name, a), (_, b) in zip(first.model.named_parameters(), again.model.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    differ = {n for (n, a), (_, b) in zip(first.model.named_parameters(), other.model.named_parameters(), strict=True) if not torch.equal(a, b)}
    assert differ and not any(n.startswith(f"{first.model.base_model_prefix}.") and "pooler" not in n for n in differ)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_head_with_the_same_labels_is_kept_and_one_with_others_is_replaced(tiny: Callable[[str], Path], family: str, tmp_path: Path) -> None:
    model = loaded(tiny(family)).model
    model.save_pretrained(tmp_path / "trained")
    shutil.copy(tiny(family) / "tokenizer.json", tmp_path / "trained")
    again = loaded(tmp_path / "trained", seed=5)
    assert not again.head_is_new
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.model.parameters(), strict=True))
    others = Head(HEAD.auto_class, {"num_labels": 2, "id2label": {0: "cat", 1: "dog"}, "label2id": {"cat": 0, "dog": 1}})
    replaced = loaded(tmp_path / "trained", others, seed=5)
    assert replaced.head_is_new and "other labels (neg, pos)" in replaced.note
    more = Head(HEAD.auto_class, {"num_labels": 3, "id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}})
    assert loaded(tmp_path / "trained", more).head_is_new


def test_weights_that_lack_part_of_the_body_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(ModelError, match="the weights lack 16 tensors of the body"):
        loaded(tmp_path / "m")


def test_pickled_weights_are_not_opened(tiny_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(NotFound, match=r"there is no model\.safetensors"):
        loaded(tmp_path / "m")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_dropout_override_reaches_every_dropout(tiny: Callable[[str], Path], family: str) -> None:
    located = locate.locate(str(tiny(family)))
    for rate in (0.0, 0.37):
        model = load.skeleton(load.configuration(located, HEAD, dropout=rate), HEAD)
        found = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
        assert found <= {rate}


@pytest.mark.parametrize("family", FAMILIES)
def test_anatomy_gives_every_parameter_one_place(tiny: Callable[[str], Path], family: str) -> None:
    model = loaded(tiny(family)).model
    parts = anatomy(model)
    names = [*parts.embeddings, *(n for layer in parts.layers for n in layer), *parts.head]
    assert sorted(names) == sorted(n for n, _ in model.named_parameters())
    assert len(parts.layers) == 3 and len({len(layer) for layer in parts.layers}) == 1
    assert any("classifier" in n or "score" in n for n in parts.head) and any("embed" in n for n in parts.embeddings)


def test_padding_and_truncation_written_in_a_tokenizer_file_are_ignored(tiny_bert: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Raw

    shutil.copytree(tiny_bert, tmp_path / "m")
    raw = Raw.from_file(str(tmp_path / "m" / "tokenizer.json"))
    raw.enable_padding(length=50)
    raw.enable_truncation(5)
    raw.save(str(tmp_path / "m" / "tokenizer.json"))
    tokens = Tokenizer(locate.locate(str(tmp_path / "m")), 66)
    assert [len(ids) for ids, _ in tokens.encode(["good", "the film was a good story"], 32)] == [3, 8]


def test_cut_tokens_are_counted_and_the_end_token_stays(tiny_bert: Path) -> None:
    tokens = Tokenizer(locate.locate(str(tiny_bert)), 66)
    [(ids, cut), (short, none)] = tokens.encode(["the film was a good story", "good"], 5)
    assert len(ids) == 5 and cut == 3 and none == 0
    assert ids[0] == short[0] == tokens.tokenizer.cls_token_id and ids[-1] == short[-1] == tokens.tokenizer.sep_token_id


def test_positions_are_what_the_model_can_take() -> None:
    assert positions(transformers.BertConfig(max_position_embeddings=512)) == 512
    assert positions(transformers.RobertaConfig(max_position_embeddings=514, pad_token_id=1)) == 512
    assert positions(transformers.T5Config()) is None


def test_an_id_is_refused_at_once_where_no_hub_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from huggingface_hub import constants

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: nothing listens there
    start = time.monotonic()
    with pytest.raises(NotFound, match=r"not in the local cache and 127\.0\.0\.1 cannot be reached"):
        locate.check_reachable(locate.locate("nobody/no-such-model"))
    assert time.monotonic() - start < 5


def test_the_probe_is_remembered_and_an_order_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    cpu = torch.device("cpu")
    assert precision.choose("bf16", cpu)[0] == "bf16"
    first = precision.speeds(cpu)
    monkeypatch.setattr(precision, "_measure", lambda device: pytest.fail("measured again"))
    for copied, kept in ((0.01, first["gigabytes_per_second"]), (1e6, 1e6), (5.0, 1e6)):  # a busy machine is slower than it can be
        monkeypatch.setattr(precision, "_copied", lambda device, copied=copied: copied)
        assert precision.speeds(cpu) == {**first, "gigabytes_per_second": kept}
    for bf16, wanted in ((0.5, "bf16"), (0.12, "fp32")):
        monkeypatch.setattr(precision, "speeds", lambda device, bf16=bf16: {"fp32_tflops": 0.1, "bf16_tflops": bf16})
        assert precision.choose("auto", cpu)[0] == wanted
    (tmp_path / "weitiao" / "precision.json").write_text("{broken")
    monkeypatch.undo()
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert precision.speeds(cpu)["fp32_tflops"] > 0


def test_bf16_products_move_the_weights_at_a_tiny_rate_as_fp32_does(tiny_bert: Path) -> None:
    """Full-parameter training at 1e-6: bf16 weights would drop nearly every such update; fp32 weights keep them all."""
    batch = {"input_ids": torch.randint(4, 40, (8, 12)), "attention_mask": torch.ones(8, 12, dtype=torch.long)}
    labels = torch.arange(8) % 2
    moved: dict[str, torch.Tensor] = {}
    for dtype in ("fp32", "bf16"):
        model = loaded(tiny_bert).model.eval()
        start = torch.cat([p.detach().flatten() for p in model.parameters()])
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0, fused=True)
        for _ in range(20):
            with precision.autocast(dtype, torch.device("cpu")):
                loss = torch.nn.functional.cross_entropy(model(**batch).logits.float(), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        assert all(p.dtype == torch.float32 for p in model.parameters())
        moved[dtype] = torch.cat([p.detach().flatten() for p in model.parameters()]) - start
    reached = moved["fp32"].abs() > 1e-6  # parameters that take part at all
    assert reached.float().mean() > 0.5
    cosine = torch.nn.functional.cosine_similarity(moved["bf16"][reached], moved["fp32"][reached], dim=0)
    assert cosine > 0.97
    assert moved["bf16"][reached].norm() / moved["fp32"][reached].norm() == pytest.approx(1, abs=0.03)
    start_bf16 = start.to(torch.bfloat16)
    lost = ((start_bf16.float() + moved["fp32"]).to(torch.bfloat16) == start_bf16)[reached].float().mean()
    assert lost > 0.9, "the test would not notice if the weights were bf16"


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_model_is_timed_in_both_precisions_and_stays_as_it_was(tiny: Callable[[str], Path], family: str) -> None:
    model = loaded(tiny(family)).model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seconds = precision.of_model(model, torch.device("cpu"))
    assert seconds.keys() == {"fp32_forward_seconds", "bf16_forward_seconds"} and all(0 < value < 5 for value in seconds.values())
    assert model.training and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_cpu_dropout_drops_its_share_keeps_the_mean_and_follows_the_seed() -> None:
    values = torch.ones(400, 500, requires_grad=True)
    torch.manual_seed(3)
    dropped = dropout.dropout(values, 0.1)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.1, abs=0.003)
    assert float(dropped.detach().mean()) == pytest.approx(1, abs=0.003)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())
    torch.manual_seed(3)
    assert torch.equal(dropout.dropout(values, 0.1), dropped)
    assert not torch.equal(dropout.dropout(values, 0.1), dropped)
    kept = dropped.detach() != 0
    assert abs(torch.corrcoef(torch.stack([kept[0].float(), kept[1].float()]))[0, 1]) < 0.15


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_attention_with_cpu_dropout_is_the_models_own_without_it(tiny: Callable[[str], Path], family: str) -> None:
    plain, ours = loaded(tiny(family)).model, loaded(tiny(family)).model
    dropout.install(ours)
    assert attention.install(ours)
    batch: dict[str, Any] = {"input_ids": torch.randint(4, 40, (4, 10)), "attention_mask": torch.ones(4, 10, dtype=torch.long)}
    batch["attention_mask"][1, 6:] = 0
    torch.testing.assert_close(ours.eval()(**batch).logits, plain.eval()(**batch).logits)
    for model in (plain, ours):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    torch.testing.assert_close(ours.train()(**batch).logits, plain.train()(**batch).logits)


def test_the_learning_rate_rises_and_falls_as_named() -> None:
    def rates(schedule: str) -> list[float]:
        return [optim.learning_rate(step, peak=1.0, warmup=4, total=12, schedule=schedule) for step in range(12)]

    for schedule in ("linear", "cosine", "constant"):
        assert rates(schedule)[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates("constant")[4:] == [1.0] * 8
    assert rates("linear")[4:] == pytest.approx([1 - n / 8 for n in range(8)])
    assert rates("cosine")[8] == pytest.approx(0.5)
    assert optim.learning_rate(0, peak=1.0, warmup=0, total=1, schedule="linear") == 1.0


def test_gradients_are_clipped_to_the_norm_and_the_norm_before_is_returned() -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), 3.0)
    assert Single(torch.device("cpu")).clip([parameter], 1.0) == pytest.approx(6.0)
    assert parameter.grad.norm() == pytest.approx(1.0, abs=1e-4)
    assert Single(torch.device("cpu")).clip([parameter], None) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", [*FAMILIES, "language llama", "language bert"])
def test_one_pass_over_texts_gives_the_ids_of_the_tokenizers_own_call(
    tiny: Callable[[str], Path], family: str, side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_language.build(tmp_path / "model", family.removeprefix("language ")) if " " in family else tiny(family)
    tokens = Tokenizer(locate.locate(str(folder)), 64)
    tokens.tokenizer.truncation_side = side
    special = [token for token in tokens.tokenizer.all_special_tokens if token]
    texts = ["good", "the film was dull " * 9, " ", f"a {special[0]} b", "", "naïve 影 😀 day", "x " * 200]
    for length in (4, 7, 64):
        assert tokens._plain_backend
        found = tokens.encode(texts, length)
        own = tokens.tokenizer(texts, padding=False)["input_ids"]
        assert [cut for _, cut in found] == [max(0, len(ids) - length) for ids in own]
        assert [ids for ids, _ in found] == tokens.tokenizer(texts, padding=False, truncation=True, max_length=length)["input_ids"]
        monkeypatch.setattr(tokens, "_plain_backend", False)
        assert tokens.encode(texts, length) == found, "a tokenizer with ways of its own is asked through its own call"
        monkeypatch.setattr(tokens, "_plain_backend", True)
    tokens.encode(texts, 4)
    assert tokens.tokenizer.backend_tokenizer.truncation is None, "nothing of it stays in the tokenizer that is saved"
