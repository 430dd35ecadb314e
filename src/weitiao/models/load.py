"""Configuration, skeleton and weights of a model with the head a task needs."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch.nn import Module

from weitiao.core.contracts import Head
from weitiao.errors import ModelError, NotFound, WrongHead
from weitiao.models.locate import Located, gated, not_on_hub

_DROPOUT = re.compile(r"(^|_)(dropout|drop|pdrop)(_|$)")


@dataclass(frozen=True)
class Loaded:
    """A model in fp32, and whether its head was in the checkpoint or is new."""

    model: Module
    head_is_new: bool
    note: str = ""


def configuration(located: Located, head: Head, *, dropout: float | None = None) -> Any:
    """Return the model's configuration with the head's settings; needs no weights. Raises WrongHead."""
    with _translated(located), _quiet():
        config = transformers.AutoConfig.from_pretrained(located.place, trust_remote_code=False)
    check_head(config, head, asked=located.asked)
    for name, value in head.config.items():
        setattr(config, name, value)
    if dropout is not None:
        for name, value in list(config.to_dict().items()):
            if _DROPOUT.search(name) and isinstance(value, int | float) and not isinstance(value, bool):
                setattr(config, name, dropout)
    return config


def check_head(config: Any, head: Head, *, asked: str) -> None:
    """Raise WrongHead where the architecture has no such head, or one in name only: BERT continues a text, but sees what follows."""
    if type(config) not in _auto(head, config)._model_mapping:
        masked = head.auto_class == "AutoModelForMaskedLM"
        hint = "Set task.masked=false, or choose an encoder such as BERT." if masked else "Choose another model, or another task."
        raise WrongHead(f"{asked}: {config.model_type} has no head for the task.", hint=hint)
    if head.is_body and config.is_encoder_decoder:
        raise WrongHead(
            f"{asked}: {config.model_type} is an encoder and a decoder, whose last hidden states are those of an answer, not of a text.",
            hint="Choose an encoder such as BERT, or a decoder.",
        )
    both_sides = not config.is_encoder_decoder and not getattr(config, "is_decoder", False) and not getattr(config, "causal", False)
    if auto_class(head, config) == "AutoModelForCausalLM" and both_sides and type(config) in transformers.AutoModelForMaskedLM._model_mapping:
        raise WrongHead(
            f"{asked}: {config.model_type} is an encoder, which sees both sides of a text: it cannot learn to continue one.",
            hint="Choose a decoder such as smollm2-135m; an encoder learns from plain text with task.name=language_modeling task.masked=true.",
        )


def labels_in_checkpoint(located: Located) -> list[str] | None:
    """Return the label names that the checkpoint's own head knows, in its order; None where they say nothing."""
    with _translated(located), _quiet():
        config = transformers.AutoConfig.from_pretrained(located.place, trust_remote_code=False)
    labels = [str(label) for _, label in sorted((config.id2label or {}).items())]
    return None if not labels or all(re.fullmatch(r"LABEL_\d+", label) for label in labels) else labels


def skeleton(config: Any, head: Head) -> Module:
    """Return the model without memory for weights (meta device): enough to count and choose parameters."""
    with _quiet(), torch.device("meta"):
        return _without_pooler(_auto(head, config).from_config(config), head)


def weights(located: Located, config: Any, head: Head, *, seed: int) -> Loaded:
    """Return the model in fp32. A head that the checkpoint lacks, or that has other labels, is drawn from `seed`.

    Raises NotFound, ModelError for damaged or missing weights, WrongHead where the architecture has no such head.
    """
    own = labels_in_checkpoint(located)
    wanted = list(head.config.get("id2label", {}).values())
    torch.manual_seed(seed)
    with _translated(located), _quiet():
        model, info = _auto(head, config).from_pretrained(
            located.place,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    base = "" if head.is_body else f"{model.base_model_prefix}."
    absent = {str(key) for key in info["missing_keys"]} | {str(key[0]) for key in info["mismatched_keys"]}
    in_body = sorted(key for key in absent if key.startswith(base) and "pooler" not in key)
    if in_body:
        raise ModelError(
            f"{located.asked}: the weights lack {len(in_body)} tensors of the body, such as {in_body[0]}.",
            hint="The checkpoint is incomplete or of another architecture than its config.json says: fetch it again.",
        )
    in_head = sorted(key for key in absent if not key.startswith(base))
    if in_head or own is None or own == wanted or not wanted:
        return Loaded(_without_pooler(model, head), bool(in_head))
    _redraw_head(model, config, head, base, seed)
    return Loaded(model, True, f"The model's own head knows other labels ({', '.join(own[:5])}): replaced by a new one.")


def _without_pooler(model: Any, head: Head) -> Module:
    """Return the model; where its last hidden states are read, without a pooler behind them, which would only lie idle."""
    if head.is_body and getattr(model, "pooler", None) is not None:
        model.pooler = None
    whole: Module = model
    return whole


def _redraw_head(model: Module, config: Any, head: Head, base: str, seed: int) -> None:
    torch.manual_seed(seed)
    with _quiet():
        fresh = _auto(head, config).from_config(config)
    drawn = dict(fresh.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith(base):
                parameter.copy_(drawn[name])


def auto_class(head: Head, config: Any) -> str:
    """Return the name of the Auto class that gives a configuration's architecture the head, or what serves instead of it.

    What serves instead is taken too where the class for the head would not find the body in a checkpoint: Llama's and
    Qwen's for question answering look for `transformer.`, and every other class of theirs writes `model.`: transformers
    and PEFT then go on with a random body.
    """
    if head.instead is None or getattr(config, "is_encoder_decoder", False):  # those pool what their decoder says
        return head.auto_class
    own, other = (getattr(transformers, name)._model_mapping for name in (head.auto_class, head.instead))
    if type(config) not in own:
        return head.instead
    if type(config) in other and own[type(config)].base_model_prefix != other[type(config)].base_model_prefix:
        return head.instead
    return head.auto_class


def _auto(head: Head, config: Any) -> Any:
    return getattr(transformers, auto_class(head, config))


@contextlib.contextmanager
def _translated(located: Located) -> Iterator[None]:
    """Turn what transformers, the hub client and safetensors raise into one sentence."""
    from huggingface_hub.errors import GatedRepoError, HFValidationError
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ModelError(
            f"{located.asked}: the weights are damaged or cut short: {_one_line(error)}.", hint="Copy or download model.safetensors again; compare its size."
        ) from None
    except (OSError, HFValidationError) as error:
        text = _one_line(error)
        if not located.local:
            if isinstance(error, GatedRepoError) or isinstance(error.__cause__, GatedRepoError):
                raise gated(located.asked) from None
            reason = "it is not in the local cache and no hub could be reached"
            if "not a valid model identifier" in text or "Repository Not Found" in text or "404" in text:
                reason = "the hub does not know it, or it is private"
            elif "safetensors" in text:
                reason = "it has no safetensors weights"
            raise not_on_hub(located.asked, reason) from None
        if "safetensors" in text:
            raise NotFound(
                f"{located.asked}: there is no model.safetensors in {located.place}.",
                hint="Weights in pickle files are not opened, because they can run code: convert them with save_pretrained.",
            ) from None
        raise ModelError(f"{located.asked}: cannot be loaded: {text}.", hint="Expected a folder written by save_pretrained.") from None
    except (ValueError, KeyError) as error:
        text = _one_line(error)
        if "Unrecognized configuration class" in text:
            raise WrongHead(f"{located.asked}: this architecture has no head for the task.", hint="Choose another model, or another task.") from None
        raise ModelError(f"{located.asked}: cannot be loaded: {text}.", hint="Is its architecture known to the installed transformers?") from None


def _one_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")[:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own reports and bars off the terminal: what matters of them we say ourselves."""
    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    before = [logger.level for logger in loggers]
    transformers.utils.logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
