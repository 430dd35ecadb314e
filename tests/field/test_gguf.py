"""Models that come as GGUF inside Python packages: converted once, and they answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from weitiao.errors import WeitiaoError
from weitiao.models import convert
from weitiao.models.locate import locate

pytestmark = pytest.mark.field
TEXTS = ["The capital of France is", "  in 2024, 1,234.5\n\n\tx = y", "中文：今天天气很好。", "def f(x):\n    return [1, 22]", "😀👩‍👩‍👧 café"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Any, Path]]:
    """Return a function from a short name to tokenizer, model and folder, converted into a cache of its own."""
    home = tmp_path_factory.mktemp("home")

    def open_(name: str) -> tuple[Any, Any, Path]:
        pytest.importorskip("gguf", reason="GGUF files are read with the package gguf: pip install gguf")
        pytest.importorskip("accelerate", reason="transformers opens GGUF files only where accelerate is installed")
        try:
            located = locate(name)
        except WeitiaoError as error:
            pytest.skip(f"{error.message} {error.hint}")
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("HF_HOME", str(home))
            folder = Path(convert.ready(located, say=lambda line: None).place)
            again = convert.ready(located, say=lambda line: pytest.fail(f"converted again: {line}"))
        assert again.place == str(folder)
        return transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoModelForCausalLM.from_pretrained(folder).eval(), folder

    return open_


def tokenizers_agree(tokenizer: Any, folder: Path, tmp_path: Path) -> None:
    """The ids stay what they are when the tokenizer is saved and opened again, and every text comes back whole."""
    tokenizer.save_pretrained(tmp_path / "again")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert again(text)["input_ids"] == ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert not list(folder.glob("*.gguf*"))


def test_smollm2_answers_questions(converted: Callable[[str], tuple[Any, Any, Path]], tmp_path: Path) -> None:
    tokenizer, model, folder = converted("smollm2-135m")
    tokenizers_agree(tokenizer, folder, tmp_path)
    assert tokenizer.tokenize(" in   2024") == ["Ġin", "ĠĠĠ", "2", "0", "2", "4"], "digits are split as in training"
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(said) and said[-1] == tokenizer.eos_token_id
    assert model.config.tie_word_embeddings and model.dtype == torch.float32


@pytest.mark.soak
def test_gemma3_speaks_more_than_one_language(converted: Callable[[str], tuple[Any, Any, Path]], tmp_path: Path) -> None:
    tokenizer, model, folder = converted("gemma3-270m")
    tokenizers_agree(tokenizer, folder, tmp_path)
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id == 2 and tokenizer.chat_template is None
    likely, unlikely = (loss(model, tokenizer, text) for text in ("北京是中国的首都。", "北京是火车的香蕉。"))
    assert likely < unlikely
    assert loss(model, tokenizer, "The sun rises in the east and sets in the west.") < 2.5


def loss(model: Any, tokenizer: Any, text: str) -> float:
    """Return the mean negative log-likelihood of a text's tokens."""
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1]
    return float(torch.nn.functional.cross_entropy(logits, ids[0, 1:]))
