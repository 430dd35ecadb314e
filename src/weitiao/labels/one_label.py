"""One label of several for each row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from weitiao.core.contracts import Batch, Features, Head, Layout, Metric, Objective, Outputs, Prediction, Source, Task
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, EmptySplit, UnknownSetting
from weitiao.labels.reading import MEND, cell, label_in, looks_continuous

if TYPE_CHECKING:
    import numpy
    from torch import Tensor
    from torch.nn import Module

CONFUSED = 300
"""Classes up to which a confusion matrix is made: it grows with their square, and nobody reads a larger one."""


class OneLabel(Task):
    """Sort rows into one of several classes: labels and their weights, the loss, what is decoded, and the scores."""

    labels: list[str] | None = None
    """The labels, in the order of the model's outputs. Default: those of the training rows, sorted."""
    class_weights: Literal["balanced"] | dict[str, PositiveFloat] | None = None
    """Weight of each label in the loss; `balanced` weighs each class by the inverse of its share."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread evenly over all classes (arXiv:1512.00567)."""

    probes: ClassVar[bool] = True
    _where_numbers_belong: ClassVar[str] = "If these are classes, write them as whole numbers or words."
    _where_lists_belong: ClassVar[str] = "Name one column, with one class for each row."

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ValueError("labels names one label twice")
        return self

    # ------------------------------------------------------------ rows

    def target(self, record: Record, data: Source) -> Any:
        """Return the label of a record. Raises MissingColumn, or BadRow naming file, line and field."""
        value, where = self._label_cell(record, data)
        if value is None or (isinstance(value, str) and not value.strip()):
            raise BadRow(f"{where} the label is empty.", hint=MEND)
        if looks_continuous(value) and str(value).strip() not in (self.labels or ()):
            raise BadRow(f"{where} expected the name of a class, got the number {value}.", hint=self._where_numbers_belong)
        if isinstance(value, list):
            raise BadRow(f"{where} expected one label, got a list.", hint=self._where_lists_belong)
        return label_in(value, where)

    def _label_cell(self, record: Record, data: Source) -> tuple[Any, str]:
        """Return what the column of the label holds, and the place with which an error about it begins."""
        if isinstance(data.label, list):
            raise UnknownSetting("data.label: several columns are for multi-label rows.", hint=self._where_lists_belong)
        column = data.label or "label"
        return cell(record, column, "label"), f"{record.place}: {column}:"

    def stratum(self, row: Row) -> str:
        """Return the label: its share is kept the same in every split."""
        return str(row.target)

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy with labels and class weights from the rows. Raises EmptySplit where all rows say the same."""
        counts: Counter[str] = Counter(label for row in rows for label in as_labels(row.target))
        labels = self.labels or sorted(counts, key=_natural)
        if self.labels and (unknown := sorted(set(counts) - set(labels))):
            raise BadRow(f"the training rows hold the label '{unknown[0]}', which task.labels does not list.", hint=f"task.labels: {', '.join(labels)}.")
        if len({row.target for row in rows}) < 2:
            what = "hold one class only" if len(counts) == 1 else "all say the same"
            raise EmptySplit(
                f"the training rows {what}: {', '.join(map(repr, counts)) or 'no label at all'} ({len(rows)} rows).",
                hint="Check data.label and how the file was sorted or cut: a classifier needs rows of at least two classes.",
            )
        return self.revised(labels=labels, class_weights=self._weights(labels, counts, len(rows)))

    def _weights(self, labels: Sequence[str], counts: Mapping[str, int], rows: int) -> dict[str, float] | None:
        if self.class_weights is None:
            return None
        if self.class_weights == "balanced":
            return self._balanced(labels, counts, rows)
        if unknown := sorted(set(self.class_weights) - set(labels)):
            raise UnknownSetting(
                f"task.class_weights: there is no label '{unknown[0]}'.{did_you_mean(unknown[0], labels)}", hint=f"Labels: {', '.join(labels)}."
            )
        return {label: self.class_weights.get(label, 1.0) for label in labels}

    def _balanced(self, labels: Sequence[str], counts: Mapping[str, int], rows: int) -> dict[str, float]:
        return {label: rows / (len(labels) * max(counts.get(label, 0), 1)) for label in labels}

    def check(self, rows: Sequence[Row], split: str) -> None:
        """Raise BadRow where rows hold a label that the training rows do not."""
        if self.labels is None:
            return
        known = set(self.labels)
        for row in rows:
            for label in as_labels(row.target):
                if label not in known:
                    raise BadRow(
                        f"{row.place}: the {split} row has the label '{label}', which no training row has.{did_you_mean(label, known)}",
                        hint=f"Labels in train: {', '.join(self.labels[:10])}. Mend the label, add such rows to train, or list every label in task.labels.",
                    )

    # ------------------------------------------------------------ features and batches

    @property
    def head(self) -> Head:
        """A sequence-classification head with one output per label."""
        labels = self.labels or []
        config = {"num_labels": len(labels), "id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}
        return Head("AutoModelForSequenceClassification", {"problem_type": "single_label_classification", **config})

    def encoded_targets(self, rows: Sequence[Row]) -> list[Any]:
        """Return what is asked of each row as `collate` takes it; None where a row has no target."""
        index = {label: n for n, label in enumerate(self.labels or [])}
        return [None if row.target is None else index[row.target] for row in rows]

    def collate(self, items: Sequence[Features], layout: Layout) -> Batch:
        """Return input_ids and attention_mask (n, longest), token_type_ids where there are two texts, and targets."""
        import torch

        from weitiao.models.layout import padded

        targets = None
        if all(item.target is not None for item in items):
            kind = torch.long if isinstance(items[0].target, int) else torch.float32
            targets = torch.tensor([item.target for item in items], dtype=kind)
        return Batch(padded(items, layout), targets, tuple(item.row for item in items), sum(map(len, items)))

    # ------------------------------------------------------------ objective and predictions

    def objective(self) -> Objective:
        """Return what training minimises, weighted and smoothed as the settings say."""
        weights = None
        if isinstance(self.class_weights, dict) and self.labels:
            weights = tuple(self.class_weights.get(label, 1.0) for label in self.labels)
        objective: Objective = self._objective(weights, self.label_smoothing)
        return objective

    def _objective(self, weights: tuple[float, ...] | None, smoothing: float) -> Any:
        from weitiao.objectives.cross_entropy import CrossEntropy

        return CrossEntropy(logits, weights, smoothing)

    def predict(self, model: Module, batch: Batch) -> Outputs:
        """Return logits (n, labels); the loss is the plain one, without class weights or smoothing."""
        said = logits(model, batch)
        loss = None if batch.targets is None else self._objective(None, 0.0).loss(said, batch)
        return Outputs(said.float().cpu(), loss)

    def decode(self, values: Tensor, features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return the label of each row, with the probability of every label."""
        labels = self.labels or []
        best = values.argmax(-1).tolist()
        probabilities = values.softmax(-1).tolist()
        return [Prediction(f.row, labels[b], dict(zip(labels, p, strict=True))) for f, b, p in zip(features, best, probabilities, strict=True)]

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return accuracy and macro F1."""
        from weitiao.metrics.accuracy import Accuracy
        from weitiao.metrics.f1 import F1

        return Accuracy(), F1(tuple(self.labels or ()), "macro")

    def majority(self, rows: Sequence[Row]) -> Any:
        """Return the most frequent label."""
        counts = Counter(label for row in rows for label in as_labels(row.target))
        return max(sorted(counts), key=lambda label: counts[label])

    def probe(self, states: Sequence[numpy.ndarray], features: Sequence[Features], unseen: Sequence[numpy.ndarray], *, seed: int) -> Tensor:
        """Fit a linear head on frozen states; return its outputs (m, labels)."""
        import numpy as np
        import torch

        targets = np.array([feature.target for feature in features])
        return torch.from_numpy(self._linear(np.concatenate(states), targets, np.concatenate(unseen), seed)).float()

    def _linear(self, seen: numpy.ndarray, targets: numpy.ndarray, new: numpy.ndarray, seed: int) -> numpy.ndarray:
        """Return what logistic regression says (m, labels)."""
        from weitiao.models import linear_head

        return linear_head.classified(seen, targets, new, classes=len(self.labels or []), seed=seed)

    def breakdown(self, predicted: Sequence[Any], targets: Sequence[Any]) -> dict[str, Any]:
        """Return precision, recall, F1 and n of each class, and, up to CONFUSED classes, the confusion matrix (rows: truth)."""
        import numpy as np

        labels = self.labels or []
        found: dict[str, Any] = {"per_class": self._per_class(predicted, targets)}
        if len(labels) <= CONFUSED:
            index = {label: n for n, label in enumerate(labels)}
            matrix = np.zeros((len(labels), len(labels)), dtype=int)
            for guess, truth in zip(predicted, targets, strict=True):
                matrix[index[truth], index[guess]] += 1
            found["confusion"] = {"labels": labels, "counts": matrix.tolist()}
        return found

    def _per_class(self, predicted: Sequence[Any], targets: Sequence[Any]) -> list[dict[str, Any]]:
        import numpy as np

        from weitiao.metrics.f1 import F1, per_class

        labels = self.labels or []
        totals = np.asarray(F1(tuple(labels)).statistics([Prediction("", value) for value in predicted], targets).sum(axis=0)).reshape(3, len(labels))
        return per_class(labels, totals)


def logits(model: Module, batch: Batch) -> Tensor:
    """Return what the head says in fp32, (n, outputs)."""
    said: Tensor = model(**batch.inputs).logits
    return said.float()


def as_labels(target: Any) -> tuple[str, ...]:
    """Return the labels of a target that is one label or several."""
    return target if isinstance(target, tuple) else (target,)


def _natural(label: str) -> tuple[int, int, str]:
    return (0, int(label), label) if re.fullmatch(r"-?[0-9]+", label) else (1, 0, label)
