"""Adapters in PEFT's file format, on the model itself: body calls and packing see them like any other layer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch.nn import Module

from weitiao.core.contracts import Head
from weitiao.core.registry import did_you_mean
from weitiao.errors import BadValue, Damaged, ModelError, NoTargets, NotFound
from weitiao.models import base
from weitiao.models.head import TASKS, new_modules
from weitiao.models.load import _quiet, configuration, weights
from weitiao.models.targets import target_modules

FOLDER = "adapter"
"""Name of the folder inside an artifact."""
_WRAPPER = "_weitiao_peft"
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # PEFT imports it where it is there; it looks for kernels on a hub, and says so


def inject(model: Module, kind: str, *, targets: str | Sequence[str], modules_to_save: Sequence[str] | None = None, **settings: Any) -> Module:
    """Return the model with an adapter in the chosen linear layers; nothing else trains but modules_to_save and a new head.

    kind: as PEFT calls it, such as LORA. targets: `all-linear`, names, or a regular expression. settings: of PEFT's
    configuration, whose errors are passed on. Raises NoTargets.
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
    with quiet_peft():
        config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind](target_modules=chosen, modules_to_save=saved or None, task_type=task_type(model), **settings)
    return _wrapped(model, config)


OURS = {"LORA": "lora", "ADALORA": "adalora", "VERA": "vera", "IA3": "ia3", "LN_TUNING": "norm"}
"""Types of PEFT that are methods of their own here."""
_NOT_HERE = {"target_modules", "modules_to_save", "task_type", "peft_type", "inference_mode"}
"""Settings of every configuration that follow from the method and the model."""


def other(model: Module, kind: str, *, configuration: Mapping[str, Any], **chosen: Any) -> Module:
    """Return the model with an adapter of any type that PEFT puts into linear layers. Raises BadValue where PEFT does not take it so, NoTargets."""
    import peft

    known = {str(name.value if isinstance(name, Enum) else name): made for name, made in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    fields = {name: {field.name for field in dataclasses.fields(made)} for name, made in known.items()}
    taken = sorted(name.lower() for name in known if {"target_modules", "modules_to_save"} <= fields[name] and name not in OURS)
    asked = kind.upper()
    if asked in OURS:
        raise BadValue(f"method.type: {kind} is a method of its own.", hint=f"Use method.name={OURS[asked]}.")
    if asked in known and asked.lower() not in taken:
        raise BadValue(f"method.type: '{kind}' is not put into linear layers.", hint=f"Known: {', '.join(taken)}; prompts are methods of their own.")
    if asked not in known:
        raise BadValue(f"method.type: '{kind}' is no type of the installed PEFT.{did_you_mean(kind.lower(), taken)}", hint=f"Known: {', '.join(taken)}.")
    if unknown := sorted({*configuration} - fields[asked]):
        usual = {field.name for field in dataclasses.fields(peft.PeftConfig)}
        raise BadValue(
            f"method.configuration: {asked.lower()} has no setting '{unknown[0]}'.{did_you_mean(unknown[0], fields[asked])}",
            hint=f"Settings of {known[asked].__name__}: {', '.join(sorted(fields[asked] - usual - _NOT_HERE))}.",
        )
    if twice := sorted({*configuration} & _NOT_HERE):
        raise BadValue(f"method.configuration: {twice[0]} is not set here.", hint="target_modules and modules_to_save are settings of the method.")
    try:
        return inject(model, asked, **chosen, **configuration)
    except (ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError) as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")[:300]
        raise BadValue(
            f"method: PEFT cannot put {asked.lower()} into this model so: {said}.", hint="Change method.configuration or method.target_modules."
        ) from None


def tuner(model: Module) -> Any:
    """Return PEFT's own object around the adapted model, which has its configuration and what it computes besides a forward."""
    return getattr(model, _WRAPPER).base_model


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
    with quiet_peft():
        wrapper.save_pretrained(artifact / FOLDER, save_embedding_layers=False)
    (artifact / FOLDER / "README.md").unlink(missing_ok=True)  # the artifact has its own card


def load(artifact: Path, head: Head, *, on: Callable[[Module], Module] = lambda model: model) -> Module:
    """Return the base model with the adapter. on: makes of the base what the adapter was trained on.

    Raises NotFound where the base is not where it was, Damaged where files are missing.
    """
    folder = artifact / FOLDER
    try:
        named = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError):
        raise Damaged(f"{folder}: adapter_config.json is missing or damaged.", hint="Copy the artifact again from where it was made.") from None
    located = base.of_artifact(artifact, named)
    model = weights(located, configuration(located, head), head, seed=0).model
    return _opened(on(model), str(folder), trainable=False)


def _opened(model: Module, place: str, *, trainable: bool) -> Module:
    import peft

    try:
        with quiet_peft():
            wrapper = peft.PeftModel.from_pretrained(model, place, is_trainable=trainable, autocast_adapter_dtype=False)
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")[:200]
        raise ModelError(f"the adapter {place} does not fit the model: {said}.", hint="Use the base model that it was trained on.") from None
    if wrapper.active_peft_config.is_prompt_learning:
        from weitiao.models import prefixes, prompts

        in_attention = wrapper.active_peft_config.peft_type == peft.PeftType.PREFIX_TUNING
        return prefixes.install(wrapper) if in_attention else prompts.install(wrapper)
    inner: Module = wrapper.base_model.model
    return keep(inner, wrapper)


def _wrapped(model: Module, config: Any) -> Module:
    import peft

    with quiet_peft():
        wrapper = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    inner: Module = wrapper.base_model.model
    return keep(inner, wrapper)


def keep(inner: Module, wrapper: Any) -> Module:
    """Return the model inside PEFT's object, which it remembers for `save`."""
    from weitiao.models import low_rank

    object.__setattr__(inner, _WRAPPER, wrapper)  # not a submodule: the wrapper holds the model, not the other way round
    low_rank.install(inner)
    return inner


def _configuration(place: str) -> Any:
    import peft

    try:
        with quiet_peft():
            return peft.PeftConfig.from_pretrained(place)
    except (ValueError, OSError, KeyError, TypeError):
        raise NotFound(
            f"method.adapter: {place} holds no adapter.", hint="Expected a folder with adapter_config.json and adapter_model.safetensors, or a hub id."
        ) from None


def task_type(model: Module) -> str | None:
    """Return what PEFT calls the task of a model's class; None where it has no name for it."""
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
def quiet_peft() -> Iterator[None]:
    """Keep PEFT's warnings off the terminal."""
    with _quiet(), warnings.catch_warnings(), torch.autocast("cpu", enabled=False):
        warnings.simplefilter("ignore")
        yield
