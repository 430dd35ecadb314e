"""One label, several labels, or a number for each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from weitiao.core.contracts import Features, Head, Metric, Prediction, Source
from weitiao.core.rows import Record, Row
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, EmptySplit
from weitiao.labels.one_label import OneLabel, logits
from weitiao.labels.reading import MEND, cell, label_in, number_in

if TYPE_CHECKING:
    import numpy
    from torch import Tensor


class LabelsOrNumber(OneLabel):
    """Sort rows into classes, give them several labels, or a number."""

    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] = "single_label_classification"
    """One label of several, any number of labels, or a number (squared error)."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a label counts as given, for multi-label rows."""
    label_separator: str = ","
    """What stands between the labels of a multi-label cell; JSON may hold a list instead."""

    _where_numbers_belong: ClassVar[str] = "To predict a number set task.problem_type=regression; if these are classes, write them as whole numbers or words."
    _where_lists_belong: ClassVar[str] = "For several labels a row set task.problem_type=multi_label_classification."

    @model_validator(mode="after")
    def _settings_that_go_together(self) -> Self:
        if self._number:
            for name in ("labels", "class_weights", "label_smoothing"):
                if getattr(self, name):
                    raise ValueError(f"{name} has no meaning for regression")
        return self

    @property
    def _number(self) -> bool:
        return self.problem_type == "regression"

    @property
    def _several(self) -> bool:
        return self.problem_type == "multi_label_classification"

    # ------------------------------------------------------------ rows

    def target(self, record: Record, data: Source) -> Any:
        """Return the label, the labels or the number of a record. Raises MissingColumn, or BadRow naming file, line and field."""
        if self._several and isinstance(data.label, list):
            return self._flags(record, data.label)
        if not (self._several or self._number):
            return super().target(record, data)
        value, where = self._label_cell(record, data)
        if value is None or (self._number and isinstance(value, str) and not value.strip()):
            raise BadRow(f"{where} the label is empty.", hint=MEND)
        if self._number:
            return number_in(value, where)
        parts = value if isinstance(value, list) else str(value).split(self.label_separator)
        return tuple(sorted({label_in(part, where) for part in parts if str(part).strip()}))

    def _flags(self, record: Record, columns: Sequence[str]) -> tuple[str, ...]:
        given = []
        for column in columns:
            value = str(cell(record, column, "label")).strip().lower()
            if value not in ("0", "1", "0.0", "1.0", "true", "false", ""):
                raise BadRow(f"{record.place}: {column}: expected 0 or 1, got {shown(value)}.", hint=MEND)
            if value in ("1", "1.0", "true"):
                given.append(column)
        return tuple(sorted(given))

    def stratum(self, row: Row) -> str:
        """Return the label or labels: their share is kept the same in every split. Numbers are not stratified."""
        return "" if self._number else super().stratum(row)

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy with labels and class weights from the rows. Raises EmptySplit where all rows say the same."""
        if not self._number:
            return super().fitted(rows)
        if len({row.target for row in rows}) < 2:
            raise EmptySplit(f"every training row has the same number, {rows[0].target}.", hint="Check data.label: there is nothing to learn.")
        return self

    def _balanced(self, labels: Sequence[str], counts: Mapping[str, int], rows: int) -> dict[str, float]:
        if self._several:
            return {label: (rows - counts.get(label, 0) or 1) / max(counts.get(label, 0), 1) for label in labels}
        return super()._balanced(labels, counts, rows)

    # ------------------------------------------------------------ features and objective

    @property
    def head(self) -> Head:
        """A sequence-classification head with one output per label, or one number."""
        config = {"num_labels": 1} if self._number else super().head.config
        return Head("AutoModelForSequenceClassification", {**config, "problem_type": self.problem_type})

    def encoded_targets(self, rows: Sequence[Row]) -> list[Any]:
        """Return an index, a 0 or 1 for each label, or the number; None where a row has no target."""
        if self._number:
            return [row.target for row in rows]
        if self._several:
            return [None if row.target is None else [float(label in row.target) for label in self.labels or ()] for row in rows]
        return super().encoded_targets(rows)

    def _objective(self, weights: tuple[float, ...] | None, smoothing: float) -> Any:
        from weitiao.objectives.binary_cross_entropy import BinaryCrossEntropy
        from weitiao.objectives.squared_error import SquaredError

        if self._number:
            return SquaredError(logits)
        return BinaryCrossEntropy(logits, weights, smoothing) if self._several else super()._objective(weights, smoothing)

    def decode(self, values: Tensor, features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return the label, the labels, or the number of each row, with probabilities."""
        if self._number:
            return [Prediction(f.row, value) for f, value in zip(features, values[:, 0].tolist(), strict=True)]
        if not self._several:
            return super().decode(values, features, rows)
        labels, found = self.labels or [], []
        for feature, row in zip(features, values.sigmoid().tolist(), strict=True):
            scores = dict(zip(labels, row, strict=True))
            found.append(Prediction(feature.row, [label for label in labels if scores[label] >= self.threshold], scores))
        return found

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return accuracy and macro F1; micro F1 first for several labels; squared error first for numbers."""
        from weitiao.metrics.accuracy import Accuracy
        from weitiao.metrics.f1 import F1
        from weitiao.metrics.regression import MeanAbsoluteError, MeanSquaredError, Pearson

        if self._number:
            return MeanSquaredError(), MeanAbsoluteError(), Pearson()
        labels = tuple(self.labels or ())
        return (F1(labels, "micro"), F1(labels, "macro"), Accuracy()) if self._several else super().metrics()

    def majority(self, rows: Sequence[Row]) -> Any:
        """Return the most frequent label, the labels that more than half the rows have, or the mean."""
        if self._number:
            return sum(row.target for row in rows) / len(rows)
        if not self._several:
            return super().majority(rows)
        counts = Counter(label for row in rows for label in row.target)
        return sorted(label for label, n in counts.items() if n * 2 > len(rows)) or [super().majority(rows)]

    def _linear(self, seen: numpy.ndarray, targets: numpy.ndarray, new: numpy.ndarray, seed: int) -> numpy.ndarray:
        """Return what logistic regression (one per label for several labels) or ridge regression says (m, outputs)."""
        import numpy as np

        from weitiao.models import linear_head

        if self._number:
            return linear_head.regressed(seen, targets, new)[:, None]
        if not self._several:
            return super()._linear(seen, targets, new, seed)
        return np.stack([linear_head.classified(seen, column, new, classes=2, seed=seed) @ [-1, 1] for column in targets.astype(int).T], axis=1)

    def breakdown(self, predicted: Sequence[Any], targets: Sequence[Any]) -> dict[str, Any]:
        """Return precision, recall, F1 and n of each class, and the confusion matrix (rows: truth) for one label."""
        if self._number:
            return {}
        return {"per_class": self._per_class(predicted, targets)} if self._several else super().breakdown(predicted, targets)
