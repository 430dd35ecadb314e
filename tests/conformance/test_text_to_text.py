"""What translation and summarization promise on models that continue text and on encoder-decoders."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml

import tiny_language
import weitiao
from tiny import DEVICE
from tiny_language import ENCODER_DECODERS
from weitiao.core.contracts import Batch, Capability
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Turn
from weitiao.evaluation import evaluate
from weitiao.evaluation.predict import answered, outputs
from weitiao.models import attention, checkpointing, fallback, load
from weitiao.models.anatomy import anatomy
from weitiao.parallel.single import Single
from weitiao.training import loop, optim
from weitiao.training.loader import Loader
from weitiao.training.prepare import encode, prepare

ONE = Single(DEVICE)
FAMILIES = ("llama", *ENCODER_DECODERS)
LORA = {"name": "lora", "r": 4}
METHODS: list[dict[str, Any]] = [{"name": "full"}, {"name": "layers", "last": 1}, LORA]
IDS = ["full", "layers", "lora"]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family's name to the folder of its tiny model, built once a worker."""
    root, built = tmp_path_factory.mktemp("text_to_text"), dict[str, Path]()

    def folder(family: str) -> Path:
        if family not in built:
            built[family] = tiny_language.build(root / family, family)
        return built[family]

    return folder


@pytest.fixture
def recipe(model_folder: Callable[[str], Path], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that makes a translation recipe, sections laid over it."""
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, tiny_language.pairs(60))))

    def make(family: str, *, task: dict[str, Any] | None = None, method: Any = "full", **train: Any) -> dict[str, Any]:
        return {
            "model": str(model_folder(family)),
            "data": {"name": "json", "train": str(path)},
            "task": {"name": "translation", "max_length": 128, "max_new_tokens": 24, "generate_rows": 4, **(task or {})},
            "method": method,
            "train": {"device": str(DEVICE), "dtype": "fp32", "dropout": 0.0, "batch_size": 8, **train},
        }

    return make


@pytest.fixture
def case(recipe: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    """Return a function (family, settings...) -> (Prepared, Encoded, model without dropout)."""

    def make(family: str, **settings: Any) -> tuple[Any, Any, torch.nn.Module]:
        made, encoded = encode(prepare(Recipe.load(recipe(family, **settings))))
        return made, encoded, load.weights(made.located, made.config, made.recipe.task.head, seed=1).model.to(DEVICE)

    return make


def gradients(made: Any, model: torch.nn.Module, batches: list[Batch]) -> dict[str, torch.Tensor]:
    objective = made.recipe.task.objective()
    counts = loop.total_counts(objective, batches)
    model.zero_grad()
    for batch in batches:
        objective(model, batch.to(DEVICE)).value(counts).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def batches_of(made: Any, features: Any, *, batch_size: int, accumulation: int, bucketing: bool = True) -> list[Batch]:
    layout = made.tokenizer.layout()
    return Loader(features, made.recipe.task, layout=layout, batch_size=batch_size, gradient_accumulation=accumulation, seed=3, bucketing=bucketing).step(0)


def steps(made: Any, model: torch.nn.Module, features: Any, count: int, rate: float, schedule: str = "constant") -> list[float]:
    loader = Loader(features, made.recipe.task, layout=made.tokenizer.layout(), batch_size=8, gradient_accumulation=1, seed=1, bucketing=True)
    taken = loop.steps(
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
    return [float(done.loss) for done in taken]


def said(made: Any, model: torch.nn.Module, features: Any) -> torch.Tensor:
    found = outputs(model, made.recipe.task, features, layout=made.tokenizer.layout(), strategy=ONE, batch_size=5).values
    assert isinstance(found, torch.Tensor)
    return found


def translated(made: Any, model: torch.nn.Module, rows: Any, features: Any) -> list[Any]:
    predictions = made.recipe.task.decode(said(made, model, features), features, rows)
    return answered(model, made.recipe.task, rows, predictions, made.tokenizer, most=None, strategy=ONE)


# ------------------------------------------------------------ loss and gradient


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_the_loss_is_that_which_the_model_itself_gives_for_the_same_labels(case: Callable[..., Any], family: str) -> None:
    made, encoded, model = case(family)
    batch = made.recipe.task.collate(encoded.train[:6], made.tokenizer.layout()).to(DEVICE)
    own = model.eval()(input_ids=batch.inputs["input_ids"], attention_mask=batch.inputs["attention_mask"], labels=batch.targets)
    loss = made.recipe.task.objective()(model, batch)
    assert float(loss.value().detach()) == pytest.approx(float(own.loss.detach()), rel=1e-5)
    shifted = model.prepare_decoder_input_ids_from_labels(labels=batch.targets)
    asked = batch.targets != -100
    assert torch.equal(shifted[asked], batch.inputs["decoder_input_ids"][asked]), "the model's own rule shifts targets in the same way"
    nll = F.cross_entropy(own.logits.flatten(0, 1), batch.targets.flatten(), reduction="none", ignore_index=-100).view(batch.targets.shape).sum(1)
    torch.testing.assert_close(said(made, model, encoded.train[:6])[:, 0].float(), nll.detach().cpu(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", [METHODS[0], LORA], ids=["full", "lora"])
@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_gradients_are_equal_bucketed_split_and_checkpointed(case: Callable[..., Any], family: str, method: dict[str, Any]) -> None:
    made, encoded, model = case(family, method=method)
    model = made.recipe.method.apply(model)
    if method is LORA:  # at the start half of LoRA has no gradient
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0, 0.1)
    few = encoded.train[:12]
    expected = gradients(made, model, batches_of(made, few, batch_size=12, accumulation=1, bucketing=False))
    assert any(float(gradient.abs().max()) > 0 for gradient in expected.values())
    ways = [batches_of(made, few, batch_size=size, accumulation=12 // size) for size in (4, 1)]
    found = [gradients(made, model, batches) for batches in ways]
    checkpointing.enable(model)
    model.train()
    found.append(gradients(made, model, ways[0]))
    for each in found:
        assert each.keys() == expected.keys()
        for name, gradient in expected.items():
            scale = max(1.0, float(gradient.abs().max()))
            torch.testing.assert_close(each[name], gradient, rtol=1e-4, atol=1e-5 * scale, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_row_scores_does_not_depend_on_its_company(case: Callable[..., Any], family: str) -> None:
    made, encoded, model = case(family)
    alone = torch.cat([said(made, model, [feature]) for feature in encoded.train])
    torch.testing.assert_close(said(made, model, encoded.train), alone, rtol=1e-4, atol=1e-4)
    assert (alone[:, 1] > 1).all()


# ------------------------------------------------------------ methods


@pytest.mark.parametrize("method", METHODS, ids=IDS)
@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_only_what_the_method_names_moves_and_the_loss_falls(case: Callable[..., Any], family: str, method: dict[str, Any]) -> None:
    made, encoded, model = case(family, method=method, weight_decay=0.0)
    model = made.recipe.method.apply(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = steps(made, model, encoded.train[:8], 15, 5e-3 if method["name"] == "full" else 2e-2)
    assert losses[-1] < 0.95 * losses[0]
    moved = {name for name, p in model.named_parameters() if not torch.equal(p.detach(), before[name])}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert moved <= trained and moved
    if method["name"] == "lora":
        assert {half for half in ("encoder", "decoder") if any(f"{half}." in name for name in moved)} == {"encoder", "decoder"}
    if method["name"] == "layers":
        assert not any("encoder.layers" in name or "encoder.block" in name for name in trained), "the last layers are the decoder's"


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_layers_of_an_encoder_decoder_are_counted_from_the_encoders_first_to_the_decoders_last(case: Callable[..., Any], family: str) -> None:
    _, _, model = case(family)
    parts = anatomy(model)
    assert len(parts.layers) == 4 and len(parts.stacks) == 2
    assert all("encoder" in name for layer in parts.layers[:2] for name in layer) and all("decoder" in name for layer in parts.layers[2:] for name in layer)
    everything = [name for layer in parts.layers for name in layer] + [*parts.embeddings, *parts.head]
    assert sorted(everything) == sorted(name for name, _ in model.named_parameters())


# ------------------------------------------------------------ generation


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_learnt_by_heart_are_translated_word_by_word_and_end(case: Callable[..., Any], family: str) -> None:
    made, encoded, model = case(family, weight_decay=0.0)
    rows = made.data.splits.train[:8]
    few = [feature for feature in encoded.train if feature.row in {row.id for row in rows}]
    steps(made, model, few, 150, 1e-2 if family == "t5" else 5e-3, schedule="linear")
    for beams in (1, 3):
        made = dataclasses.replace(made, recipe=made.recipe.with_task(made.recipe.task.revised(num_beams=beams)))
        predictions = translated(made, model, rows, few)
        right = [prediction.value == row.target for prediction, row in zip(predictions, rows, strict=True)]
        assert sum(right) >= 7, [(p.value, r.target) for p, r in zip(predictions, rows, strict=True)]
        assert all(p.measures["stopped"] for p, ok in zip(predictions, right, strict=True) if ok)
        alone = [translated(made, model, [row], [feature])[0].value for row, feature in zip(rows, few, strict=True)]
        assert alone == [p.value for p in predictions], "the others of a batch change nothing"


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_and_beams_are_those_of_transformers_itself(case: Callable[..., Any], family: str) -> None:
    made, _, model = case(family)
    forced = model.generation_config.forced_eos_token_id is not None
    prompts = made.recipe.task.prompts(made.data.splits.train[:6], made.tokenizer)
    for beams in (1, 4):
        how = made.recipe.task.revised(num_beams=beams, max_new_tokens=12).generation
        found = fallback.generated(model.eval(), prompts, made.tokenizer, how, device=DEVICE, ended=lambda ids: ids[-1] in made.tokenizer.ends)
        for prompt, ids in zip(prompts, found, strict=True):
            with torch.inference_mode():
                own = model.generate(
                    input_ids=torch.tensor([prompt], device=DEVICE),
                    attention_mask=torch.ones(1, len(prompt), dtype=torch.long, device=DEVICE),
                    num_beams=beams,
                    do_sample=False,
                    max_new_tokens=12 + forced,  # an end that is forced stands behind what the model says
                    eos_token_id=sorted(made.tokenizer.ends),
                )[0].tolist()
            begin = 1 if model.config.is_encoder_decoder else len(prompt)
            assert ids == own[begin : begin + len(ids)]


def test_a_text_that_a_model_is_forced_to_end_did_not_end_by_itself(case: Callable[..., Any]) -> None:
    made, encoded, model = case("bart", task={"max_new_tokens": 3})
    model.generation_config.forced_eos_token_id = model.config.eos_token_id
    predictions = translated(made, model, made.data.splits.train[:4], encoded.train[:4])
    assert all(prediction.measures["stopped"] == (prediction.measures["answer_tokens"] < 3) for prediction in predictions)
    assert any(prediction.measures["answer_tokens"] == 3 for prediction in predictions)


# ------------------------------------------------------------ runs and files


@pytest.mark.parametrize("method", METHODS, ids=IDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_measures_before_and_after_and_its_artifact_translates_alike(
    recipe: Callable[..., dict[str, Any]], tmp_path: Path, family: str, method: dict[str, Any]
) -> None:
    report = weitiao.train(recipe(family, method=method, steps=4, learning_rate=5e-3, batch_size=8), out=tmp_path / "run")
    assert report["before_is"] == "model" and set(report["baselines"]) == {"copy"}
    for name in ("loss", "perplexity", "bleu", "chrf", "length_ratio", "stop_rate"):
        assert name in report["metrics"], name
    assert report["metrics"]["loss"]["after"]["n"] == report["rows"]["proof"]
    for name in ("bleu", "chrf"):
        assert report["metrics"][name]["after"]["n"] == report["baselines"]["copy"][name]["n"] == 4, "copy is scored on the rows that were generated for"
        assert report["metrics"][name]["signature"].startswith("nrefs:1|case:mixed")
    assert "stop_rate" not in report["baselines"]["copy"]
    assert report["plan"]["packing"] == (family == "llama") and report["plan"]["readout"] == "labelled positions"
    again = evaluate.evaluate(report["artifact"], None)
    for name in ("loss", "bleu", "chrf", "length_ratio"):
        assert again["metrics"][name]["value"] == pytest.approx(report["metrics"][name]["after"]["value"], rel=1e-4, abs=1e-6), name
    predictor = weitiao.load(report["artifact"])
    typed = predictor.predict(["sky gold 3."])[0].value
    assert typed == predictor.predict([{"source": "sky gold 3."}])[0].value and isinstance(typed, str)
    heard: list[str] = []
    assert predictor.converse([Turn("user", "sky gold 3.")], on_text=heard.append).text == typed == "".join(heard).strip()


def test_a_run_with_beams_reads_parallel_files_and_translates_a_file_of_texts(recipe: Callable[..., dict[str, Any]], tmp_path: Path, cli: Any) -> None:
    pairs = tiny_language.pairs(40)
    (tmp_path / "train.xx").write_text("\n".join(pair["source"] for pair in pairs))
    (tmp_path / "train.yy").write_text("\n".join(pair["target"] for pair in pairs))
    asked = recipe("t5", task={"num_beams": 2, "generate_rows": 2}, steps=2)
    asked["data"] = {"name": "parallel", "train": str(tmp_path / "train"), "languages": ["xx", "yy"]}
    report = weitiao.train(asked, out=tmp_path / "run")
    (tmp_path / "new.xx").write_text("sky gold.\nmoon.\n")
    done = cli("predict", report["artifact"], tmp_path / "new.xx")
    assert done.code == 0 and len(done.out.splitlines()) == 2
    assert [json.loads(line)["prediction"] for line in done.out.splitlines()] == [
        p.value for p in weitiao.load(report["artifact"]).predict(["sky gold.", "moon."])
    ]
    assert cli("evaluate", report["artifact"], tmp_path / "train").code == 0
    assert cli("predict", report["artifact"], "-", stdin="sky gold.\n").out.startswith('{"id"')
    said = cli("predict", report["artifact"], "--chat", stdin="sky gold.\n")
    assert said.code == 0 and said.out.strip() == json.loads(done.out.splitlines()[0])["prediction"]
    refused = cli("predict", report["artifact"], "--chat", "--temperature", "0.5", stdin="sky gold.\n")
    assert refused.code == 2 and "follows 2 beams" in refused.err


def test_what_is_saved_says_the_same_in_a_fresh_process_with_plain_transformers_and_peft(case: Callable[..., Any], tmp_path: Path) -> None:
    expected: dict[str, Any] = {}
    for family in ENCODER_DECODERS:
        for number, method in enumerate(METHODS):
            made, encoded, model = case(family, method=method)
            model = made.recipe.method.apply(model)
            steps(made, model, encoded.train[:8], 3, 1e-2)
            folder = tmp_path / f"{family}-{number}"
            made.recipe.method.save(model, folder)
            batch = made.recipe.task.collate(encoded.train[:1], made.tokenizer.layout()).to(DEVICE)
            with torch.no_grad():
                logits = model.eval()(**batch.inputs).logits[0]
            kind = "adapter" if Capability.ADAPTER in made.recipe.method.capabilities else "model"
            expected[str(folder / kind)] = {"inputs": {name: tensor.tolist() for name, tensor in batch.inputs.items()}, "logits": logits.tolist()}
            again = made.recipe.method.load(folder, made.recipe.task.head).to(DEVICE)
            torch.testing.assert_close(said(made, again, encoded.train[:8]), said(made, model, encoded.train[:8]), rtol=1e-5, atol=1e-4)
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    code = """
import json, sys, torch, transformers
from peft import PeftConfig, PeftModel
kind = transformers.AutoModelForSeq2SeqLM
for folder, case in json.load(open(sys.argv[1])).items():
    if folder.endswith("adapter"):
        model = PeftModel.from_pretrained(kind.from_pretrained(PeftConfig.from_pretrained(folder).base_model_name_or_path), folder).eval()
    else:
        model = kind.from_pretrained(folder).eval()
    with torch.no_grad():
        got = model(**{name: torch.tensor(ids) for name, ids in case["inputs"].items()}).logits[0]
    torch.testing.assert_close(got, torch.tensor(case["logits"]), rtol=1e-4, atol=1e-4, msg=lambda m: folder + m)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "expected.json")], check=True, timeout=240)


def test_an_encoder_is_refused_with_what_to_choose_instead(recipe: Callable[..., dict[str, Any]]) -> None:
    from weitiao.errors import WrongHead

    with pytest.raises(WrongHead, match="is an encoder, which sees both sides of a text"):
        prepare(Recipe.load(recipe("bert")))


# ------------------------------------------------------------ worked answers and code

SOLVERS = ("gpt2", "llama", "gemma3")
SOLVED: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "math_reasoning": (
        {"votes": 3},
        [{"question": f"{n} and {n + 1}?", "answer": f"{n}+{n + 1} = <<{n}+{n + 1}={2 * n + 1}>>{2 * n + 1}\n#### {2 * n + 1}"} for n in range(60)],
    ),
    "code_generation": (
        {"samples": 3, "k": [1, 2], "stop": ["\n\n"]},
        [{"prompt": f"def f{n}(x):\n", "completion": f"    return x + {n}\n", "test": f"assert f{n}(1) == {n + 1}"} for n in range(60)],
    ),
}
"""Task -> settings, and rows that can be learnt."""
FAILURES = ("wrong_answer", "exception", "syntax_error", "timeout", "memory")


@pytest.fixture
def solving(model_folder: Callable[[str], Path], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function (task, family, train settings...) -> recipe."""

    def make(task: str, family: str, **train: Any) -> dict[str, Any]:
        settings, rows = SOLVED[task]
        path = tmp_path / f"{task}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        return {
            "model": str(model_folder(family)),
            "data": {"name": "json", "train": str(path)},
            "task": {"name": task, "max_length": 192, "max_new_tokens": 8, "generate_rows": 3, "temperature": 0.7, **settings},
            "method": "full",
            "train": {"device": "cpu", "dtype": "fp32", "dropout": 0.0, "batch_size": 8, **train},
        }

    return make


@pytest.mark.parametrize("family", SOLVERS)
@pytest.mark.parametrize("task", SOLVED)
def test_solutions_have_one_gradient_packed_bucketed_and_split_and_can_be_learnt(solving: Callable[..., dict[str, Any]], task: str, family: str) -> None:
    made, encoded = encode(prepare(Recipe.load(solving(task, family, weight_decay=0.0))))
    model = load.weights(made.located, made.config, made.recipe.task.head, seed=1).model.to(DEVICE)
    few = encoded.train[:8]
    whole = batches_of(made, few, batch_size=8, accumulation=1, bucketing=False)
    expected = gradients(made, model, whole)
    ways = [batches_of(made, few, batch_size=2, accumulation=4)]
    assert attention.install(model)
    layout = made.tokenizer.layout(packed=True, most_tokens=512)
    ways.append(Loader(few, made.recipe.task, layout=layout, batch_size=8, gradient_accumulation=1, seed=3, bucketing=False).step(0))
    for way in ways:
        for name, gradient in gradients(made, model, way).items():
            scale = max(1.0, float(expected[name].abs().max()))
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5 * scale, msg=lambda text, name=name: f"{name}: {text}")
    losses = steps(made, model, few, 12, 5e-3)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("task", "family"),
    [
        ("math_reasoning", "llama"),
        ("code_generation", "llama"),
        *(pytest.param(task, family, marks=pytest.mark.soak) for task in SOLVED for family in ("gpt2", "gemma3")),
    ],
)
def test_a_run_draws_several_solutions_of_each_row_and_its_artifact_draws_them_again(
    solving: Callable[..., dict[str, Any]], tmp_path: Path, task: str, family: str
) -> None:
    report = weitiao.train(solving(task, family, steps=2, learning_rate=5e-3), out=tmp_path / "run")
    asked = ("exact_match", "no_number") if task == "math_reasoning" else ("pass@1", "pass@2", *FAILURES)
    for name in ("loss", "perplexity", *asked, "stop_rate", "answer_length"):
        assert report["metrics"][name]["after"]["n"] == (report["rows"]["proof"] if name in ("loss", "perplexity") else 3), name
    if task == "code_generation":
        ends = [report["metrics"][name]["after"]["value"] for name in ("pass@1", *FAILURES)]
        assert sum(ends) == pytest.approx(1), "every completion ends in one way"
        assert any("were run on this machine" in note for note in report["notes"])
    again = evaluate.evaluate(report["artifact"], None)
    for name in ("loss", *asked):
        assert again["metrics"][name]["value"] == pytest.approx(report["metrics"][name]["after"]["value"], rel=1e-4, abs=1e-6), name
    found = weitiao.load(report["artifact"]).predict(["2 and 3?" if task == "math_reasoning" else "def f(x):"])[0]
    assert isinstance(found.value, str) and "passed" not in found.measures


def test_a_recipe_without_training_rows_measures_the_model_as_it_is(solving: Callable[..., dict[str, Any]], tmp_path: Path, cli: Any) -> None:
    asked = solving("code_generation", "llama", steps=1)
    before = weitiao.train(asked, out=tmp_path / "run", overrides=[f"data.test={asked['data']['train']}"])
    path = tmp_path / "untuned.yaml"
    path.write_text(yaml.safe_dump({**asked, "data": {"name": "json", "test": asked["data"]["train"]}}))
    found = weitiao.evaluate(path)
    assert found["n"] == 60 and found["rows"] == "test: 60 rows as given"
    for name in ("loss", "pass@1", *FAILURES):
        expected = before["metrics"][name]["before"]
        assert found["metrics"][name]["n"] == expected["n"] and found["metrics"][name]["value"] == pytest.approx(expected["value"], rel=1e-4, abs=1e-6), name
    told = cli("evaluate", path, "data.test_rows=5", "task.generate_rows=1", "--device", "cpu")
    assert told.code == 0 and "pass@1" in told.out and "measured on test: 60 rows as given, 5 of them drawn" in told.out
    for arguments, code, words in (
        ((path, "data.test=null"), 2, "data.test: missing"),
        ((path, "rows.csv"), 2, "'rows.csv' is not an override"),
        ((path, "task=text_classification", "data.text=prompt", "data.label=test", "data.test_rows=4"), 2, "has no trained head for text_classification"),
        ((tmp_path / "run", "a.csv", "b.csv"), 2, "expected one FILE, got a.csv, b.csv"),
        ((path, "--entities", tmp_path / "run"), 2, "--entities goes with an artifact"),
    ):
        refused = cli("evaluate", *arguments)
        assert refused.code == code and words in refused.err, refused.err
    refused = cli("train", path)
    assert refused.code == 2 and "`weitiao evaluate RECIPE` measures the model as it is" in refused.err
