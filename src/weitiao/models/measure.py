"""The likelihood of each row of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import IGNORED, Batch, Features, Loss, Outputs, Term
from weitiao.core.rows import Row
from weitiao.models import readout
from weitiao.models.layout import row_of_each_position


def measured(model: Module, batch: Batch) -> Outputs:
    """Return (n, 2) per feature of the batch: summed negative log-likelihood of its labelled tokens, and their number."""
    values = torch.zeros((len(batch.rows), 2), dtype=torch.float64)
    if batch.targets is None:
        return Outputs(values)
    total, each = readout.likelihood(model, batch)
    owners = row_of_each_position(batch)[batch.targets.reshape(-1) != IGNORED].cpu()
    values[:, 0].index_add_(0, owners, each.double().cpu())
    values[:, 1].index_add_(0, owners, torch.ones(len(owners), dtype=torch.float64))
    return Outputs(values, Loss({"likelihood": Term(total, float(len(owners)))}))


def per_row(values: Tensor, features: Sequence[Features], rows: Sequence[Row]) -> list[dict[str, float]]:
    """Return `nll` and `tokens` of each row, summed over its windows; empty for a row without features."""
    found: dict[str, dict[str, float]] = {}
    for feature, (nll, tokens) in zip(features, values.tolist() if len(features) else [], strict=True):
        sums = found.setdefault(feature.row, {"nll": 0.0, "tokens": 0.0})
        sums["nll"] += nll
        sums["tokens"] += tokens
    return [found.get(row.id, {}) for row in rows]
