"""The guard: weitiao beside a plain loop over transformers and PEFT, on small random models, in one process and in turn.

    python benchmarks --quick

It fails where a ratio falls below FLOOR, so that what once made training fast is not lost unnoticed: packing, likelihoods read
out at labelled positions only, kept states of frozen layers, padding left out of an encoder. A ratio does not depend on how fast the machine is. The real
comparisons are the other files of this folder.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import transformers
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers

import weitiao
from weitiao.core.contracts import IGNORED
from weitiao.core.recipe import Recipe
from weitiao.training.prepare import encode, prepare

REPEATS = 3
FLOOR = {"LoRA on conversations": 1.5, "the head alone, three epochs": 2.5, "every weight of an encoder": 1.2}
"""Work -> the ratio below which the guard fails; about two thirds or less of what was measured when it was set (docs/benchmarks.md)."""
WORDS = [f"w{n}" for n in range(4000)]
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
SHAPE = {"vocab_size": len(WORDS) + len(SPECIAL), "hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 512}


def model_folder(folder: Path, kind: type, config: transformers.PretrainedConfig) -> Path:
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(SPECIAL + WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "model_max_length": 512}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    return folder


def sentence(rng: random.Random, longest: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, rng.choice([longest // 4, longest]))))


def conversations(folder: Path) -> dict:
    """Return the recipe of LoRA on conversations of very different lengths."""
    rng = random.Random(0)
    rows = [{"messages": [{"role": "user", "content": sentence(rng, 60)}, {"role": "assistant", "content": sentence(rng, 160)}]} for _ in range(72)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = transformers.LlamaConfig(**SHAPE, num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    return {
        "model": str(model_folder(folder / "decoder", transformers.LlamaForCausalLM, config)),
        "data": {"name": "json", "train": str(folder / "rows.jsonl"), "test_share": 0.1},
        "task": {"name": "chat", "max_length": 512, "generate_rows": 0},
        "method": {"name": "lora", "r": 8},
        "train": {"epochs": 1, "batch_size": 8, "dtype": "fp32", "device": "cpu"},
        "evaluate": {"best": False},
    }


def sentences(folder: Path) -> dict:
    """Return the recipe of a classifier whose head alone trains."""
    rng = random.Random(0)
    rows = [{"text": sentence(rng, 48), "label": rng.choice(["a", "b"])} for _ in range(400)]
    (folder / "sentences.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = transformers.BertConfig(**SHAPE, pad_token_id=0, hidden_dropout_prob=0.1)
    return {
        "model": str(model_folder(folder / "encoder", transformers.BertModel, config)),
        "data": {"name": "json", "train": str(folder / "sentences.jsonl"), "test_share": 0.1},
        "task": {"name": "text_classification", "max_length": 64},
        "method": {"name": "layers", "last": 0},
        "train": {"epochs": 3, "batch_size": 16, "dtype": "fp32", "device": "cpu"},
        "evaluate": {"best": False},
    }


def whole(folder: Path) -> dict:
    """Return the recipe of a classifier whose every weight trains."""
    found = sentences(folder)
    return {**found, "method": "full", "train": {**found["train"], "epochs": 1}}


def ours(recipe: dict, folder: Path, turn: int) -> float:
    """Return real tokens a second of a whole run, from the first forward to the last step; nothing is at hand from the run before."""
    turned = {**recipe, "train": {**recipe["train"], "seed": turn}}
    os.environ["HF_HOME"] = str(folder / f"home{turn}")
    with contextlib.redirect_stdout(io.StringIO()):
        report = weitiao.train(turned, out=folder / f"run{turn}", recorders=[])
    return float(report["tokens_seen"]) / report["train_seconds"]


def plain(recipe: dict) -> float:
    """Return real tokens a second of the loop that one writes: batches in random order, padded, the model's own loss."""
    _, encoded = encode(prepare(Recipe.load(recipe)))
    chat = recipe["task"]["name"] == "chat"
    kind = transformers.AutoModelForCausalLM if chat else transformers.AutoModelForSequenceClassification
    model = kind.from_pretrained(recipe["model"], dtype=torch.float32)
    if chat:
        model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    elif recipe["method"] != "full":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("classifier" in name or "pooler" in name)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    items, size, tokens = list(encoded.train), recipe["train"]["batch_size"], 0
    began = time.perf_counter()
    for epoch in range(recipe["train"]["epochs"]):
        random.Random(epoch).shuffle(items)
        for start in range(0, len(items), size):
            some = items[start : start + size]
            longest = max(map(len, some))
            ids = torch.tensor([[*item.input_ids, *[0] * (longest - len(item))] for item in some])
            mask = torch.tensor([[1] * len(item) + [0] * (longest - len(item)) for item in some])
            labels = [[IGNORED, *item.target[:-1], *[IGNORED] * (longest - len(item))] if chat else item.target for item in some]
            model(input_ids=ids, attention_mask=mask, labels=torch.tensor(labels)).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            tokens += int(mask.sum())
    return tokens / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", required=True, help="the guard: there is nothing else here")
    parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    lost = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for work, make in (("LoRA on conversations", conversations), ("the head alone, three epochs", sentences), ("every weight of an encoder", whole)):
            recipe = make(folder)
            pairs = [(ours(recipe, folder / make.__name__, turn), plain(recipe)) for turn in range(REPEATS)]
            ratio = median(one / other for one, other in pairs)
            held = ratio >= FLOOR[work]
            lost += not held
            told = ", ".join(f"{one:.0f} / {other:.0f}" for one, other in pairs)
            print(f"{work}: {ratio:.2f} times a plain loop ({told} tokens/s); at least {FLOOR[work]}: {'held' if held else 'LOST'}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
