"""Tiny random models and small data that they can learn."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import torch

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
DEVICE = torch.device(os.environ.get("WEITIAO_TEST_DEVICE", "cpu"))
"""Where the conformance tests compute. On a machine with a GPU: WEITIAO_TEST_DEVICE=cuda pytest tests/conformance."""
ROUNDING = 1e-5 if DEVICE.type == "cpu" else 1e-4
"""How far two ways of computing the same may be apart: kernels of a GPU add in another order."""
FAMILIES = ("bert", "roberta", "deberta", "llama", "gemma3")

GOOD = ["good", "fine", "great", "lovely", "nice", "superb", "warm", "bright"]
BAD = ["bad", "poor", "awful", "dull", "weak", "cold", "grim", "flat"]
FILLER = ["the", "film", "was", "a", "and", "very", "with", "its", "story", "in", "this", "we", "saw", "one", "more", "day", "by", "night"]


def sentences(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Return (text, label) pairs that a tiny model can learn: two telling words among fillers."""
    rng = random.Random(seed)
    pairs = []
    for n in range(count):
        label = "pos" if n % 2 else "neg"
        telling = GOOD if label == "pos" else BAD
        words = [*rng.choices(FILLER, k=rng.randint(1, 8)), rng.choice(telling), rng.choice(telling)]
        rng.shuffle(words)
        pairs.append((" ".join(words) + f" {n}", label))
    return pairs


def questions(count: int, *, seed: int = 0, answerable: float = 1.0, longest: int = 12) -> list[dict[str, Any]]:
    """Return question answering records that a tiny model can learn: the good word of a context, or the bad one; some have none."""
    rng = random.Random(seed)
    records = []
    for n in range(count):
        asked, telling, other = ("which is warm", GOOD, BAD) if n % 2 else ("which is cold", BAD, GOOD)
        words = [*rng.choices(FILLER, k=rng.randint(3, longest)), rng.choice(other)]
        answer = rng.choice([word for word in telling if word not in ("warm", "cold")]) if rng.random() < answerable else None
        words.insert(rng.randrange(len(words)), answer or "story")
        context = " ".join(words) + f" {n}"
        found = [] if answer is None else [{"text": answer, "answer_start": f" {context} ".index(f" {answer} ")}]
        records.append({"id": f"q{n}", "question": asked, "context": context, "answers": found})
    return records


def choices(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Return multiple choice records of two to five options that a tiny model can learn: the one good one, or the one bad one."""
    rng = random.Random(seed)
    records = []
    for n in range(count):
        asked, telling, others = ("which is warm", GOOD, BAD) if n % 2 else ("which is cold", BAD, GOOD)
        texts = [" ".join([*rng.choices(FILLER, k=rng.randint(0, 4)), word]) for word in [rng.choice(telling), *rng.sample(others, k=1 + n % 4)]]
        right = rng.randrange(len(texts))
        texts[0], texts[right] = texts[right], texts[0]
        labels = list("ABCDE"[: len(texts)])
        records.append({"id": f"c{n}", "question": f"{asked} {n}", "choices": {"label": labels, "text": texts}, "answerKey": labels[right]})
    return records


def write_csv(path: Path, pairs: list[tuple[str, str]], header: str = "text,label") -> Path:
    path.write_text("\n".join([header, *(f"{text},{label}" for text, label in pairs)]) + "\n", encoding="utf-8")
    return path


def build_tiny(folder: Path, family: str) -> Path:
    """Write a random model of two layers and a word tokenizer."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *FILLER, *GOOD, *BAD, *map(str, range(100))]
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(dict.fromkeys(vocabulary))}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if family not in ("llama", "gemma3"):
        pair = "[CLS] $A [SEP] [SEP] $B [SEP]" if family == "roberta" else "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
        words.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=64
    )
    shape: dict[str, Any] = {
        "vocab_size": words.get_vocab_size(),
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
        "pad_token_id": 0,
        "initializer_range": 0.2,  # at the usual 0.02 a model this small hardly looks at its input
    }
    kinds: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "bert": (transformers.BertConfig, transformers.BertModel, {}),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel, {"type_vocab_size": 1, "bos_token_id": 2, "eos_token_id": 3}),
        "deberta": (
            transformers.DebertaV2Config,
            transformers.DebertaV2Model,
            {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16, "position_biased_input": False, "type_vocab_size": 0},
        ),
        "gemma3": (
            transformers.Gemma3TextConfig,
            transformers.Gemma3TextModel,
            {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8, "bos_token_id": 2, "eos_token_id": 3},
        ),
        "llama": (transformers.LlamaConfig, transformers.LlamaModel, {"num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3}),
    }
    config, model, extra = kinds[family]
    torch.manual_seed(0)
    model(config(**shape, **extra)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
