"""What sentence-transformers says of a model that makes vectors of texts, read from a checkpoint and written beside one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers

from weitiao.core import files
from weitiao.core.contracts import Traits
from weitiao.models.load import _quiet, _translated
from weitiao.models.locate import Located

MODULES, PROMPTS, LIMITS = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
_MODES = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
_OTHER_MODES = ("pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
_PASSAGE = ("document", "passage", "corpus")
"""Names under which a checkpoint keeps what stands before a text that is searched."""


def traits(located: Located, config: Any) -> Traits:
    """Return whether a model is causal and, where its checkpoint comes with files of sentence-transformers, what they say of pooling and prompts."""
    causal = is_causal(config)
    modules = _read(located, MODULES)
    if not isinstance(modules, list):
        return Traits(causal)
    kinds = {str(module.get("type", "")).rpartition(".")[2]: str(module.get("path", "")) for module in modules if isinstance(module, Mapping)}
    said = _read(located, f"{kinds['Pooling']}/config.json") if "Pooling" in kinds else None
    modes = [name for name, key in _MODES.items() if isinstance(said, Mapping) and (said.get(key) or said.get("pooling_mode") == key)]
    others = [key for key in _OTHER_MODES if isinstance(said, Mapping) and said.get(key)]
    alone = modes[0] if len(modes) == 1 and not others else None
    notes = [f"The checkpoint puts a {kind} layer behind its pooling, which is not used here." for kind in kinds if kind not in _KNOWN_MODULES]
    if said is not None and alone is None:
        notes.append("The checkpoint makes one vector of a text in a way that is not known here: task.pooling is used instead.")
    settings = _read(located, PROMPTS)
    prompts = settings.get("prompts") if isinstance(settings, Mapping) else None
    named = {str(name): str(text) for name, text in (prompts or {}).items() if text}
    found = {"query": named.get("query", ""), "passage": next((named[name] for name in _PASSAGE if name in named), "")}
    return Traits(causal, alone, {name: text for name, text in found.items() if text}, tuple(notes))


def is_causal(config: Any) -> bool:
    """Tell whether a token of this architecture sees only what stands before it: then only the last one has seen all."""
    if getattr(config, "is_decoder", False):
        return True
    return type(config) in transformers.AutoModelForCausalLM._model_mapping and type(config) not in transformers.AutoModelForMaskedLM._model_mapping


def write(folder: Path, *, pooling: str, width: int, max_length: int, prompts: Mapping[str, str]) -> None:
    """Write what sentence-transformers needs to open a transformers folder: pooling, vectors of length 1, prompts for `query` and `document`."""
    names = {"0": "", "1": "1_Pooling", "2": "2_Normalize"}
    kinds = [f"sentence_transformers.models.{kind}" for kind in _KNOWN_MODULES]
    entries = zip(names.items(), kinds, strict=True)
    files.write_json(folder / MODULES, [{"idx": int(name), "name": name, "path": path, "type": kind} for (name, path), kind in entries])
    modes = {key: name == pooling for name, key in _MODES.items()} | dict.fromkeys(_OTHER_MODES, False)
    (folder / names["1"]).mkdir()
    files.write_json(folder / names["1"] / "config.json", {"word_embedding_dimension": width, **modes, "include_prompt": True})
    (folder / names["2"]).mkdir()
    files.write_json(folder / names["2"] / "config.json", {})  # it has no settings; an empty folder would be lost in a copy
    files.write_json(folder / LIMITS, {"max_seq_length": max_length, "do_lower_case": False})
    told = {"query": prompts.get("query", ""), "document": prompts.get("passage", "")}
    always = "query" if told["query"] and told["query"] == told["document"] else None
    files.write_json(folder / PROMPTS, {"prompts": told, "default_prompt_name": always, "similarity_fn_name": "cosine"})


def _read(located: Located, name: str) -> Any:
    """Return a JSON file of a checkpoint; None where it has none, or it cannot be read."""
    from transformers.utils import cached_file

    with _translated(located), _quiet():
        path = cached_file(located.place, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False)
    try:
        return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
