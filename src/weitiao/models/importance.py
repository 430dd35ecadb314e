"""How much weights and heads matter for the user's rows: sums over single rows of what the gradient says about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch, Objective, is_coupled
from weitiao.models.heads import Attention

OF_ENTRIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradient": lambda weight, gradient: gradient,
    "fisher": lambda weight, gradient: gradient.square(),
    "movement": lambda weight, gradient: -weight * gradient,
}
"""Name -> what each row adds to the score of an entry; of `gradient` the absolute sum counts."""


def of_entries(model: Module, objective: Objective, batches: Iterable[Batch], names: Sequence[str], *, by: str, rows: int) -> dict[str, Tensor]:
    """Return a score for every entry of the named weights, from the gradients of at most so many rows.

    by: `gradient`, the size of their sum; `fisher`, the sum of their squares, the diagonal of the empirical Fisher information
    (Sung et al., 2021, arXiv:2111.09839); `movement`, how fast an entry moves away from zero (Sanh et al., 2020, arXiv:2005.07683).
    """
    named = dict(model.named_parameters())
    weights = [named[name] for name in names]
    scores = [torch.zeros_like(weight, requires_grad=False) for weight in weights]
    score = OF_ENTRIES[by]

    def add(loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        for total, weight, gradient in zip(scores, weights, gradients, strict=True):
            if gradient is not None:
                total += score(weight.detach(), gradient)

    _over_rows(model, objective, batches, rows, add, learning=weights)
    return {name: total.abs() if by == "gradient" else total for name, total in zip(names, scores, strict=True)}


def of_heads(model: Module, objective: Objective, batches: Iterable[Batch], attentions: Sequence[Attention], *, rows: int) -> Tensor:
    """Return the importance of every head, (attentions, most heads), -1 where an attention has fewer.

    It is the mean over rows of |gradient of the loss by a factor on what the head says|, divided by its length over the heads
    of an attention (Michel, Levy and Neubig, 2019, arXiv:1905.10650).
    """
    said: dict[int, Tensor] = {}
    totals = [torch.zeros(attention.heads) for attention in attentions]

    def listen(number: int) -> Callable[[Module, tuple[Any, ...]], None]:
        return lambda module, args: said.__setitem__(number, args[0])

    handles = [model.get_submodule(attention.output).register_forward_pre_hook(listen(n)) for n, attention in enumerate(attentions)]

    def add(loss: Tensor) -> None:
        heard = sorted(said)
        for number, gradient in zip(heard, torch.autograd.grad(loss, [said[n] for n in heard], allow_unused=True), strict=True):
            if gradient is not None:
                by_head = (gradient * said[number].detach()).float().reshape(-1, attentions[number].heads, attentions[number].width)
                totals[number] += by_head.sum((0, 2)).abs().cpu()
        said.clear()

    try:
        _over_rows(model, objective, batches, rows, add, learning=list(model.parameters()))
    finally:
        for handle in handles:
            handle.remove()
    most = max(attention.heads for attention in attentions)
    found = torch.full((len(attentions), most), -1.0)
    for number, total in enumerate(totals):
        found[number, : len(total)] = total / total.norm().clamp_min(1e-20)
    return found


def _over_rows(model: Module, objective: Objective, batches: Iterable[Batch], rows: int, add: Callable[[Tensor], None], *, learning: list[Any]) -> None:
    """Call `add` with the loss of single rows, at most so many; the model is as in prediction meanwhile, and as before afterwards."""
    device = next(model.parameters()).device
    was_training, learns = model.training, [parameter.requires_grad for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in learning:
        parameter.requires_grad_(True)
    model.eval()
    try:
        left = rows
        for batch in batches:
            for row in [batch] if is_coupled(objective) else single(batch):
                add(objective(model, row.to(device)).value())
                left -= len(row.rows)
                if left <= 0:
                    return
    finally:
        model.train(was_training)
        for parameter, before in zip(model.parameters(), learns, strict=True):
            parameter.requires_grad_(before)


def single(batch: Batch) -> Iterator[Batch]:
    """Yield the rows of a batch, each in a batch of its own; the batch itself where its lines are not rows."""
    lines = len(batch.inputs["input_ids"])
    if batch.lengths is not None and not batch.shared and len(batch.lengths) == len(batch.rows):
        start = 0
        for row, length in zip(batch.rows, batch.lengths, strict=True):
            here = slice(start, start + length)
            inputs = {name: tensor[:, here] for name, tensor in batch.inputs.items()}
            targets = None if batch.targets is None else batch.targets[:, here]
            weights = None if batch.weights is None else batch.weights[:, here]
            yield Batch(inputs, targets, (row,), length, (length,), weights=weights)
            start += length
    elif batch.lengths is None and batch.lines is None and lines == len(batch.rows):
        for n, row in enumerate(batch.rows):
            inputs = {name: tensor[n : n + 1] for name, tensor in batch.inputs.items()}
            targets = None if batch.targets is None else batch.targets[n : n + 1]
            weights = None if batch.weights is None else batch.weights[n : n + 1]
            yield replace(batch, inputs=inputs, targets=targets, rows=(row,), weights=weights)
    else:
        yield batch
