"""Adapters in PEFT's file format, on the model itself: body calls and packing see them like any other layer."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import Module

from weitiao.core.contracts import Head
from weitiao.errors import Damaged, ModelError, NoTargets, NotFound
from weitiao.models import base
from weitiao.models.head import TASKS, new_modules
from weitiao.models.load import _quiet, configuration, weights
from weitiao.models.targets import target_modules

FOLDER = "adapter"
"""Name of the folder inside an artifact."""
_WRAPPER = "_weitiao_peft"


def lora(model: Module, *, targets: str | Sequence[str], modules_to_save: Sequence[str] | None, **settings: Any) -> Module:
    """Return the model with LoRA beside the chosen linear layers; nothing else trains but modules_to_save and a classification head.

    targets: `all-linear`, names, or a regular expression. Raises NoTargets.
    """
    import peft

    chosen = target_modules(model, targets)
    saved = list(modules_to_save or [])
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if unknown := [name for name in saved if name not in names]:
        raise NoTargets(
            f"method.modules_to_save: the model has no module '{unknown[0]}'.", hint=f"At its top: {', '.join(n for n, _ in model.named_children())}."
        )
    saved += [name for name in (path.rpartition(".")[2] for path in new_modules(model)) if name not in saved]
    config = peft.LoraConfig(target_modules=chosen, modules_to_save=saved or None, task_type=_task_type(model), **settings)
    return _wrapped(model, config)


def continued(model: Module, place: str) -> Module:
    """Return the model with the adapter of a folder or hub id, ready to train on. Raises NotFound, ModelError."""
    import peft

    config = _configuration(place)
    if config.peft_type != peft.PeftType.LORA:
        raise ModelError(f"method.adapter: {place} is {config.peft_type.value}, expected LORA.", hint="Use the method that wrote it.")
    config.inference_mode = False
    if next(model.parameters()).device.type == "meta":
        return _wrapped(model, config)
    return _opened(model, place, trainable=True)


def save(model: Module, artifact: Path) -> None:
    """Write `adapter/`: adapter_model.safetensors and adapter_config.json, as `PeftModel.save_pretrained` does."""
    wrapper: Any = getattr(model, _WRAPPER)
    with _quiet_peft():
        wrapper.save_pretrained(artifact / FOLDER, save_embedding_layers=False)
    (artifact / FOLDER / "README.md").unlink(missing_ok=True)  # the artifact has its own card


def load(artifact: Path, head: Head) -> Module:
    """Return the base model with the adapter. Raises NotFound where the base is not where it was, Damaged where files are missing."""
    folder = artifact / FOLDER
    try:
        named = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError):
        raise Damaged(f"{folder}: adapter_config.json is missing or damaged.", hint="Copy the artifact again from where it was made.") from None
    located = base.of_artifact(artifact, named)
    model = weights(located, configuration(located, head), head, seed=0).model
    return _opened(model, str(folder), trainable=False)


def _opened(model: Module, place: str, *, trainable: bool) -> Module:
    import peft

    try:
        with _quiet_peft():
            wrapper = peft.PeftModel.from_pretrained(model, place, is_trainable=trainable, autocast_adapter_dtype=False)
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")[:200]
        raise ModelError(f"the adapter {place} does not fit the model: {said}.", hint="Use the base model that it was trained on.") from None
    opened: Any = wrapper.base_model.model
    inner: Module = opened
    return _kept(inner, wrapper)


def _wrapped(model: Module, config: Any) -> Module:
    import peft

    with _quiet_peft():
        wrapper = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    inner: Module = wrapper.base_model.model
    return _kept(inner, wrapper)


def _kept(inner: Module, wrapper: Any) -> Module:
    from weitiao.models import low_rank

    object.__setattr__(inner, _WRAPPER, wrapper)  # not a submodule: the wrapper holds the model, not the other way round
    low_rank.install(inner)
    return inner


def _configuration(place: str) -> Any:
    import peft

    try:
        with _quiet_peft():
            return peft.PeftConfig.from_pretrained(place)
    except (ValueError, OSError, KeyError, TypeError):
        raise NotFound(
            f"method.adapter: {place} holds no adapter.", hint="Expected a folder with adapter_config.json and adapter_model.safetensors, or a hub id."
        ) from None


def _task_type(model: Module) -> str | None:
    name = type(model).__name__
    if kind := next((kind for ending, kind in TASKS.items() if name.endswith(ending)), None):
        return kind
    config: Any = model.config
    if config.is_encoder_decoder:
        return "SEQ_2_SEQ_LM"
    if model.base_model is model:
        return "FEATURE_EXTRACTION"
    return "CAUSAL_LM" if name.endswith(("ForCausalLM", "LMHeadModel")) else None


@contextlib.contextmanager
def _quiet_peft() -> Iterator[None]:
    with _quiet(), warnings.catch_warnings(), torch.autocast("cpu", enabled=False):
        warnings.simplefilter("ignore")
        yield
