"""What every family of language models promises: read-out, packing, gradients, methods, and generation."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers

import tiny_language
from tiny import DEVICE
from tiny_language import EVERY, MASKED, PACKING, WINDOW
from weitiao.core.contracts import IGNORED, Batch, Capability
from weitiao.core.recipe import Recipe
from weitiao.evaluation.predict import answered, outputs
from weitiao.models import apart, attention, checkpointing, load, precision, readout
from weitiao.parallel.single import Single
from weitiao.training import loop, optim
from weitiao.training.loader import Loader
from weitiao.training.prepare import encode, prepare

ONE = Single(DEVICE)
METHODS: list[dict[str, Any]] = [
    {"name": "full"},
    {"name": "layers", "last": 1},
    {"name": "lora", "r": 4},
    {"name": "lora", "r": 4, "use_dora": True},
    {"name": "lora", "r": 2, "target_modules": r".*(q_proj|c_attn|query)", "use_rslora": True, "modules_to_save": []},
]
IDS = ["full", "layers", "lora", "dora", "rslora on queries"]


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family's name to the folder of its tiny model, built once a worker."""
    root, built = tmp_path_factory.mktemp("language"), dict[str, Path]()

    def folder(family: str) -> Path:
        if family not in built:
            built[family] = tiny_language.build(root / family, family)
        return built[family]

    return folder


@pytest.fixture
def case(language_model: Callable[[str], Path], tmp_path: Path) -> Callable[..., Any]:
    """Return a function (family, task) -> (Prepared, Encoded, model without dropout)."""

    def make(family: str, task: dict[str, Any], method: dict[str, Any] | str = "full", **train: Any) -> tuple[Any, Any, torch.nn.Module]:
        chat = task["name"] == "chat"
        rows = tiny_language.dialogues(40) if chat else [{"text": text} for text in tiny_language.texts(40)]
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        recipe = Recipe.load(
            {
                "model": str(language_model(family)),
                "data": {"name": "json", "train": str(path)},
                "task": task,
                "method": method,
                "train": {"device": str(DEVICE), "dtype": "fp32", "dropout": 0.0, "batch_size": 8, **train},
            }
        )
        made, encoded = encode(prepare(recipe))
        return made, encoded, model_of(made)

    return make


def model_of(made: Any) -> torch.nn.Module:
    return load.weights(made.located, made.config, made.recipe.task.head, seed=1).model.to(DEVICE)


def task_of(family: str, **settings: Any) -> dict[str, Any]:
    if family in MASKED:
        return {"name": "language_modeling", "masked": True, "max_length": 32, **settings}
    return {"name": "chat", "max_length": 96, **settings}


def gradients(made: Any, model: torch.nn.Module, batches: list[Batch]) -> dict[str, torch.Tensor]:
    objective = made.recipe.task.objective()
    counts = loop.total_counts(objective, batches)
    model.zero_grad()
    for batch in batches:
        objective(model, batch.to(DEVICE)).value(counts).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def batches_of(made: Any, features: Any, *, packed: bool, batch_size: int, accumulation: int, bucketing: bool = True, most: int | None = None) -> list[Batch]:
    layout = made.tokenizer.layout(packed=packed, most_tokens=most)
    return Loader(features, made.recipe.task, layout=layout, batch_size=batch_size, gradient_accumulation=accumulation, seed=3, bucketing=bucketing).step(0)


def close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys() and expected
    for name, gradient in expected.items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5 * scale, msg=lambda text, name=name: f"{name}: {text}")


# ------------------------------------------------------------ read-out


@pytest.mark.parametrize("family", EVERY)
def test_likelihood_and_gradient_of_the_readout_are_those_of_full_logits(language_model: Callable[[str], Path], family: str) -> None:
    model = getattr(transformers, tiny_language.head_of(family)).from_pretrained(language_model(family)).eval()
    assert readout.of(model) is not None
    torch.manual_seed(1)
    ids = torch.randint(7, 300, (3, 11))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids.flip(1)
    targets = torch.where(torch.rand(ids.shape) < 0.4, torch.randint(7, 300, ids.shape), IGNORED)
    targets[0, 0] = 9
    total, each = readout.likelihood(model, Batch(inputs, targets, ("a", "b", "c"), ids.numel()))
    (total / each.numel()).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    logits = model(**inputs).logits
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    expected.backward()
    assert float(total.detach() / each.numel()) == pytest.approx(float(expected), rel=1e-5)
    torch.testing.assert_close(
        each, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")[targets.flatten() != IGNORED]
    )
    close(found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None})


def test_a_readout_that_differs_from_the_models_own_logits_is_refused_and_full_logits_serve(language_model: Callable[[str], Path]) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(language_model("granite")).eval()
    own = model.forward
    model.forward = lambda **inputs: _doubled(own(**inputs))  # an architecture with something unknown between hidden states and logits
    assert readout.of(model) is None
    ids = torch.arange(8, 20)[None]
    batch = Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, ids.roll(-1, 1), ("a",), 12)
    expected = F.cross_entropy(2 * own(**batch.inputs).logits[0], batch.targets[0], reduction="sum")
    torch.testing.assert_close(readout.likelihood(model, batch)[0], expected)


def _doubled(output: Any) -> Any:
    output.logits = output.logits * 2
    return output


def test_a_new_layer_on_the_output_embedding_is_seen_by_the_readout(case: Callable[..., Any]) -> None:
    made, encoded, model = case("llama", task_of("llama"), {"name": "lora", "r": 4, "target_modules": ["lm_head", "q_proj"]})
    assert readout.of(model) is not None
    model = made.recipe.method.apply(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    batch = made.recipe.task.collate(encoded.train[:4], made.tokenizer.layout()).to(DEVICE)
    expected = F.cross_entropy(model(**batch.inputs).logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum")
    total, _ = readout.likelihood(model, batch)
    assert float(total) == pytest.approx(float(expected), rel=1e-5)
    total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if "lm_head" in n and "lora" in n)


def test_memory_of_the_loss_does_not_grow_with_the_vocabulary() -> None:
    code = """
import resource, sys, torch
from weitiao.models.readout import Readout, from_hidden
size = int(sys.argv[1])
product = torch.nn.Linear(64, size, bias=False).requires_grad_(False)
hidden, labels = torch.randn(4096, 64, requires_grad=True), torch.randint(0, size, (4096,))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from_hidden(Readout(product), hidden, labels)[0].backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    small, large = (
        int(subprocess.run([sys.executable, "-c", code, str(size)], capture_output=True, text=True, check=True, timeout=200).stdout)
        for size in (32_000, 262_000)
    )
    assert large < small + 150, f"{small} MB at 32k, {large} MB at 262k; full logits of 262k would take 4,096 MB"


# ------------------------------------------------------------ packing


@pytest.mark.parametrize("family", EVERY)
def test_only_families_that_keep_documents_apart_are_packed(language_model: Callable[[str], Path], family: str) -> None:
    model = getattr(transformers, tiny_language.head_of(family)).from_pretrained(language_model(family)).eval()
    torch.manual_seed(2)
    ids = torch.randint(7, 300, (2, 40))
    mask = torch.ones_like(ids)
    mask[1, 25:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, **({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})}
    own = model(**inputs).logits
    attention.install(model)
    torch.testing.assert_close(model(**inputs).logits[0], own[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model(**inputs).logits[1, :25], own[1, :25], rtol=1e-4, atol=1e-4)
    assert apart.keeps_documents_apart(model) == (family in PACKING or family in ("bert", "roberta"))


@pytest.mark.parametrize("family", PACKING)
def test_packed_documents_give_the_logits_of_the_model_as_it_came(language_model: Callable[[str], Path], family: str) -> None:
    kinds = [transformers.AutoModelForCausalLM.from_pretrained(language_model(family)).eval() for _ in range(2)]
    plain, ours = kinds
    assert attention.install(ours)
    torch.manual_seed(3)
    lengths = (5, 3 * WINDOW, 1, WINDOW + 1)
    ids = torch.randint(7, 300, (1, sum(lengths)))
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    hidden = readout.hidden_states(ours, Batch({"input_ids": ids, "position_ids": positions}, None, (), ids.numel(), lengths))
    found = readout.of(ours).logits(hidden[0])
    expected = torch.cat([plain(input_ids=part).logits[0] for part in ids.split(lengths, dim=1)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", [METHODS[0], METHODS[2]], ids=["full", "lora"])
@pytest.mark.parametrize("family", (*PACKING, "bert", "roberta"))
def test_gradients_are_equal_packed_bucketed_padded_split_and_checkpointed(case: Callable[..., Any], family: str, method: dict[str, Any]) -> None:
    made, encoded, model = case(family, task_of(family), method)
    model = made.recipe.method.apply(model)
    if method["name"] == "lora":  # at the start half of LoRA has no gradient
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0, 0.1)
    few = encoded.train[:12]
    expected = gradients(made, model, batches_of(made, few, packed=False, batch_size=12, accumulation=1, bucketing=False))
    for batch_size, accumulation in ((4, 3), (1, 12)):
        close(gradients(made, model, batches_of(made, few, packed=False, batch_size=batch_size, accumulation=accumulation)), expected)
    assert attention.install(model)
    close(gradients(made, model, batches_of(made, few, packed=False, batch_size=5, accumulation=3)), expected)
    if not apart.keeps_documents_apart(model):
        assert DEVICE.type != "cpu"
        pytest.skip("this family takes no mask from positions: here it is padded")
    for most in (None, 100, 1):
        packs = batches_of(made, few, packed=True, batch_size=6, accumulation=2, most=most)
        assert len(packs) == (1 if most is None else 12 if most == 1 else len(packs)) and sum(len(pack.rows) for pack in packs) == 12
        close(gradients(made, model, packs), expected)
    checkpointing.enable(model)
    model.train()
    for packed in (True, False):
        close(gradients(made, model, batches_of(made, few, packed=packed, batch_size=6, accumulation=2)), expected)


@pytest.mark.parametrize("family", PACKING)
def test_packing_by_mask_as_on_a_gpu_gives_the_same_loss(case: Callable[..., Any], family: str) -> None:
    made, encoded, model = case(family, task_of(family))
    if not apart.keeps_documents_apart(model):
        pytest.skip("this family takes no mask from positions: on a GPU it is padded")
    objective = made.recipe.task.objective()
    padded, packed = (batches_of(made, encoded.train[:8], packed=kind, batch_size=8, accumulation=1, bucketing=False)[0].to(DEVICE) for kind in (False, True))
    assert attention.arguments(model, packed) == {}
    torch.testing.assert_close(objective(model, packed).value(), objective(model, padded).value())


def test_attention_dropout_and_soft_caps_work_in_packs(case: Callable[..., Any]) -> None:
    made, encoded, model = case("gemma2", task_of("gemma2"))
    attention.install(model)
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    model.train()
    pack = batches_of(made, encoded.train[:4], packed=True, batch_size=4, accumulation=1)[0].to(DEVICE)
    objective, found = made.recipe.task.objective(), []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(float(objective(model, pack).value().detach()))
    assert found[0] == found[1] != pytest.approx(float(objective(model.eval(), pack).value()))


# ------------------------------------------------------------ precision


def test_rotary_buffers_stay_fp32_when_parameters_are_cast(language_model: Callable[[str], Path]) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(language_model("llama"))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for parameter in model.model.layers[0].parameters():
        parameter.requires_grad_(False)
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    kept = precision.cast_frozen(model, torch.bfloat16)
    assert any("inv_freq" in name for name in before)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]) and buffer.dtype == before[name].dtype
    cast = {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}
    assert cast == {name for name, p in model.named_parameters() if not p.requires_grad and p.ndim > 1} and cast
    precision.put_back(model, kept)
    assert all(torch.equal(p, parameters[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_bf16_products_follow_fp32_closely_in_packs(case: Callable[..., Any], family: str) -> None:
    made, encoded, model = case(family, task_of(family), {"name": "lora", "r": 4})
    model = made.recipe.method.apply(model)
    attention.install(model)
    pack = batches_of(made, encoded.train[:8], packed=True, batch_size=8, accumulation=1)[0].to(DEVICE)
    objective = made.recipe.task.objective()
    loss = objective(model, pack).value()
    loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    model.zero_grad()
    precision.cast_frozen(model, torch.bfloat16)
    with precision.autocast("bf16", DEVICE):
        value = objective(model, pack).value()
    value.backward()
    assert float(value) == pytest.approx(float(loss), rel=0.03)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert expected and all(torch.isfinite(gradient).all() for gradient in found.values())
    for name, gradient in expected.items():
        assert F.cosine_similarity(found[name].flatten(), gradient.flatten(), dim=0) > 0.98, name


# ------------------------------------------------------------ methods and tasks


@pytest.mark.parametrize("family", [*PACKING, *MASKED])
@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_only_declared_tensors_move_all_of_them_and_the_loss_falls(case: Callable[..., Any], family: str, method: dict[str, Any]) -> None:
    if method.get("target_modules") and family == "bert":
        method = {**method, "target_modules": ["query"]}
    if method.get("modules_to_save") == []:
        method = {k: v for k, v in method.items() if k != "modules_to_save"}
    if method.get("target_modules") and family == "deberta":
        method = {**method, "target_modules": ["query_proj"]}
    made, encoded, model = case(family, task_of(family, max_length=64) if family in PACKING else task_of(family), method, weight_decay=0.0)
    before_model = said(made, model, encoded.train[:8])
    model = made.recipe.method.apply(model)
    torch.testing.assert_close(said(made, model, encoded.train[:8]), before_model, rtol=1e-4, atol=1e-4)
    attention.install(model)
    packed = apart.keeps_documents_apart(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    declared = {name for name, p in model.named_parameters() if p.requires_grad}
    layout = made.tokenizer.layout(packed=packed)
    loader = Loader(encoded.train[:8], made.recipe.task, layout=layout, batch_size=8, gradient_accumulation=1, seed=1, bucketing=True)
    held = made.recipe.task.collate(encoded.train[:8], layout)  # in training other tokens of a masked model are hidden in every epoch
    first = float(made.recipe.task.objective()(model.eval(), held.to(DEVICE)).value().detach())
    list(steps(made, model, loader, 25, 5e-3 if method["name"] == "full" else 2e-2 if family in PACKING else 1e-2))
    last = float(made.recipe.task.objective()(model.eval(), held.to(DEVICE)).value().detach())
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    never_used = {name for name in declared if "position" in name and "embed" in name} | {name for name in declared if "token_type" in name or "pooler" in name}
    assert declared - moved <= never_used and moved <= declared
    assert last < (0.97 if family in MASKED or method.get("r") == 2 else 0.9) * first


@pytest.mark.parametrize("family", PACKING)
@pytest.mark.parametrize("method", METHODS[:3], ids=IDS[:3])
def test_plain_text_is_learnt_by_every_method(case: Callable[..., Any], family: str, method: dict[str, Any]) -> None:
    made, encoded, model = case(family, {"name": "language_modeling", "max_length": 24}, method, weight_decay=0.0)
    model = made.recipe.method.apply(model)
    attention.install(model)
    layout = made.tokenizer.layout(packed=apart.keeps_documents_apart(model))
    loader = Loader(encoded.train[:8], made.recipe.task, layout=layout, batch_size=8, gradient_accumulation=1, seed=1, bucketing=True)
    losses = [float(done.loss) for done in steps(made, model, loader, 15, 5e-3 if method["name"] == "full" else 2e-2)]
    assert losses[-1] < 0.95 * losses[0]


def steps(made: Any, model: torch.nn.Module, loader: Loader, count: int, rate: float, schedule: str = "constant") -> Any:
    return loop.steps(
        model,
        made.recipe.task.objective(),
        loader,
        optim.optimizer(made.recipe.method.groups(model), made.recipe.train),
        loop.Schedule(rate, count // 20, count, schedule),
        method=made.recipe.method,
        strategy=ONE,
        start=0,
        seed=1,
        dtype="fp32",
        max_grad_norm=1.0,
    )


def said(made: Any, model: torch.nn.Module, features: Any, **layout: Any) -> torch.Tensor:
    return outputs(model, made.recipe.task, features, layout=made.tokenizer.layout(**layout), strategy=ONE, batch_size=5).values


@pytest.mark.parametrize("family", [*PACKING, *MASKED])
def test_what_a_row_scores_does_not_depend_on_its_company(case: Callable[..., Any], family: str) -> None:
    made, encoded, model = case(family, task_of(family))
    alone = torch.cat([said(made, model, [feature]) for feature in encoded.train])
    torch.testing.assert_close(said(made, model, encoded.train), alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(said(made, model, encoded.train[::-1]).flip(0), alone, rtol=1e-4, atol=1e-4)
    attention.install(model)
    if apart.keeps_documents_apart(model):
        torch.testing.assert_close(said(made, model, encoded.train, packed=True, most_tokens=200), alone, rtol=1e-4, atol=1e-4)
    assert (alone[:, 1] > 0).all()


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "gemma3", "opt"])
def test_conversations_learnt_by_heart_are_answered_word_by_word_and_end(case: Callable[..., Any], family: str) -> None:
    made, encoded, model = case(family, task_of(family, max_new_tokens=24, max_length=200), "full", weight_decay=0.0)
    rows = made.data.splits.train[:8]
    few = [feature for feature in encoded.train if feature.row in {row.id for row in rows}]
    attention.install(model)
    loader = Loader(few, made.recipe.task, layout=made.tokenizer.layout(packed=True), batch_size=8, gradient_accumulation=1, seed=1, bucketing=True)
    for _ in steps(made, model, loader, 220, 5e-3, schedule="linear"):
        pass
    values = said(made, model, few)
    predictions = answered(model, made.recipe.task, rows, made.recipe.task.decode(values, few, rows), made.tokenizer, most=None, strategy=ONE)
    right = [prediction.value == row.target for prediction, row in zip(predictions, rows, strict=True)]
    assert sum(right) >= 7, [(p.value, r.target) for p, r in zip(predictions, rows, strict=True)]
    assert all(p.measures["stopped"] for p, ok in zip(predictions, right, strict=True) if ok)
    alone = [answered(model, made.recipe.task, [r], [p], made.tokenizer, most=None, strategy=ONE)[0].value for r, p in zip(rows, predictions, strict=True)]
    assert alone == [p.value for p in predictions], "padding at the left changes nothing"


@pytest.mark.parametrize("task", [{"name": "chat", "max_length": 96}, {"name": "language_modeling", "max_length": 24}], ids=["chat", "causal"])
def test_a_row_whose_labels_are_few_weighs_as_much_as_its_labels(case: Callable[..., Any], task: dict[str, Any]) -> None:
    made, encoded, model = case("llama", task)
    attention.install(model)
    uneven = sorted(encoded.train, key=lambda f: sum(t != IGNORED for t in f.target))
    few = [*uneven[:3], *uneven[-3:]]
    for packed in (False, True):
        one = batches_of(made, few, packed=packed, batch_size=6, accumulation=1)
        many = [made.recipe.task.collate([feature], made.tokenizer.layout(packed=packed)).to(DEVICE) for feature in few]
        counts = [made.recipe.task.objective().counts(batch)["likelihood"] for batch in many]
        assert max(counts) >= 2 * min(counts)
        close(gradients(made, model, many), gradients(made, model, one))


# ------------------------------------------------------------ files


def test_what_is_saved_predicts_the_same_in_a_fresh_process_with_plain_transformers_and_peft(
    language_model: Callable[[str], Path], case: Callable[..., Any], tmp_path: Path
) -> None:
    expected: dict[str, Any] = {}
    for family in (*PACKING, "bert"):
        for number, method in enumerate(METHODS[:4] if family in ("llama", "gpt2") else [METHODS[0], METHODS[2]]):
            made, encoded, model = case(family, task_of(family), method)
            model = made.recipe.method.apply(model)
            attention.install(model)
            loader = Loader(encoded.train[:8], made.recipe.task, layout=made.tokenizer.layout(), batch_size=8, gradient_accumulation=1, seed=1, bucketing=True)
            for _ in steps(made, model, loader, 3, 1e-2):
                pass
            folder = tmp_path / f"{family}-{number}"
            made.recipe.method.save(model, folder)
            ids = encoded.train[0].input_ids
            with torch.no_grad():
                logits = model.eval()(input_ids=torch.tensor([ids], device=DEVICE)).logits[0]
            kind = "adapter" if Capability.ADAPTER in made.recipe.method.capabilities else "model"
            head = made.recipe.task.head.auto_class
            expected[str(folder / kind)] = {"head": head, "ids": list(ids), "logits": logits.tolist()}
            again = made.recipe.method.load(folder, made.recipe.task.head).to(DEVICE)
            torch.testing.assert_close(said(made, again, encoded.train[:8]), said(made, model, encoded.train[:8]), rtol=1e-5, atol=1e-4)
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    code = """
import json, sys, torch, transformers
from peft import PeftConfig, PeftModel
for folder, case in json.load(open(sys.argv[1])).items():
    kind = getattr(transformers, case["head"])
    if folder.endswith("adapter"):
        base = kind.from_pretrained(PeftConfig.from_pretrained(folder).base_model_name_or_path)
        model = PeftModel.from_pretrained(base, folder).eval()
    else:
        model = kind.from_pretrained(folder).eval()
    with torch.no_grad():
        got = model(input_ids=torch.tensor([case["ids"]])).logits[0]
    torch.testing.assert_close(got, torch.tensor(case["logits"]), rtol=1e-4, atol=1e-4, msg=lambda m: folder + m)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "expected.json")], check=True, timeout=240)


def test_an_adapter_made_by_plain_peft_opens_here_and_trains_on(language_model: Callable[[str], Path], case: Callable[..., Any], tmp_path: Path) -> None:
    import peft

    base = transformers.AutoModelForCausalLM.from_pretrained(language_model("llama"))
    theirs = peft.get_peft_model(base, peft.LoraConfig(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False))
    theirs.save_pretrained(tmp_path / "theirs")
    ids = torch.arange(10, 22)[None]
    made, encoded, model = case("llama", task_of("llama"), {"name": "lora", "adapter": str(tmp_path / "theirs")})
    model = made.recipe.method.apply(model)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(ids.to(DEVICE)).logits.cpu(), theirs.eval()(ids).logits)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable and all("lora_" in name for name in trainable)
    loader = Loader(encoded.train[:8], made.recipe.task, layout=made.tokenizer.layout(), batch_size=8, gradient_accumulation=1, seed=1, bucketing=True)
    losses = [float(done.loss) for done in steps(made, model, loader, 10, 1e-2)]
    assert losses[-1] < losses[0]
