"""How probable a model finds the texts it should say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from weitiao.core.contracts import Metric, Prediction


@dataclass(frozen=True)
class TokenLoss(Metric):
    """Mean negative log-likelihood per labelled token, in nats."""

    name: str = "loss"
    higher_is_better: bool = False
    sum: ClassVar[str] = "nll"
    """The measure of a prediction that is added up."""
    unit: ClassVar[str] = "tokens"
    """The measure of a prediction that the sum is divided by."""

    def applies(self, prediction: Prediction) -> bool:
        """Rows of which something was asked."""
        return prediction.measures.get(self.unit, 0) > 0

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): summed negative log-likelihood, and units."""
        return np.array([[p.measures[self.sum], p.measures[self.unit]] for p in predictions], dtype=float).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return nats per unit."""
        return np.asarray(totals[..., 0] / totals[..., 1])


@dataclass(frozen=True)
class Perplexity(TokenLoss):
    """The exponential of the mean negative log-likelihood per labelled token."""

    name: str = "perplexity"

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return exp(nats per unit)."""
        return np.asarray(np.exp(np.minimum(super().value(totals), 700.0)))


@dataclass(frozen=True)
class FluencyPerplexity(Perplexity):
    """Perplexity of the generated texts, per token, under the model as it was before tuning: low where a text reads like many others."""

    name: str = "fluency_perplexity"
    needs_answer: bool = True
    sum: ClassVar[str] = "untuned_nll"
    unit: ClassVar[str] = "untuned_tokens"


@dataclass(frozen=True)
class BytePerplexity(Perplexity):
    """The exponential of the negative log-likelihood per byte of UTF-8: comparable between tokenizers."""

    name: str = "perplexity_per_byte"
    unit: ClassVar[str] = "bytes"
