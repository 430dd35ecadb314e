"""From hidden states to the likelihood of tokens, without logits for positions nobody asks about.

A language model's last product is its largest: hidden x vocabulary. Here only labelled positions are multiplied, in chunks
of a fixed number of logits, and the gradient is formed in the same pass; the full logits never exist, so memory does not
grow with the vocabulary. What stands between the last hidden state and the logits differs by family (a scale, a soft cap,
a bias, a transform): each is read from the model, and the result is compared with the model's own logits when it is loaded.
Where they differ, full logits are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, Module

from weitiao.core.contracts import IGNORED, Batch
from weitiao.models import attention
from weitiao.models.anatomy import body_of

CHUNK = 2**23
"""Logits that exist at a time, at most: 32 MB in fp32."""
TOLERANCE = 1e-5
"""Largest difference between read-out and the model's own logits, relative to the largest logit (fp32)."""
CHECKED_TOKENS = 8
_KEPT = "_weitiao_readout"


@dataclass(frozen=True)
class Readout:
    """How logits come from the body's last hidden states: transform, product, bias, scale, soft cap."""

    product: Module
    """The output embedding; its weight is (vocabulary, width)."""
    transform: Callable[[Tensor], Tensor] | None = None
    scale: float = 1.0
    softcap: float | None = None
    bias: Tensor | None = None
    """A bias that is not the product's own, such as BART's final_logits_bias."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits (n, vocabulary) of hidden states (n, width)."""
        logits: Tensor = self.product(self.transform(hidden) if self.transform else hidden) * self.scale
        if self.bias is not None:
            logits = logits + self.bias
        return torch.tanh(logits / self.softcap) * self.softcap if self.softcap else logits


def of(model: Module) -> Readout | None:
    """Return the model's read-out, checked against its logits once; None where full logits must be used."""
    any_model: Any = model
    product = any_model.get_output_embeddings()
    if not hasattr(model, _KEPT) or getattr(model, _KEPT)[0] is not product:  # a method may have put something on the output embedding
        object.__setattr__(model, _KEPT, (product, _checked(model)))
    found: Readout | None = getattr(model, _KEPT)[1]
    return found


def hidden_states(model: Module, batch: Batch) -> Tensor:
    """Return the body's last hidden states, (rows, longest, width), or (1, tokens, width) where packed."""
    more = attention.arguments(model, batch)
    if model.config.is_encoder_decoder:  # type: ignore[union-attr]
        return _decoded(model, batch)
    if hasattr(model.config.get_text_config(), "use_cache") and "use_cache" not in more:  # type: ignore[union-attr,operator]
        more["use_cache"] = False
    states: Tensor = body_of(model)(**{**batch.inputs, **more}).last_hidden_state
    return states


def likelihood(model: Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the summed negative log-likelihood (a scalar that can be differentiated) and that of each labelled position, (n,)."""
    assert batch.targets is not None
    readout = of(model)
    if readout is None:
        each = each_likelihood(model, batch)
        return each.sum(), each.detach()
    targets = batch.targets.reshape(-1)
    asked = targets != IGNORED
    return from_hidden(readout, hidden_states(model, batch).flatten(0, 1)[asked], targets[asked])


def each_likelihood(model: Module, batch: Batch) -> Tensor:
    """Return the negative log-likelihood of each labelled position, (n,), each of which can be differentiated by itself.

    It costs a second product in the backward, so `likelihood` is for sums.
    """
    assert batch.targets is not None
    targets = batch.targets.reshape(-1)
    asked = targets != IGNORED
    readout = of(model)
    if readout is None:
        logits = model(**{**batch.inputs, **attention.arguments(model, batch)}).logits
        return F.cross_entropy(logits.flatten(0, 1)[asked].float(), targets[asked], reduction="none")
    hidden = hidden_states(model, batch).flatten(0, 1)[asked]
    return _through_module(readout, readout.transform(hidden) if readout.transform else hidden, targets[asked])


def from_hidden(readout: Readout, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed negative log-likelihood and that of each position, from hidden states (n, width) and labels (n,)."""
    if readout.transform is not None:
        hidden = readout.transform(hidden)
    product = readout.product
    if type(product) is not Linear or readout.bias is not None:
        each = _through_module(readout, hidden, labels)  # a method sits on the output embedding: its parameters must see the gradient
        return each.sum(), each.detach()
    total, each = _Likelihood.apply(hidden, product.weight, product.bias, labels, readout.scale, readout.softcap, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return total, each


def _through_module(readout: Readout, hidden: Tensor, labels: Tensor) -> Tensor:
    from torch.utils.checkpoint import checkpoint

    plain = Readout(readout.product, None, readout.scale, readout.softcap, readout.bias)

    def part(states: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(plain.logits(states).float(), wanted, reduction="none")

    rows = _rows_of_a_chunk(readout.product)
    parts = [checkpoint(part, hidden[n : n + rows], labels[n : n + rows], use_reentrant=False) for n in range(0, len(labels), rows)]
    return torch.cat(parts) if parts else hidden.new_zeros(0) + hidden.sum() * 0


def _rows_of_a_chunk(product: Module) -> int:
    inner: Any = product
    weight = inner.weight if hasattr(inner, "weight") else next(inner.parameters())
    return max(16, int(CHUNK // weight.shape[0]))


class _Likelihood(torch.autograd.Function):
    """Negative log-likelihood of labels; logits exist one chunk at a time, and their gradient is used up at once."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, scale: float, softcap: float | None, learns: bool
    ) -> tuple[Tensor, Tensor]:
        needs = [learns and needed for needed in ctx.needs_input_grad[:3]]  # a forward is told of needs even where gradients are off
        dtype = torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else hidden.dtype
        with torch.autocast(hidden.device.type, enabled=False):
            states, matrix = hidden.to(dtype), weight.to(dtype)
            d_hidden = torch.empty_like(hidden) if needs[0] else None
            d_weight = torch.zeros_like(weight) if needs[1] else None
            d_bias = torch.zeros_like(bias) if bias is not None and needs[2] else None
            each = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
            rows = max(16, CHUNK // weight.shape[0])
            for start in range(0, len(labels), rows):
                here = slice(start, start + rows)
                part, wanted = states[here], labels[here]
                logits = F.linear(part, matrix).float()
                if bias is not None:
                    logits += bias
                if scale != 1.0:
                    logits *= scale
                if softcap is not None:
                    logits = logits.div_(softcap).tanh_().mul_(softcap)
                said = logits.gather(1, wanted[:, None])
                bend = (1 - (logits / softcap).square_()) if softcap is not None and any(needs) else None
                highest = logits.amax(-1, keepdim=True)
                d_logits = logits.sub_(highest).exp_()  # in place: a copy of the logits costs more than the arithmetic
                total = d_logits.sum(-1, keepdim=True)
                each[here] = (total.log() + highest - said)[:, 0]
                if not any(needs):
                    continue
                d_logits /= total
                d_logits[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
                if bend is not None:
                    d_logits *= bend
                if scale != 1.0:
                    d_logits *= scale
                if d_bias is not None:
                    d_bias += d_logits.sum(0)
                narrow = d_logits.to(dtype)
                if d_hidden is not None:
                    d_hidden[here] = torch.mm(narrow, matrix)
                if d_weight is not None:
                    if dtype == weight.dtype:
                        d_weight.addmm_(narrow.t(), part)
                    else:
                        d_weight += torch.mm(narrow.t(), part)
        ctx.save_for_backward(*(g for g in (d_hidden, d_weight, d_bias) if g is not None))
        ctx.present = [g is not None for g in (d_hidden, d_weight, d_bias)]
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        found = [next(saved) * gradients[0] if present else None for present in ctx.present]
        return (*found, None, None, None, None)


# ------------------------------------------------------------ families


def _checked(model: Module) -> Readout | None:
    """Return the read-out if on a few tokens it gives the model's own logits."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        found = _read_off(model)
        if found is None:
            return None
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            ids = torch.arange(3, 3 + CHECKED_TOKENS, device=device)[None] % int(model.config.get_text_config().vocab_size)  # type: ignore[union-attr,operator]
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            if model.config.is_encoder_decoder:  # type: ignore[union-attr]
                inputs["decoder_input_ids"] = ids.flip(1)
            batch = Batch(inputs, None, (), CHECKED_TOKENS)
            own = model(**inputs).logits[0].float()
            ours = found.logits(hidden_states(model, batch)[0]).float()
            return found if ours.shape == own.shape and (ours - own).abs().max() <= TOLERANCE * own.abs().max() else None
    except (AttributeError, TypeError, RuntimeError, ValueError):
        return None  # an architecture we do not know: its own logits are right in any case
    finally:
        model.train(was_training)


def _read_off(model: Any) -> Readout | None:
    """Return what the model's parts and configuration say stands between its hidden states and its logits."""
    product = model.get_output_embeddings()
    if product is None:
        return None
    config = model.config.get_text_config()
    scale = 1.0
    if getattr(config, "logit_scale", None) is not None:  # Cohere multiplies
        scale = float(config.logit_scale)
    elif getattr(config, "logits_scaling", None):  # Granite divides
        scale = 1.0 / float(config.logits_scaling)
    elif config.model_type in ("t5", "mt5", "umt5") and getattr(model.config, "tie_word_embeddings", False):
        scale = float(config.d_model) ** -0.5
    return Readout(
        product=product,
        transform=_transform(model),
        scale=scale,
        softcap=getattr(config, "final_logit_softcapping", None),
        bias=getattr(model, "final_logits_bias", None),
    )


def _transform(model: Any) -> Callable[[Tensor], Tensor] | None:
    """Return the layer of a masked-language-model head that stands before its product."""
    if hasattr(model, "cls") and hasattr(model.cls, "predictions"):  # BERT, DeBERTa
        transform: Callable[[Tensor], Tensor] = model.cls.predictions.transform
        return transform
    head = getattr(model, "lm_head", None)
    if head is not None and hasattr(head, "dense") and hasattr(head, "layer_norm"):  # RoBERTa, XLM-R
        return lambda hidden: head.layer_norm(F.gelu(head.dense(hidden)))
    if hasattr(model, "vocab_transform"):  # DistilBERT
        return lambda hidden: model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))
    if hasattr(model, "generator_predictions"):  # ELECTRA
        predictions: Callable[[Tensor], Tensor] = model.generator_predictions
        return predictions
    return None


def _decoded(model: Any, batch: Batch) -> Tensor:
    """Return an encoder-decoder's last hidden states; T5's `base_model` is T5 with its head, so its two halves are called."""
    inputs = dict(batch.inputs)
    if model.base_model is model:
        encoded = model.encoder(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
        states: Tensor = model.decoder(
            input_ids=inputs["decoder_input_ids"],
            attention_mask=inputs.get("decoder_attention_mask"),
            encoder_hidden_states=encoded,
            encoder_attention_mask=inputs["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        return states
    states = model.base_model(**inputs, use_cache=False).last_hidden_state
    return states
