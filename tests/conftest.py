"""Tiny random models of several families, small data files, and the command line without a process of its own."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FAMILIES = ("bert", "roberta", "deberta", "llama")

GOOD = "good fine great lovely nice superb warm bright".split()
BAD = "bad poor awful dull weak cold grim flat".split()
FILLER = "the film was a and very with its story in this we saw one more day by night".split()


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a worker: two workers on two cores do not fight
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    return SHARED


def sentences(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Return (text, label) pairs that a tiny model can learn: one telling word among fillers."""
    rng = random.Random(seed)
    pairs = []
    for n in range(count):
        label = "pos" if n % 2 else "neg"
        words = rng.choices(FILLER, k=rng.randint(2, 14)) + [rng.choice(GOOD if label == "pos" else BAD)]
        rng.shuffle(words)
        pairs.append((" ".join(words) + f" {n}", label))
    return pairs


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
    if family != "llama":
        words.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
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
    }
    kinds: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "bert": (transformers.BertConfig, transformers.BertModel, {}),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel, {"type_vocab_size": 1, "bos_token_id": 2, "eos_token_id": 3}),
        "deberta": (
            transformers.DebertaV2Config,
            transformers.DebertaV2Model,
            {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16, "position_biased_input": False, "type_vocab_size": 0},
        ),
        "llama": (transformers.LlamaConfig, transformers.LlamaModel, {"num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3}),
    }
    config, model, extra = kinds[family]
    torch.manual_seed(0)
    model(config(**shape, **extra)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family's name to the folder of a tiny random model of it, built once a worker."""
    root = tmp_path_factory.mktemp("models")
    built: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in built:
            built[family] = build_tiny(root / family, family)
        return built[family]

    return folder


@pytest.fixture(scope="session")
def tiny_bert(tiny: Callable[[str], Path]) -> Path:
    return tiny("bert")


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """120 short texts with two labels."""
    return write_csv(tmp_path / "reviews.csv", sentences(120))


@pytest.fixture
def recipe_dict(tiny_bert: Path, reviews: Path) -> dict[str, Any]:
    """A recipe that trains in a second."""
    return {
        "model": str(tiny_bert),
        "data": {"name": "csv", "train": str(reviews)},
        "task": {"name": "text_classification", "max_length": 32},
        "method": {"name": "full"},
        "train": {"epochs": 2, "batch_size": 16, "learning_rate": 3e-3, "dtype": "fp32", "device": "cpu"},
    }


@dataclass
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Return a function that runs the command line in this process."""
    from weitiao.cli import app

    def run(*arguments: object, stdin: str | bytes | None = None) -> Answer:
        monkeypatch.setattr(sys, "argv", ["weitiao", *map(str, arguments)])
        if stdin is not None:
            import io

            raw = stdin.encode() if isinstance(stdin, str) else stdin
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
        capsys.readouterr()
        code = 0
        try:
            app.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Return a function that writes a recipe file."""
    import yaml

    def write(document: dict[str, Any], name: str = "recipe.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    return write
