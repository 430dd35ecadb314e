"""A padded batch whose padding is not computed: the body sees its tokens one behind the other, each row seeing only itself.

Tasks with a head collate rows padded to the longest, and heads read last hidden states of that shape. Between the two,
embeddings, projections and feed-forward layers work on single tokens, so padding is dropped before the body and put back (as
zeros) behind it; only attention needs rows, and `attention.py` keeps packed ones apart. Losses and gradients stay as they are.
The idea is that of Zeng et al., 2022 (arXiv:2208.08124).

For a CPU: on a GPU padding costs less than the launches that would save it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch
from weitiao.models import apart, attention, ragged
from weitiao.models.anatomy import body_of

WORTH = 0.05
"""Share of a batch that must be padding for it to be worth leaving out."""
TOLERANCE = 1e-4
"""Largest difference of hidden states with padding computed and without, relative to the largest (fp32)."""
READ = frozenset({"input_ids", "attention_mask", "token_type_ids"})
"""Tensors that are known here; a body that is given others computes its padding."""
_KEPT = "_weitiao_unpadding"


class Unpadding:
    """A body that leaves out padding, until it is removed."""

    def __init__(self, model: Module) -> None:
        """The model must have the attention of `attention.install`; where it has another, padding is computed as ever."""
        self.model, self.body = model, body_of(model)
        self.real: Tensor | None = None
        """Places of the tokens of the present forward among those of its padded batch; None where padding is computed."""
        self.is_paused = self.body.config._attn_implementation != attention.NAME
        self._own = own = self.body.forward
        self._of_class = "forward" not in vars(self.body)
        object.__setattr__(self.body, _KEPT, self)

        @functools.wraps(own)  # its arguments are looked at by others
        def forward(body: Module, *args: Any, **kwargs: Any) -> Any:
            return self._forward(*args, **kwargs)

        self.body.forward = MethodType(forward, self.body)

    def remove(self) -> None:
        """Let the body be what it was."""
        if self._of_class:
            del self.body.forward
        else:
            self.body.forward = self._own
        object.__delattr__(self.body, _KEPT)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        given = {**({"input_ids": args[0]} if args else {}), **kwargs}
        tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        mask = tensors.get("attention_mask")
        if self.is_paused or len(args) > 1 or mask is None or mask.ndim != 2 or "input_ids" not in tensors or not READ.issuperset(tensors):
            return self._own(*args, **kwargs)
        lengths = mask.sum(1)
        if int(lengths.sum()) > (1 - WORTH) * mask.numel() or given.get("return_dict") is False or given.get("output_hidden_states"):
            return self._own(*args, **kwargs)
        real = mask.flatten().nonzero()[:, 0]
        inputs = {name: tensor.flatten()[real][None] for name, tensor in tensors.items() if name != "attention_mask"}
        inputs["position_ids"] = (real % mask.shape[1])[None]
        batch = Batch(inputs, None, (), len(real), tuple(lengths.tolist()))
        others = {name: value for name, value in given.items() if name not in tensors and name != "position_ids"}
        self.real = real
        try:
            found = self._own(**{**others, **inputs, **attention.arguments(self.model, batch)})
        finally:
            self.real = None
        found.last_hidden_state = ragged.spread(found.last_hidden_state[0], real, mask.numel()).view(*mask.shape, -1)
        if found.get("pooler_output") is not None:
            found.pooler_output = self.body.pooler(found.last_hidden_state)
        return found


@contextlib.contextmanager
def paused(model: Module) -> Iterator[None]:
    """Compute padding while inside."""
    installed = _of(model)
    before = installed is not None and installed.is_paused
    if installed is not None:
        installed.is_paused = True
    try:
        yield
    finally:
        if installed is not None:
            installed.is_paused = before


def fit(model: Module, states: Tensor) -> Tensor:
    """Return states of a padded batch, (rows, longest, width), as the layers of the present forward hold them."""
    installed = _of(model)
    if installed is None or installed.real is None or states.ndim != 3:
        return states
    return states.flatten(0, 1)[installed.real][None]


def works(model: Module) -> bool:
    """Tell whether a body says the same of a few rows with their padding computed and without, and keeps rows apart. It must have our attention."""
    body, was_training = body_of(model), model.training
    if body.config._attn_implementation != attention.NAME or not apart.keeps_documents_apart(model):
        return False
    model.eval()
    device = next(model.parameters()).device
    lengths = torch.tensor([9, 7, 4], device=device)
    mask = (torch.arange(9, device=device)[None] < lengths[:, None]).long()
    ids = torch.arange(27, device=device).mul_(7919).add_(3).remainder_(min(int(body.config.get_text_config().vocab_size), 1000)).view(3, 9)
    installed = Unpadding(model)
    try:
        with torch.inference_mode():
            said = [body(input_ids=ids, attention_mask=mask)]
            with paused(model):
                said.append(body(input_ids=ids, attention_mask=mask))
        parts = [[one.last_hidden_state[mask.bool()], *([one.pooler_output] if one.get("pooler_output") is not None else [])] for one in said]
        return all(bool((a - b).abs().max() <= TOLERANCE * b.abs().max()) for a, b in zip(*parts, strict=True))
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return False  # the architecture takes no positions, or something else than is known here
    finally:
        installed.remove()
        model.train(was_training)


def _of(model: Module) -> Unpadding | None:
    return getattr(body_of(model), _KEPT, None)
