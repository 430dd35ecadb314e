"""A GGUF file becomes a plain transformers folder in the cache, once.

Whatever opens a folder of safetensors then works: training, PEFT, plain transformers. The weights are what
transformers dequantizes to; nothing is rounded on the way.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn import Module

from weitiao.core import environment, files, fingerprint
from weitiao.errors import MachineError, MissingExtra, ModelError
from weitiao.models.load import _one_line, _quiet
from weitiao.models.locate import GGUF, Located, cached, silent_hub, size

VERSION = 1
"""Raised when a conversion would come out otherwise than before: folders of another version are made again."""

FACTS = "conversion.json"
"""Beside the weights: which file they came from."""

_NEEDED = ("gguf", "accelerate")
"""Packages without which transformers opens no GGUF file."""

_DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
"""Pre-tokenizers that cut off every digit before anything else. transformers 5.23 does not know them and keeps a space
with the digit behind it: 9 of 68 files of code came out with other ids than SmolLM2 was trained on. The rule is
llama.cpp's: `\\p{N}` first, then the expression of GPT-2 (src/llama-vocab.cpp)."""

_PLAIN = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion")
"""Pre-tokenizers that are the one of GPT-2, which transformers takes where it knows no better."""

_UNREAD = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that stretch the positions of a model and that transformers passes over without a word."""

_MEGABYTES_PER_SECOND = 12.0
"""Measured on two cores: 98 MB in 10 s, 253 MB in 23 s, writing included; only used to say how long it will take."""

_one_at_a_time = threading.Lock()
"""While a file is read, functions of transformers and gguf are exchanged: one thread at a time."""


def ready(located: Located, *, say: Callable[[str], None] | None = None) -> Located:
    """Return where `from_pretrained` finds the model: the place itself, or the folder that its GGUF file was converted to.

    An id whose files are in the hub client's cache becomes their folder where no hub answers: the client itself would
    try the hub for half a minute before each file.

    The folder lies in the cache under the file's name and hash and is made once, whoever asks first; other processes
    wait. say: gets two or three lines while it is made, by default on stderr. Raises ModelError where the file is
    damaged or of an unknown architecture, MissingExtra, MachineError where the cache cannot be written.
    """
    if not located.local:
        folder = cached(located.place)
        return replace(located, place=str(folder), local=True) if folder is not None and silent_hub() else located
    if not located.gguf:
        return located
    cache = environment.cache_folder() / "gguf"
    digest = _digest(located.gguf, cache)
    folder = cache / f"{_stem(located.gguf[0])}-{digest[:12]}"
    if not _is_made(folder):
        with _written_to(cache):
            _make(located, folder, digest, say or _to_stderr)
    return replace(located, place=str(folder), gguf=())


def _make(located: Located, folder: Path, digest: str, say: Callable[[str], None]) -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(f"{located.asked} is a GGUF file; opening one needs {' and '.join(missing)}.", hint=f"pip install {' '.join(missing)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _held(folder.with_name(f"{folder.name}.lock"), lambda holder: say(f"{located.asked}: process {holder} is converting it; waiting for that.")):
        if _is_made(folder):
            return
        for leftover in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed: the lock is ours, so it is dead
            shutil.rmtree(leftover, ignore_errors=True)
        begun = time.monotonic()
        usual = 3 + sum(path.stat().st_size for path in located.gguf) / 1e6 / _MEGABYTES_PER_SECOND
        say(f"{located.asked}: converting its GGUF file ({size(located.gguf)}) to safetensors, once; usually about {usual:.0f} s ...")
        with _one_at_a_time, files.folder_being_written(folder) as new:
            for note in _convert(located, folder, new):
                say(f"{located.asked}: note: {note}")
            facts = {"version": VERSION, "files": [path.name for path in located.gguf], "sha256": digest, "transformers": transformers.__version__}
            files.write_json(new / FACTS, facts)
        say(f"{located.asked}: converted in {time.monotonic() - begun:.0f} s, into {folder}")


def _convert(located: Located, folder: Path, new: Path) -> list[str]:
    """Write configuration, weights and tokenizer into `new`; return what a person should know about them."""
    with _whole(located.gguf, folder) as file, _quiet(), _read_once():
        import gguf

        try:
            reader = gguf.GGUFReader(str(file))
            architecture = _field(reader, "general.architecture")
        except Exception as error:  # a broken header can break the reader in any way
            raise ModelError(
                f"{located.asked}: this is not a whole GGUF file ({size(located.gguf)}): {_one_line(error) or type(error).__name__}.",
                hint="It is cut short or damaged: compare its size with where it came from, and fetch it again.",
            ) from error
        try:
            config = transformers.AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
            model, info = _auto(config).from_pretrained(
                str(file.parent),
                gguf_file=file.name,
                config=config,
                quantization_config=transformers.GgufConfig(dequantize=True),
                dtype=torch.float32,
                output_loading_info=True,
            )
        except MemoryError:
            raise
        except Exception as error:
            raise ModelError(
                f"{located.asked}: transformers {transformers.__version__} cannot open a GGUF file of the architecture '{architecture}': {_one_line(error)}.",
                hint="Use the model's safetensors instead (its hub id or folder), or a newer transformers.",
            ) from error
        absent = sorted(info["missing_keys"])
        if absent:
            raise ModelError(
                f"{located.asked}: the GGUF file lacks {len(absent)} of the model's tensors, such as {absent[0]}.",
                hint="It was written for another version of the architecture: use the model's safetensors instead.",
            )
        notes = _mend(model, tokenizer, reader)
        model.to(_exact_dtype(model)).save_pretrained(new)
        tokenizer.save_pretrained(new)
        return notes


def _mend(model: Any, tokenizer: Any, reader: Any) -> list[str]:
    """Set what the file says and transformers passes over; return a sentence for each thing that stays different."""
    notes = []
    end_of_turn = _field(reader, "tokenizer.ggml.eot_token_id")
    if end_of_turn is not None and model.can_generate():  # a chat model stops at either
        both = [model.config.eos_token_id, end_of_turn]
        model.generation_config.eos_token_id = [token for token in dict.fromkeys(both) if token is not None]
    split = _field(reader, "tokenizer.ggml.pre")
    if _field(reader, "tokenizer.ggml.model") == "gpt2" and split is not None:
        if split in _DIGITS_APART:
            from tokenizers import pre_tokenizers

            digits, gpt2 = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
            tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, gpt2])
        elif split not in _PLAIN and split not in _splits_known():
            notes.append(f"transformers does not know its way of splitting text ('{split}'): token ids may differ from those it was trained with.")
    unread = [tensor.name for tensor in reader.tensors if tensor.name in _UNREAD]
    if unread:
        notes.append(f"transformers does not read {', '.join(unread)}, which stretch its positions: it differs a little from the original.")
    return notes


def _splits_known() -> tuple[str, ...]:
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:
        return ()
    return tuple(GGUF_PRE_TOKENIZER_SPLITS)


def _auto(config: Any) -> Any:
    """Return the class with the head that the file was written with: nearly always a language model's."""
    named = getattr(transformers, (config.architectures or [""])[0], None)
    if named is not None:
        return named
    for auto in (transformers.AutoModelForCausalLM, transformers.AutoModelForSeq2SeqLM):
        if type(config) in auto._model_mapping:
            return auto
    return transformers.AutoModel


def _exact_dtype(model: Module) -> torch.dtype:
    """Return the narrowest type that holds every weight exactly. Dequantized blocks need fp32; a GGUF in F16 or BF16 needs half."""
    for dtype in (torch.bfloat16, torch.float16):
        if all(torch.equal(tensor.to(dtype).float(), tensor) for tensor in model.state_dict().values()):
            return dtype
    return torch.float32


def _field(reader: Any, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()


def _is_made(folder: Path) -> bool:
    try:
        return files.is_complete(folder) and files.read_json(folder / FACTS)["version"] == VERSION
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _stem(first: Path) -> str:
    """Return the file's name without .gguf and without the number of a piece."""
    return first.name[: first.name.lower().index(GGUF)]


def _digest(paths: tuple[Path, ...], cache: Path) -> str:
    """Return the SHA-256 of the files one after the other, remembered for as long as none of them changes."""
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    note = cache / "digests" / fingerprint.of_json(facts)[:16]
    with contextlib.suppress(OSError, ValueError):
        known = note.read_text(encoding="ascii").strip()
        if len(known) == 64:
            return known
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    with contextlib.suppress(OSError):  # a read-only cache only means reading the file again
        files.write_text(note, digest.hexdigest())
    return digest.hexdigest()


@contextlib.contextmanager
def _whole(paths: tuple[Path, ...], folder: Path) -> Iterator[Path]:
    """Yield the file alone in a folder of its own (transformers reads what lies beside a model), pieces joined."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        path = Path(temporary) / f"{_stem(paths[0])}{GGUF}"
        if len(paths) == 1:
            try:
                path.symlink_to(paths[0].resolve())
            except (OSError, NotImplementedError):  # Windows gives links only to administrators
                shutil.copyfile(paths[0], path)
        else:
            with path.open("wb") as joined:
                for piece in paths:
                    with piece.open("rb") as file:
                        shutil.copyfileobj(file, joined, 1 << 20)
        yield path


@contextlib.contextmanager
def _held(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes out, waiting for one that is in. The lock ends with its process, however that ends."""
    with path.open("a+") as file:
        try:
            import fcntl
        except ImportError:  # Windows: two processes may do the same work; the folder still appears whole
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            waiting(file.read().strip() or "?")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def _written_to(cache: Path) -> Iterator[None]:
    """Turn a full disk, a read-only cache and the like into one sentence."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or _one_line(error)
        raise MachineError(
            f"the converted model cannot be written to {cache}: {reason}.", hint="Make room there, or set HF_HOME to a folder with room that you may write to."
        ) from error


@contextlib.contextmanager
def _read_once() -> Iterator[None]:
    """Keep transformers from reading a GGUF file's vocabulary again and again, each time one number at a time.

    transformers 5.23 parses the whole header three times with gguf's reader, through a numpy memory map whose every
    slice costs microseconds, and builds the table of tensor names once for each of the model's modules. With one
    reader, whole arrays read at once and one table, SmolLM2 (49,152 tokens) opens in 3 s instead of 18, Gemma 3
    (262,144 tokens) in 12 instead of 54. A name that has moved in another version is left alone: slow, but right.
    """
    import gguf
    from transformers import modeling_gguf_pytorch_utils as legacy

    reader: Any = functools.lru_cache(maxsize=1)(_quick_reader())
    names: Any = functools.lru_cache(maxsize=4)(gguf.get_tensor_name_map)
    whole: Any = legacy.load_gguf_checkpoint

    @functools.lru_cache(maxsize=1)
    def header(path: str) -> Any:
        return whole(path)

    def load(path: str, return_tensors: bool = False, **others: Any) -> Any:
        if return_tensors or others:
            return whole(path, return_tensors=return_tensors, **others)
        return {part: dict(found) for part, found in header(path).items()}

    with contextlib.ExitStack() as undone:
        for module, name, quick in (
            (gguf, "GGUFReader", reader),
            (gguf, "get_tensor_name_map", names),
            (legacy, "load_gguf_checkpoint", load),
            (legacy, "tqdm", lambda items, **_: items),
        ):
            if hasattr(module, name):
                undone.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, quick)
        yield


def _quick_reader() -> type:
    """Return gguf's reader, reading arrays whole instead of a number at a time; with the same answers."""
    import gguf

    class Reader(gguf.GGUFReader):  # type: ignore[misc]
        @property
        def data(self) -> Any:
            return self._data

        @data.setter
        def data(self, value: Any) -> None:
            self._data = np.asarray(value)  # a memory map's own slices cost ten times a plain array's

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            kind = gguf.GGUFValueType(raw_type)
            if kind is not gguf.GGUFValueType.ARRAY or self.byte_order != "I":
                return super()._get_field_parts(orig_offs, raw_type)
            item, length = self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)
            inside, count, at = gguf.GGUFValueType(item[0]), int(length[0]), orig_offs + 12
            if not count:
                return super()._get_field_parts(orig_offs, raw_type)
            if inside is gguf.GGUFValueType.STRING:
                parts, end = self._strings(at, count)
            elif inside in self.gguf_scalar_to_np:
                numbers = self._get(at, self.gguf_scalar_to_np[inside], count)
                if len(numbers) != count:
                    raise ValueError(f"an array of {count} numbers ends after {len(numbers)}")
                parts, end = list(numbers.reshape(-1, 1)), at + numbers.nbytes
            else:
                return super()._get_field_parts(orig_offs, raw_type)
            return end - orig_offs, [item, length, *parts], list(range(2, count + 2)), [kind, inside]

        def _strings(self, at: int, count: int) -> tuple[list[Any], int]:
            view, found = memoryview(self.data), []
            for _ in range(count):
                (length,) = struct.unpack_from("<Q", view, at)
                at += 8 + length
                found.append(view[at - length : at])
            if at > len(view):
                raise ValueError(f"a list of {count} texts runs past the end of the file")
            return found, at

    return Reader


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
