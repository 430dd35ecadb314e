"""What a forward and a backward of a model keep, multiply and move, counted without weights.

The model is run on the meta device, where tensors have shapes and no values: every architecture and every method is counted
as it is, in less than a second. Attention is replaced by a stand-in that only keeps its inputs, because what it multiplies and
keeps grows with the square of each document's length: `calls` tells its shapes, and `inspect/forecast.py` does the arithmetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Dropout, Module
from torch.utils._python_dispatch import TorchDispatchMode

from weitiao.errors import NoTargets
from weitiao.models.anatomy import anatomy

NAME = "weitiao_counted"
"""Name under which transformers knows the stand-in for attention."""
ROWS = 2
_PRODUCTS = {"mm": (0, 1), "addmm": (1, 2), "bmm": (0, 1), "baddbmm": (1, 2)}


@dataclass(frozen=True)
class Attention:
    """One call of attention: shapes, and whether the backward goes through it."""

    heads: int
    groups: int
    width: int
    dropout: float
    learns: bool


@dataclass(frozen=True)
class Counted:
    """What a model does per token of a batch, padding included. Bytes are those of fp32."""

    kept: tuple[tuple[float, float], ...]
    """What is kept for the backward: bytes of one tensor, and of all tensors of that size together."""
    kept_in_layer: float
    """Bytes kept by the layer that keeps most."""
    width: int
    """Values of a token between two layers."""
    layers: int
    widest: float
    """Bytes of the largest result of one operation."""
    forward_flops: float
    backward_flops: float
    forward_bytes: float
    """Bytes that elementwise operations read and write."""
    backward_bytes: float
    forward_operations: int
    """Operations of a whole forward, whatever its tokens."""
    backward_operations: int
    calls: tuple[Attention, ...]

    @property
    def kept_bytes(self) -> float:
        """Bytes kept for the backward, whatever the sizes of tensors."""
        return sum(together for _, together in self.kept)


def counted(model: Module, *, length: int, training_mode: Callable[[Module], None]) -> Counted | None:
    """Return what a model does per token, or None where it cannot be run on the meta device.

    model: on the meta device, marked with what trains; it is of no use for anything else afterwards. length: tokens of the
    rows that are tried.
    """
    calls: list[Attention] = []
    any_model: Any = model
    before = getattr(any_model.config, "_attn_implementation", None)
    try:
        stack = list(model.get_submodule(anatomy(model).stacks[0]).children())
        training_mode(model)
        _stand_in(model, calls)
        return _count(model, stack, length, calls)
    except (NoTargets, AttributeError, TypeError, ValueError, RuntimeError, KeyError, IndexError, NotImplementedError):
        return None  # an architecture that looks at values: its forecast rests on sizes alone
    finally:
        if getattr(any_model.config, "_attn_implementation", None) != before:
            any_model.set_attn_implementation(before)  # the configuration is shared with the model that is loaded later


def guessed(*, in_layers: int, learnt_share: float, layers: int, width: int, heads: int) -> Counted:
    """Return about what a usual transformer does per token, where it could not be counted. learnt_share: of the layers, those the backward goes through."""
    kept = 36.0 * width * 4
    learnt = max(1, round(layers * learnt_share)) if learnt_share else 0
    calls = tuple(Attention(heads, heads, max(1, width // max(heads, 1)), 0.1, n >= layers - learnt) for n in range(layers))
    return Counted(
        kept=((4.0 * width, kept * learnt / 2), (16.0 * width, kept * learnt / 2)),
        kept_in_layer=kept if learnt else 0.0,
        width=width,
        layers=layers,
        widest=4.0 * width * 4,
        forward_flops=2.0 * in_layers,
        backward_flops=4.0 * in_layers * learnt_share,
        forward_bytes=120.0 * width * layers,
        backward_bytes=160.0 * width * learnt,
        forward_operations=40 * layers,
        backward_operations=60 * learnt,
        calls=calls,
    )


def _count(model: Any, stack: list[Module], length: int, calls: list[Attention]) -> Counted:
    tokens = ROWS * length
    parameters = {_storage(p) for p in model.parameters()} | {_storage(b) for b in model.buffers()}
    shapes = {tuple(p.shape) for p in model.parameters() if p.ndim > 1}
    kept: dict[int, dict[int, int]] = {}
    where = [len(stack)]

    def pack(tensor: Tensor) -> Tensor:
        storage = _storage(tensor)
        if storage not in parameters and not any(storage in inside for inside in kept.values()):
            kept.setdefault(where[0], {})[storage] = tensor.untyped_storage().nbytes()
        return tensor

    def entering(number: int) -> Callable[..., None]:
        return lambda *_: where.__setitem__(0, number)

    handles = [layer.register_forward_pre_hook(entering(n)) for n, layer in enumerate(stack)]
    handles += [layer.register_forward_hook(entering(len(stack))) for layer in stack]
    seen = _Seen(shapes)
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), seen:
            states = _forward(model, length)
            forward = seen.take()
            if states.requires_grad:
                torch.autograd.backward(states.sum())
            backward = seen.take()
    finally:
        for handle in handles:
            handle.remove()
    sums = {n: sum(inside.values()) / tokens for n, inside in kept.items()}
    alike = Counter(size for inside in kept.values() for size in inside.values())
    return Counted(
        kept=tuple((size / tokens, size * number / tokens) for size, number in sorted(alike.items())),
        kept_in_layer=max((value for n, value in sums.items() if n < len(stack)), default=0.0),
        width=int(model.config.get_text_config().hidden_size),
        layers=len(stack),
        widest=forward.widest / tokens,
        forward_flops=forward.flops / tokens,
        backward_flops=backward.flops / tokens,
        forward_bytes=forward.moved / tokens,
        backward_bytes=backward.moved / tokens,
        forward_operations=forward.operations,
        backward_operations=backward.operations,
        calls=tuple(calls),
    )


def _forward(model: Any, length: int) -> Tensor:
    """Return what the objective begins with: last hidden states of a language model, else the logits of its head."""
    ids = torch.zeros((ROWS, length), dtype=torch.long, device="meta")
    mask = torch.zeros((1, 1, 1, 1), dtype=torch.bool, device="meta")  # a mask of four dimensions is handed on, its values unread
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        raise NotImplementedError
    product = model.get_output_embeddings()
    inner = getattr(model, model.base_model_prefix) if product is not None else model
    if hasattr(model.config.get_text_config(), "use_cache"):
        return _first(inner(**inputs, position_ids=torch.arange(length, device="meta").expand(ROWS, length), use_cache=False))
    return _first(inner(**inputs))


def _first(said: Any) -> Tensor:
    found: Tensor = said.logits if getattr(said, "logits", None) is not None else said.last_hidden_state
    return found


# ------------------------------------------------------------ counting


@dataclass
class _Sum:
    flops: float = 0.0
    moved: float = 0.0
    operations: int = 0
    widest: float = 0.0


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what every operation multiplies and moves. What has the shape of a weight is no matter of tokens and left to the optimizer's share."""

    def __init__(self, shapes: set[tuple[int, ...]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes, self.sum = shapes, _Sum()

    def take(self) -> _Sum:
        """Return what was added up so far, and begin anew."""
        found, self.sum = self.sum, _Sum()
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.removesuffix("_")
        read, written = [*_tensors(args)], [*_tensors((out,))]
        if not func._schema.is_mutable and written and _storage(written[0]) in {_storage(t) for t in read}:
            return out  # a view
        self.sum.operations += 1
        if name in _PRODUCTS:
            left, right = (args[n] for n in _PRODUCTS[name])
            self.sum.flops += 2.0 * left.numel() * right.shape[-1]
        else:
            self.sum.moved += sum(t.numel() * t.element_size() for t in (*read, *written) if tuple(t.shape) not in self.shapes)
        sizes = [t.numel() * t.element_size() for t in written if tuple(t.shape) not in self.shapes]
        self.sum.widest = max(self.sum.widest, *sizes, 0.0)
        return out


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


# ------------------------------------------------------------ stand-ins


def _stand_in(model: Any, calls: list[Attention]) -> None:
    """Put stand-ins where attention, dropout and low-rank layers do on a CPU what the meta device cannot tell."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    def attention(module: Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, dropout: float = 0.0, **others: Any) -> tuple[Tensor, None]:
        calls.append(Attention(query.shape[1], key.shape[1], query.shape[-1], float(dropout or 0.0), query.requires_grad or value.requires_grad))
        return _Attend.apply(query, key, value), None  # type: ignore[no-untyped-call]

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
    if getattr(model.config, "_attn_implementation", None) in ("sdpa", "eager"):
        try:
            model.set_attn_implementation(NAME)
        except (ValueError, KeyError):  # the architecture has its own attention only: it is counted as it is
            calls.clear()
    for module in model.modules():
        if type(module) is Dropout and module.p > 0:
            module.__class__ = _Dropped
        else:
            _plain_low_rank(module)


def _plain_low_rank(module: Any) -> None:
    """Give a LoRA layer its one product without asking for the device's autocast, which meta has not; PEFT's own forward where that would be taken."""
    kind = type(module)
    if kind.__module__ != "weitiao.models.low_rank":
        return
    from weitiao.models.low_rank import _LowRank

    name: str = module.active_adapters[0]
    dropped: float = getattr(module.lora_dropout[name], "p", 0.0)
    if dropped or name in module.lora_variant:
        module.__class__ = kind.__mro__[1]
        return

    def forward(x: Tensor) -> Tensor:
        base, down, up = module.base_layer, module.lora_A[name].weight, module.lora_B[name].weight
        found: Tensor = _LowRank.apply(x, base.weight, base.bias, down, up, module.scaling[name], x.dtype)  # type: ignore[no-untyped-call]
        return found

    module.forward = forward


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        return query.new_empty((query.shape[0], query.shape[2], query.shape[1], value.shape[-1]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors)


class _Dropped(Dropout):
    """Dropout that keeps one byte per value, as `models/dropout.py` and GPUs do."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input in a new place."""
        if not self.training:
            return input
        found: Tensor = _Masked.apply(input)  # type: ignore[no-untyped-call]
        return found


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(torch.empty_like(values, dtype=torch.bool))
        return values * 2.0

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (mask,) = ctx.saved_tensors
        found: Tensor = gradients[0] * mask
        return found
