"""Generated texts, read by others than the model that wrote them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.nn import Module

from weitiao.core import registry
from weitiao.core.contracts import Strategy
from weitiao.core.rows import Row
from weitiao.evaluation.predict import outputs
from weitiao.evaluation.predictor import load
from weitiao.models.measure import per_row
from weitiao.models.tokens import Tokenizer

_WINDOW = 512
"""Tokens that the untuned model reads at a time, at most."""
_BATCH = 16


class Reader:
    """What the contract `TextReader` promises; the models are loaded when they are first asked."""

    def __init__(self, untuned: Callable[[], Module | None], tokenizer: Tokenizer, strategy: Strategy) -> None:
        """untuned: returns the model as it was before tuning, placed; None where it cannot be had."""
        self._untuned, self._tokenizer, self._strategy = untuned, tokenizer, strategy

    def likelihoods(self, texts: Sequence[str]) -> list[tuple[float, float] | None] | None:
        """Return for each text its negative log-likelihood under the untuned model and the tokens asked for; None where there are none, or no model."""
        if (model := self._untuned()) is None:
            return None
        window = min(_WINDOW, self._tokenizer.longest or _WINDOW)
        task: Any = registry.find("task", "language_modeling").model_validate({"max_length": window, "end_token": False})
        rows = [Row(str(n), text) for n, text in enumerate(texts)]
        features = task.encode(rows, self._tokenizer)
        said = outputs(model, task, features, layout=self._tokenizer.layout(), strategy=self._strategy, batch_size=_BATCH).values
        return [(found["nll"], found["tokens"]) if found else None for found in per_row(said, features, rows)]  # type: ignore[arg-type]

    def labels(self, artifact: str, texts: Sequence[str]) -> list[Any]:
        """Return what an artifact predicts for each text. Raises ArtifactError."""
        return [prediction.value for prediction in load(artifact, device=str(self._strategy.device)).predict(list(texts))]
