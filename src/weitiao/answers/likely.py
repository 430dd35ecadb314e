"""Texts whose tokens are learnt: how probable a model finds them is the loss, and the measure of each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from weitiao.core.contracts import Batch, Features, Objective, Outputs, Prediction, Task
from weitiao.core.rows import Row

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Likely(Task):
    """Learn texts token by token, and measure how probable they are."""

    packs: ClassVar[bool] = True
    reads_out: ClassVar[bool] = True

    def objective(self) -> Objective:
        """Return the likelihood of the learnt tokens."""
        from weitiao.objectives.likelihood import Likelihood

        return Likelihood()

    def predict(self, model: Module, batch: Batch) -> Outputs:
        """Return the negative log-likelihood of each row's learnt tokens and their number, (n, 2)."""
        from weitiao.models.measure import measured

        return measured(model, batch)

    def decode(self, values: Tensor, features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return one prediction per row with `nll` and `tokens` of its pieces added up; it holds no text."""
        from weitiao.models.measure import per_row

        return [Prediction(row.id, None, measures=measures) for row, measures in zip(rows, per_row(values, features, rows), strict=True)]

    def closeness(self, prediction: Prediction, row: Row) -> float:
        """Return the mean log-likelihood of the learnt tokens: 0 would be certainty."""
        return -prediction.measures.get("nll", 0.0) / max(prediction.measures.get("tokens", 0.0), 1.0)
