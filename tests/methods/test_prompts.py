"""Vectors before every text: what PEFT says with the same file, padding, checkpointing, generation, and room in the context."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

import tiny_language
import weitiao
from weitiao import api
from weitiao.core.contracts import Batch, Generation, Head
from weitiao.errors import BadValue, NoTargets
from weitiao.methods.p_tuning import PTuning
from weitiao.methods.prefix_tuning import PrefixTuning
from weitiao.methods.prompt_tuning import PromptTuning
from weitiao.models import checkpointing, frozen, generate, load, readout
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer

WIDTH = 32
IDS = torch.arange(7, 17)[None]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root, built = tmp_path_factory.mktemp("language"), dict[str, Path]()

    def folder(family: str) -> Path:
        if family not in built:
            built[family] = tiny_language.build(root / family, family)
        return built[family]

    return folder


def opened(folder: Path, head: Head) -> Any:
    located = Located(str(folder), str(folder), True, str(folder))
    return load.weights(located, load.configuration(located, head, dropout=0.0), head, seed=1).model.eval()


def stirred(model: Any) -> Any:
    """Return the model with vectors and head as after some training."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def methods_for(family: str) -> list[Any]:
    """Return the methods that a family takes."""
    found = [PromptTuning(num_virtual_tokens=4), PTuning(num_virtual_tokens=3)]
    return (
        found
        if family in ("deberta", "t5", "bart")
        else [*found, PrefixTuning(num_virtual_tokens=4), PrefixTuning(num_virtual_tokens=4, prefix_projection=True)]
    )


CLASSIFIES = Head("AutoModelForSequenceClassification", {"num_labels": 3})
CONTINUES, REWRITES = Head("AutoModelForCausalLM", {}), Head("AutoModelForSeq2SeqLM", {})
IN_PEFT = [("bert", CLASSIFIES), ("llama", CLASSIFIES), ("gemma3", CONTINUES), ("t5", REWRITES)]
IN_PEFT_TOO = [
    *((family, CLASSIFIES) for family in ("roberta", "deberta", "gpt2")),
    *((family, CONTINUES) for family in ("llama", "gpt2", "qwen3")),
    ("bart", REWRITES),
]


@pytest.mark.parametrize(
    ("family", "head"),
    [*(pytest.param(*case, id=case[0]) for case in IN_PEFT), *(pytest.param(*case, marks=pytest.mark.soak) for case in IN_PEFT_TOO)],
)
def test_plain_peft_says_the_same_with_what_is_written(folders: Callable[[str], Path], family: str, head: Head, tmp_path: Path) -> None:
    for number, method in enumerate(methods_for(family)):
        model = stirred(method.apply(opened(folders(family), head)))
        method.save(model, tmp_path / str(number))
        base = getattr(transformers, head.auto_class).from_pretrained(folders(family), **head.config)
        base.config.pad_token_id = 0
        theirs = peft.PeftModel.from_pretrained(base, tmp_path / str(number) / "adapter").eval()
        ids = torch.arange(7, 31)[None]  # longer than the window of Gemma
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if head is REWRITES:
            inputs["decoder_input_ids"] = ids.flip(1)
        again = method.load(tmp_path / str(number), head).eval()
        with torch.no_grad():
            own = model(**inputs).logits
            expected = theirs(**inputs).logits[:, -own.shape[1] :] if own.dim() == 3 else theirs(**inputs).logits
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(again(**inputs).logits, own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "family", ["roberta", "llama", "t5", *(pytest.param(family, marks=pytest.mark.soak) for family in ("bert", "deberta", "gpt2", "gemma3", "bart"))]
)
def test_what_is_said_about_a_text_does_not_depend_on_padding_and_checkpointing_gives_the_same_gradient(folders: Callable[[str], Path], family: str) -> None:
    head = REWRITES if family in ("t5", "bart") else CONTINUES if family in ("llama", "gpt2", "gemma3") else Head("AutoModelForMaskedLM", {})
    for method in (method for method in methods_for(family) if not isinstance(method, PTuning)):
        _as_alone_and_checkpointed(stirred(method.apply(opened(folders(family), head))), answers=head is REWRITES)


def _as_alone_and_checkpointed(model: Any, *, answers: bool) -> None:
    long, short = IDS, IDS[:, :6]
    both, mask = torch.cat([long, torch.nn.functional.pad(short, (0, 4))]), torch.ones(2, 10, dtype=torch.long)
    mask[1, 6:] = 0

    def batch(ids: torch.Tensor, seen: torch.Tensor) -> Batch:
        answer = {"decoder_input_ids": ids[:, :5]} if answers else {}
        return Batch({"input_ids": ids, "attention_mask": seen, **answer}, None, ("a",), 1)

    with torch.no_grad():
        together = readout.hidden_states(model, batch(both, mask))
        alone = readout.hidden_states(model, batch(short, torch.ones_like(short)))
        assert together.shape[:2] == ((2, 5) if answers else (2, 10)), "a state for every token, none for the vectors"
        torch.testing.assert_close(together[1, : alone.shape[1]], alone[0], rtol=1e-4, atol=1e-4)
    assert readout.of(model) is not None
    found = []
    for checkpointed in (False, True):
        if checkpointed:
            checkpointing.enable(model.train())
        states = readout.hidden_states(model, batch(both, mask))
        states = states[mask.bool()[:, : states.shape[1]]]
        (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
        found.append(model.prompt_encoder.embedding.weight.grad.clone())
        model.zero_grad()
    assert found[0].abs().sum() > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4 * float(found[0].abs().max()))


@pytest.mark.parametrize("family", ["llama", *(pytest.param(family, marks=pytest.mark.soak) for family in ("gpt2", "bart"))])
def test_texts_are_generated_behind_the_vectors_alone_and_in_company(folders: Callable[[str], Path], family: str) -> None:
    head = REWRITES if family == "bart" else CONTINUES
    for method in (PromptTuning(num_virtual_tokens=4), PrefixTuning(num_virtual_tokens=4))[: 1 if family == "bart" else 2]:
        _generates(stirred(method.apply(opened(folders(family), head))), folders(family), family)


def _generates(model: Any, folder: Path, family: str) -> None:
    place = str(folder)
    tokenizer = Tokenizer(Located(place, place, True, place), 100, decoder_start=2 if family == "bart" else None)
    generation = Generation(max_new_tokens=6)
    prompts = [IDS[0].tolist(), IDS[0, :4].tolist()]
    expected = []
    for prompt in prompts:  # greedily, the whole text anew for every token
        said = [2] if family == "bart" else list(prompt)
        for _ in range(6):
            ids = torch.tensor([prompt if family == "bart" else said])
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | ({"decoder_input_ids": torch.tensor([said])} if family == "bart" else {})
            with torch.no_grad():
                said.append(int(model(**inputs).logits[0, -1].argmax()))
        expected.append(tokenizer.decode(said[1 if family == "bart" else len(prompt) :]))
    found = generate.answers(model, prompts, tokenizer, generation, device=torch.device("cpu"))
    for answer, wanted in zip(found, expected, strict=True):
        assert answer.text and answer.text == wanted.strip()


def test_vectors_begin_as_words_and_are_as_many_as_their_paper_counts(folders: Callable[[str], Path]) -> None:
    model = opened(folders("llama"), CONTINUES)
    words = model.get_input_embeddings().weight.detach().clone()
    for method in (PromptTuning(num_virtual_tokens=8), PromptTuning(num_virtual_tokens=8, init_text="capital of france")):
        made = method.apply(opened(folders("llama"), CONTINUES))
        trained = {name: p for name, p in made.named_parameters() if p.requires_grad}
        assert list(trained) == ["prompt_encoder.embedding.weight"] and trained["prompt_encoder.embedding.weight"].numel() == 8 * WIDTH
        vectors = trained["prompt_encoder.embedding.weight"]
        assert all((words == vector).all(1).any() for vector in vectors)
    ids = transformers.AutoTokenizer.from_pretrained(folders("llama"))("capital of france")["input_ids"]
    torch.testing.assert_close(vectors[: len(ids)], words[ids[:8]])


def test_a_prompt_that_leaves_no_room_is_refused_and_rows_are_as_much_shorter(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="takes 70 positions, and the model has 66"):
        weitiao.train(recipe_dict | {"method": {"name": "prompt_tuning", "num_virtual_tokens": 70}})
    with pytest.raises(BadValue, match="task.max_length: 60 is more than the 56 tokens"):
        weitiao.train(recipe_dict | {"method": {"name": "prompt_tuning", "num_virtual_tokens": 10}, "task": {"name": "text_classification", "max_length": 60}})
    short = {**recipe_dict["train"], "epochs": 1}
    report = weitiao.train(recipe_dict | {"method": {"name": "p_tuning", "num_virtual_tokens": 10}, "train": short}, out=tmp_path / "run")
    assert report["opens_with"]["needs"] == "weitiao" and report["opens_with"]["folder"] == "adapter"


def test_rows_are_not_packed(folders: Callable[[str], Path], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"text": text}) for text in tiny_language.texts(20)))
    plan = api.plan(
        model=str(folders("llama")),
        data={"name": "json", "train": str(rows)},
        task={"name": "language_modeling", "max_length": 24},
        method={"name": "prompt_tuning", "num_virtual_tokens": 5},
        train={"packing": True, "device": "cpu", "dtype": "fp32"},
    )
    assert not plan["packing"] and any("prompt_tuning puts something before every row" in note for note in plan["notes"])


def test_a_prefix_is_refused_where_it_would_train_nothing(folders: Callable[[str], Path]) -> None:
    for family, head, words in (("deberta", CLASSIFIES, "cannot be given keys and values"), ("t5", REWRITES, "has two stacks")):
        with pytest.raises(NoTargets, match=words):
            PrefixTuning(num_virtual_tokens=4).apply(opened(folders(family), head))


def test_a_prefix_has_as_many_parameters_as_keys_and_values_of_its_tokens(folders: Callable[[str], Path]) -> None:
    model = PrefixTuning(num_virtual_tokens=6).apply(opened(folders("llama"), CONTINUES))
    assert {name: p.numel() for name, p in model.named_parameters() if p.requires_grad} == {"prompt_encoder.embedding.weight": 6 * 2 * 2 * WIDTH // 2}


@pytest.mark.parametrize("method", [PromptTuning(), PTuning(), PrefixTuning(), PrefixTuning(prefix_projection=True)], ids=lambda method: method.name)
def test_no_layer_counts_as_frozen_behind_what_trains(tiny_bert: Path, method: Any) -> None:
    assert frozen.prefix(method.apply(opened(tiny_bert, CLASSIFIES)).train()) == (0, False)
