"""How probable a model finds the texts it should say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.core.contracts import Metric, Prediction


@dataclass(frozen=True)
class TokenLoss(Metric):
    """Mean negative log-likelihood per labelled token, in nats."""

    name: str = "loss"
    higher_is_better: bool = False

    def applies(self, prediction: Prediction) -> bool:
        """Rows with labelled tokens."""
        return prediction.measures.get("tokens", 0) > 0

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): summed negative log-likelihood, and labelled tokens."""
        return np.array([[p.measures["nll"], p.measures["tokens"]] for p in predictions], dtype=float).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return nats per token."""
        return np.asarray(totals[..., 0] / totals[..., 1])


@dataclass(frozen=True)
class Perplexity(TokenLoss):
    """The exponential of the mean negative log-likelihood per labelled token."""

    name: str = "perplexity"

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return exp(nats per token)."""
        return np.asarray(np.exp(np.minimum(super().value(totals), 700.0)))


@dataclass(frozen=True)
class BytePerplexity(Metric):
    """The exponential of the negative log-likelihood per byte of UTF-8: comparable between tokenizers."""

    name: str = "perplexity_per_byte"
    higher_is_better: bool = False

    def applies(self, prediction: Prediction) -> bool:
        """Rows whose text was measured whole."""
        return prediction.measures.get("bytes", 0) > 0

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): summed negative log-likelihood, and bytes."""
        return np.array([[p.measures["nll"], p.measures["bytes"]] for p in predictions], dtype=float).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return exp(nats per byte)."""
        return np.asarray(np.exp(np.minimum(totals[..., 0] / totals[..., 1], 700.0)))
