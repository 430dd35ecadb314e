"""Every lever of training on and off: the same losses, the same weights; and what each is worth is really done."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_language
import weitiao
from tiny import DEVICE
from weitiao.core import environment
from weitiao.core.contracts import IGNORED, Features, Layout
from weitiao.methods.layers import Layers
from weitiao.models import apart, attention, frozen, vocabulary
from weitiao.models.layout import shared_prefix, token_batch
from weitiao.objectives.likelihood import Likelihood

SHARING = ["llama", "gemma3", "qwen3", "gpt2", "opt", "mistral", "granite", "cohere"]


@pytest.fixture
def train(recipe_dict: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that trains a classifier in two epochs, with its own cache."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(name: str, *, method: dict[str, Any] | str = "full", **settings: Any) -> dict[str, Any]:
        given = {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3, "dtype": "fp32", "device": str(DEVICE), "weight_decay": 0.1, **settings}
        return weitiao.train({**recipe_dict, "method": method, "train": given, "evaluate": {"every": 3}}, out=tmp_path / name)

    return run


def losses(report: dict[str, Any]) -> list[float]:
    return [loss for _, loss in report["curves"]["train_loss"]]


def weights(report: dict[str, Any]) -> dict[str, torch.Tensor]:
    return dict(load_file(Path(report["artifact"]) / "model" / "model.safetensors"))


def assert_same(first: dict[str, Any], second: dict[str, Any], tolerance: float = 1e-5) -> None:
    assert losses(first) == pytest.approx(losses(second), rel=tolerance)
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        if name.endswith("key.bias") and tolerance:
            continue  # its gradient is zero but for rounding, which AdamW makes steps of
        torch.testing.assert_close(tensor, other[name], rtol=tolerance, atol=tolerance, msg=name)


def kept_entries() -> list[Path]:
    return sorted(path for path in (environment.cache_folder() / "states").iterdir() if path.is_dir())


# ------------------------------------------------------------ padding


@pytest.mark.skipif(DEVICE.type != "cpu", reason="padding is computed on a GPU")
@pytest.mark.parametrize("method", ["full", {"name": "layers", "last": 1}])
def test_losses_do_not_depend_on_whether_padding_is_computed(train: Callable[..., dict[str, Any]], method: Any) -> None:
    settings = {"method": method, "dropout": 0.0}  # masks are drawn for what is computed
    left_out, computed = train("left out", pack_tokens=60, **settings), train("computed", packing=False, **settings)
    assert left_out["plan"]["unpadding"] and left_out["plan"]["pack_tokens"] == 60 and not computed["plan"]["unpadding"]
    assert_same(left_out, computed)


# ------------------------------------------------------------ states of frozen layers


@pytest.mark.parametrize("method", [{"name": "layers", "last": 1}, {"name": "layers", "last": 0}, {"name": "layers", "pattern": "^classifier", "head": False}])
def test_losses_do_not_depend_on_whether_frozen_layers_are_computed_once(train: Callable[..., dict[str, Any]], method: dict[str, Any]) -> None:
    kept, computed = train("kept", method=method), train("computed", method=method, cache_features=False)
    assert kept["plan"]["cached_layers"] > 0 and computed["plan"]["cached_layers"] == 0
    assert not any("cache_features" in note for note in kept["notes"])
    assert_same(kept, computed)


def test_frozen_layers_are_passed_by_in_every_step(train: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.bert.modeling_bert import BertLayer

    calls = {True: 0, False: 0}
    own = BertLayer.forward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args[0].device.type != "meta":  # the plan counts sizes there
            calls[torch.is_grad_enabled()] += 1
        return own(self, *args, **kwargs)

    monkeypatch.setattr(BertLayer, "forward", counted)
    report = train("kept", method={"name": "layers", "pattern": "^classifier", "head": False})
    assert report["plan"]["cached_layers"] > 0 and calls[True] == 0 < calls[False]


def test_states_are_read_back_by_the_next_run_and_made_again_when_damaged(train: Callable[..., dict[str, Any]]) -> None:
    method = {"name": "layers", "last": 1}
    first = train("first", method=method)
    entries = kept_entries()
    files = [entry / "states.npy" for entry in entries]
    stamps = [file.stat().st_mtime_ns for file in files]
    assert len(files) == 2, "train and dev"
    assert_same(first, train("second", method=method), 0.0)
    assert [file.stat().st_mtime_ns for file in files] == stamps
    for file in files:
        file.write_bytes(file.read_bytes()[:200])
    assert_same(first, train("third", method=method), 0.0)
    assert kept_entries() == entries and files[0].stat().st_size > 200
    content = bytearray(files[0].read_bytes())
    content[-3] ^= 1
    files[0].write_bytes(content)
    assert_same(first, train("fourth", method=method), 0.0)
    assert files[0].read_bytes() != content, "a flipped bit is noticed"


def test_other_tokens_and_other_weights_have_other_states(train: Callable[..., dict[str, Any]]) -> None:
    train("two", method={"name": "layers", "last": 1})
    train("shorter", method={"name": "layers", "last": 0})
    assert len(kept_entries()) == 4


def test_nothing_is_kept_where_rows_are_seen_once_or_the_first_layer_trains(train: Callable[..., dict[str, Any]]) -> None:
    assert train("once", method={"name": "layers", "last": 1}, epochs=1)["plan"]["cached_layers"] == 0
    report = train("full", cache_features=True)
    assert report["plan"]["cached_layers"] == 0 and any("train.cache_features: nothing is kept" in note for note in report["notes"])


@pytest.mark.parametrize("setting", ["embd_pdrop", "resid_pdrop", "attn_pdrop"])
def test_layers_below_which_something_is_random_are_not_frozen(setting: str) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    dropout = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0}
    sizes: dict[str, Any] = {"n_layer": 3, "n_embd": 32, "n_head": 2, "vocab_size": 100, "bos_token_id": 1, "eos_token_id": 2}
    method = Layers(last=1)
    found = []
    for settings in (dropout, {**dropout, setting: 0.1}):
        model = method.apply(GPT2LMHeadModel(GPT2Config(**sizes, **settings)))
        method.training_mode(model)
        found.append(frozen.prefix(model))
    assert found[0] == (2, False)
    assert found[1] == ((0, False) if setting == "embd_pdrop" else (2, False)), "frozen layers run without dropout, what stands outside of them does not"


def test_a_decoder_keeps_the_states_of_packed_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    rows = tmp_path / "chat.jsonl"
    rows.write_text("\n".join(map(json.dumps, tiny_language.dialogues(40))))
    found = []
    for name, kept in (("kept", None), ("computed", False)):
        recipe = {
            "model": str(tiny_language.build(tmp_path / name / "llama", "llama")),
            "data": {"name": "json", "train": str(rows)},
            "task": {"name": "chat", "max_length": 96, "generate_rows": 0},
            "method": {"name": "layers", "last": 1},
            "train": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "dtype": "fp32", "device": str(DEVICE), "cache_features": kept},
        }
        found.append(weitiao.train(recipe, out=tmp_path / name / "run"))
    assert found[0]["plan"]["packing"] and found[0]["plan"]["cached_layers"] > 0 and not found[0]["plan"]["share_prefix"]
    assert losses(found[0]) == pytest.approx(losses(found[1]), rel=1e-5)


# ------------------------------------------------------------ words


def test_an_embedding_of_the_words_that_occur_learns_what_the_whole_one_does(train: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "WORTHWHILE", 0.99)  # a tiny vocabulary has few words that do not occur
    few, all_words = train("few"), train("all", compact_vocabulary=False)
    assert few["plan"]["trained_words"] is not None and all_words["plan"]["trained_words"] is None
    assert_same(few, all_words)


def test_words_that_do_not_occur_feel_only_the_decay() -> None:
    model = torch.nn.Module()
    model.embedding = torch.nn.Embedding(10, 4, padding_idx=0)
    model.get_input_embeddings = lambda: model.embedding  # type: ignore[assignment]
    start = model.embedding.weight.detach().clone()
    assert vocabulary.words(model, [3, 5]) == 3 and vocabulary.words(model, range(10)) is None
    small = vocabulary.shrink(model, [3, 5])
    assert small.weight.shape == (3, 4)
    vocabulary.fade(small, [0.1, 0.2], 0.5)
    ids = torch.tensor([[3, 7, 0]])
    small.eval()
    torch.testing.assert_close(small(ids)[0], torch.stack([start[3], start[7] * 0.95 * 0.9, start[0]]))
    vocabulary.grow(small)
    assert type(model.embedding) is torch.nn.Embedding
    torch.testing.assert_close(model.embedding.weight[7].detach(), start[7] * 0.95 * 0.9)
    torch.testing.assert_close(model.embedding.weight[3].detach(), start[3])


# ------------------------------------------------------------ shared prefixes


@pytest.mark.parametrize("family", SHARING)
def test_the_gradient_does_not_depend_on_whether_a_common_beginning_is_computed_once(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_language.build(tmp_path / family, family))
    assert attention.install(model) and apart.shares_prefix(model)
    random = torch.Generator().manual_seed(0)
    beginning = torch.randint(3, 250, (12,), generator=random).tolist()
    items = []
    for n, own in enumerate((5, 150, 21)):
        ids = beginning + torch.randint(3, 250, (own,), generator=random).tolist()
        items.append(Features(str(n), ids, [IGNORED] * 13 + ids[14:] + [IGNORED]))
    assert shared_prefix(items) == 12
    found = []
    for shares in (True, False):
        batch = token_batch(items, Layout(0, packed=True, shares=shares))
        assert batch.shared == (12 if shares else 0) and batch.tokens == sum(map(len, items))
        assert batch.inputs["input_ids"].shape[1] == batch.tokens - (24 if shares else 0)
        model.zero_grad()
        loss = Likelihood()(model, batch)
        loss.value().backward()
        found.append((float(loss.value().detach()), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert (found[0][1] - found[1][1]).norm() <= 1e-5 * found[1][1].norm()


def test_a_beginning_at_which_something_is_asked_is_not_shared() -> None:
    ids = list(range(3, 23))
    asked = [IGNORED] * 9 + ids[10:] + [IGNORED]
    items = [Features("a", ids, asked), Features("b", ids, asked)]
    assert shared_prefix(items) == 9
    assert shared_prefix(items[:1]) == 0
    assert shared_prefix([*items, Features("c", [99, *ids[1:]], asked)]) == 0


def test_a_chat_with_one_system_prompt_learns_the_same_with_and_without_sharing(tmp_path: Path) -> None:
    rows = tmp_path / "chat.jsonl"
    system = {"role": "system", "content": "answer as a friend would and keep it short"}
    rows.write_text(
        "\n".join(json.dumps({"messages": [system, *(turn for turn in row["messages"] if turn["role"] != "system")]}) for row in tiny_language.dialogues(40))
    )
    model = str(tiny_language.build(tmp_path / "llama", "llama"))
    found = []
    for shares in (True, False):
        recipe = {
            "model": model,
            "data": {"name": "json", "train": str(rows)},
            "task": {"name": "chat", "max_length": 160, "generate_rows": 0},
            "method": {"name": "lora", "r": 4},
            "train": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "dtype": "fp32", "device": str(DEVICE), "share_prefix": shares},
        }
        found.append(weitiao.train(recipe, out=tmp_path / str(shares)))
        assert found[-1]["plan"]["share_prefix"] is (shares and DEVICE.type == "cpu")
    assert losses(found[0]) == pytest.approx(losses(found[1]), rel=1e-4)
    assert found[0]["metrics"]["loss"]["after"]["value"] == pytest.approx(found[1]["metrics"]["loss"]["after"]["value"], rel=1e-4)


# ------------------------------------------------------------ memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be asked to keep memory")
def test_freed_memory_is_not_fetched_again_page_by_page_and_can_be_given_back_in_between() -> None:
    code = """
import ctypes, json, resource
from pathlib import Path
from weitiao.models import allocator

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes, library.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def fill(times):
    for _ in range(times):
        place = library.malloc(2**26)  # 64 MB: more than glibc keeps of its own accord
        ctypes.memset(place, 1, 2**26)
        library.free(place)

def faults(kept):
    with allocator.keeping(kept) as does:
        assert does is kept
        fill(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        fill(4)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

found = {"given_back": faults(False), "kept": faults(True)}
with allocator.keeping(True):
    fill(1)
    before = held()
    allocator.trim()
    found["trimmed"] = before - held()
print(json.dumps(found))
"""
    # in a process of its own: what earlier tests left in the heap decides what the next allocation gets
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["given_back"] > 4 * 10_000 and found["kept"] < found["given_back"] / 4 and found["trimmed"] > 50


def test_keeping_freed_memory_changes_no_bit(train: Callable[..., dict[str, Any]]) -> None:
    assert_same(train("kept"), train("given_back", keep_memory=False), 0.0)
