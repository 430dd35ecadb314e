"""One text, one label, several labels, or a number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from weitiao.core.contracts import Batch, Features, Head, Layout, Metric, Objective, Outputs, Prediction, Source, Task, Tokens
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, EmptySplit, MissingColumn, UnknownSetting

if TYPE_CHECKING:
    import numpy
    from torch import Tensor
    from torch.nn import Module

_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+(\.\d*)?[eE][-+]?\d+)")


class TextClassification(Task):
    """Sort a text into one of several classes, give it several labels, or a number."""

    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] = "single_label_classification"
    """One label of several, any number of labels, or a number (squared error)."""
    labels: list[str] | None = None
    """The labels, in the order of the model's outputs. Default: those of the training rows, sorted."""
    class_weights: Literal["balanced"] | dict[str, PositiveFloat] | None = None
    """Weight of each label in the loss; `balanced` weighs each class by the inverse of its share."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread evenly over all classes (arXiv:1512.00567)."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a label counts as given, for multi-label rows."""
    label_separator: str = ","
    """What stands between the labels of a multi-label cell; JSON may hold a list instead."""

    keeps_features: ClassVar[bool] = True
    probes: ClassVar[bool] = True

    @model_validator(mode="after")
    def _settings_that_go_together(self) -> Self:
        if self.problem_type == "regression":
            for name in ("labels", "class_weights"):
                if getattr(self, name):
                    raise ValueError(f"{name} has no meaning for regression")
            if self.label_smoothing:
                raise ValueError("label_smoothing has no meaning for regression")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ValueError("labels names one label twice")
        return self

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return text and target. Raises MissingColumn, or BadRow naming file, line and field."""
        columns = [data.text] if isinstance(data.text, str) else data.text or ["text"]
        parts = [self._cell(record, column, "text") for column in columns]
        for column, part in zip(columns, parts, strict=True):
            if not isinstance(part, str):
                raise BadRow(f"{record.place}: {column}: expected text, got {shown(part)}.", hint="Mend or remove the row, or set data.bad_rows=skip.")
        text = " ".join(part.strip() for part in parts if part.strip())
        if not text:
            raise BadRow(f"{record.place}: {', '.join(columns)}: the text is empty.", hint="Mend or remove the row, or set data.bad_rows=skip.")
        return Row(record.id, text, self._target(record, data) if labelled else None, record.place)

    def _cell(self, record: Record, column: str, role: str) -> Any:
        if column not in record.values:
            known = list(record.values)
            raise MissingColumn(
                f"{record.place}: there is no column '{column}' for the {role}.{did_you_mean(column, known)}",
                hint=f"The columns are: {', '.join(map(str, known[:12]))}. Set data.{role} to one of them"
                + (", or data.header=false if the first line is data." if record.line is not None and record.file.endswith(("csv", "tsv", "txt")) else "."),
            )
        return record.values[column]

    def _target(self, record: Record, data: Source) -> Any:
        if isinstance(data.label, list):
            return self._flags(record, data.label)
        column = data.label or "label"
        value = self._cell(record, column, "label")
        where = f"{record.place}: {column}:"
        if value is None or (isinstance(value, str) and not value.strip() and self.problem_type != "multi_label_classification"):
            raise BadRow(f"{where} the label is empty.", hint="Mend or remove the row, or set data.bad_rows=skip.")
        if self.problem_type == "regression":
            return _number(value, where)
        if self.problem_type == "multi_label_classification":
            parts = value if isinstance(value, list) else str(value).split(self.label_separator)
            return tuple(sorted({_label(part, where) for part in parts if str(part).strip()}))
        if isinstance(value, float) or (isinstance(value, str) and _FLOAT.fullmatch(value.strip()) and not (self.labels and value.strip() in self.labels)):
            raise BadRow(
                f"{where} expected the name of a class, got the number {value}.",
                hint="To predict a number set task.problem_type=regression; if these are classes, write them as whole numbers or words.",
            )
        if isinstance(value, list):
            raise BadRow(f"{where} expected one label, got a list.", hint="For several labels a row set task.problem_type=multi_label_classification.")
        return _label(value, where)

    def _flags(self, record: Record, columns: Sequence[str]) -> tuple[str, ...]:
        if self.problem_type != "multi_label_classification":
            raise UnknownSetting(
                "data.label: several columns are for multi-label rows.", hint="Name one column, or set task.problem_type=multi_label_classification."
            )
        given = []
        for column in columns:
            value = str(self._cell(record, column, "label")).strip().lower()
            if value not in ("0", "1", "0.0", "1.0", "true", "false", ""):
                raise BadRow(f"{record.place}: {column}: expected 0 or 1, got {shown(value)}.", hint="Mend or remove the row, or set data.bad_rows=skip.")
            if value in ("1", "1.0", "true"):
                given.append(column)
        return tuple(sorted(given))

    def stratum(self, row: Row) -> str:
        """Return the label: its share is kept the same in every split. Numbers are not stratified."""
        return "" if self.problem_type == "regression" else str(row.target)

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy with labels and class weights from the rows. Raises EmptySplit where all rows say the same."""
        if self.problem_type == "regression":
            if len({row.target for row in rows}) < 2:
                raise EmptySplit(f"every training row has the same number, {rows[0].target}.", hint="Check data.label: there is nothing to learn.")
            return self
        counts: Counter[str] = Counter(label for row in rows for label in _as_labels(row.target))
        labels = self.labels or sorted(counts, key=_natural)
        if self.labels and (unknown := sorted(set(counts) - set(labels))):
            raise BadRow(f"the training rows hold the label '{unknown[0]}', which task.labels does not list.", hint=f"task.labels: {', '.join(labels)}.")
        if len(counts) < 2 and not (self.problem_type == "multi_label_classification" and any(not row.target for row in rows)):
            raise EmptySplit(
                f"the training rows hold one class only: {', '.join(map(repr, counts)) or 'no label at all'} ({len(rows)} rows).",
                hint="Check data.label and how the file was sorted or cut: a classifier needs rows of at least two classes.",
            )
        return self.revised(labels=labels, class_weights=self._weights(labels, counts, len(rows)))

    def _weights(self, labels: Sequence[str], counts: Mapping[str, int], rows: int) -> dict[str, float] | None:
        if self.class_weights is None:
            return None
        if self.class_weights == "balanced":
            if self.problem_type == "multi_label_classification":
                return {label: (rows - counts.get(label, 0) or 1) / max(counts.get(label, 0), 1) for label in labels}
            return {label: rows / (len(labels) * max(counts.get(label, 0), 1)) for label in labels}
        if unknown := sorted(set(self.class_weights) - set(labels)):
            raise UnknownSetting(
                f"task.class_weights: there is no label '{unknown[0]}'.{did_you_mean(unknown[0], labels)}", hint=f"Labels: {', '.join(labels)}."
            )
        return {label: self.class_weights.get(label, 1.0) for label in labels}

    def check(self, rows: Sequence[Row], split: str) -> None:
        """Raise BadRow where rows hold a label that the training rows do not."""
        if self.problem_type == "regression" or self.labels is None:
            return
        known = set(self.labels)
        for row in rows:
            for label in _as_labels(row.target):
                if label not in known:
                    raise BadRow(
                        f"{row.place}: the {split} row has the label '{label}', which no training row has.{did_you_mean(label, known)}",
                        hint=f"Labels in train: {', '.join(self.labels[:10])}. Mend the label, add such rows to train, or list every label in task.labels.",
                    )

    # ------------------------------------------------------------ features and batches

    @property
    def head(self) -> Head:
        """A sequence-classification head with one output per label, or one number."""
        config: dict[str, Any] = {"problem_type": self.problem_type, "num_labels": 1}
        if self.problem_type != "regression":
            labels = self.labels or []
            config |= {
                "num_labels": len(labels),
                "id2label": dict(enumerate(labels)),
                "label2id": {label: n for n, label in enumerate(labels)},
            }
        return Head("AutoModelForSequenceClassification", config)

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return one feature per row; text past `max_length` is cut at the end and counted."""
        index = {label: n for n, label in enumerate(self.labels or [])}
        encoded = tokens.encode([row.text for row in rows], self.max_length)
        return [Features(row.id, ids, self._encoded_target(row.target, index), cut) for row, (ids, cut) in zip(rows, encoded, strict=True)]

    def _encoded_target(self, target: Any, index: Mapping[str, int]) -> Any:
        if target is None or self.problem_type == "regression":
            return target
        if self.problem_type == "multi_label_classification":
            return [float(label in target) for label in index]
        return index[target]

    def collate(self, items: Sequence[Features], layout: Layout) -> Batch:
        """Return input_ids and attention_mask (n, longest), and targets."""
        import torch

        from weitiao.models.layout import padded

        targets = None
        if all(item.target is not None for item in items):
            kind = torch.long if self.problem_type == "single_label_classification" else torch.float32
            targets = torch.tensor([item.target for item in items], dtype=kind)
        return Batch(padded(items, layout), targets, tuple(item.row for item in items), sum(map(len, items)))

    # ------------------------------------------------------------ objective and predictions

    def objective(self) -> Objective:
        """Return cross-entropy, binary cross-entropy, or squared error."""
        weights = None
        if isinstance(self.class_weights, dict) and self.labels:
            weights = tuple(self.class_weights.get(label, 1.0) for label in self.labels)
        objective: Objective = self._objective(weights, self.label_smoothing)
        return objective

    def _objective(self, weights: tuple[float, ...] | None, smoothing: float) -> Any:
        from weitiao.objectives.binary_cross_entropy import BinaryCrossEntropy
        from weitiao.objectives.cross_entropy import CrossEntropy
        from weitiao.objectives.squared_error import SquaredError

        if self.problem_type == "regression":
            return SquaredError(_logits)
        kind = CrossEntropy if self.problem_type == "single_label_classification" else BinaryCrossEntropy
        return kind(_logits, weights, smoothing)

    def predict(self, model: Module, batch: Batch) -> Outputs:
        """Return logits (n, labels); the loss is the plain one, without class weights or smoothing."""
        logits = _logits(model, batch)
        loss = None if batch.targets is None else self._objective(None, 0.0).loss(logits, batch)
        return Outputs(logits.float().cpu(), loss)

    def decode(self, values: Tensor, features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return the label, the labels, or the number of each row, with probabilities."""
        if self.problem_type == "regression":
            return [Prediction(f.row, value) for f, value in zip(features, values[:, 0].tolist(), strict=True)]
        labels = self.labels or []
        if self.problem_type == "multi_label_classification":
            found = []
            for feature, row in zip(features, values.sigmoid().tolist(), strict=True):
                scores = dict(zip(labels, row, strict=True))
                found.append(Prediction(feature.row, [label for label in labels if scores[label] >= self.threshold], scores))
            return found
        best = values.argmax(-1).tolist()
        probabilities = values.softmax(-1).tolist()
        return [Prediction(f.row, labels[b], dict(zip(labels, p, strict=True))) for f, b, p in zip(features, best, probabilities, strict=True)]

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return accuracy and macro F1; micro F1 first for several labels; squared error first for numbers."""
        from weitiao.metrics.accuracy import Accuracy
        from weitiao.metrics.f1 import F1
        from weitiao.metrics.regression import MeanAbsoluteError, MeanSquaredError, Pearson

        labels = tuple(self.labels or ())
        if self.problem_type == "regression":
            return MeanSquaredError(), MeanAbsoluteError(), Pearson()
        if self.problem_type == "multi_label_classification":
            return F1(labels, "micro"), F1(labels, "macro"), Accuracy()
        return Accuracy(), F1(labels, "macro")

    def majority(self, rows: Sequence[Row]) -> Any:
        """Return the most frequent label, the labels that more than half the rows have, or the mean."""
        if self.problem_type == "regression":
            return sum(row.target for row in rows) / len(rows)
        counts = Counter(label for row in rows for label in _as_labels(row.target))
        if self.problem_type == "multi_label_classification":
            return sorted(label for label, n in counts.items() if n * 2 > len(rows)) or [max(sorted(counts), key=lambda label: counts[label])]
        return max(sorted(counts), key=lambda label: counts[label])

    def probe(self, states: Sequence[numpy.ndarray], features: Sequence[Features], unseen: Sequence[numpy.ndarray], *, seed: int) -> Tensor:
        """Fit logistic regression (one per label for several labels) or ridge regression on frozen states; return its outputs (m, labels)."""
        import numpy as np
        import torch

        from weitiao.models import linear_head

        seen, new = np.concatenate(states), np.concatenate(unseen)
        targets = np.array([feature.target for feature in features])
        if self.problem_type == "regression":
            said = linear_head.regressed(seen, targets, new)[:, None]
        elif self.problem_type == "single_label_classification":
            said = linear_head.classified(seen, targets, new, classes=len(self.labels or []), seed=seed)
        else:
            said = np.stack([linear_head.classified(seen, column, new, classes=2, seed=seed) @ [-1, 1] for column in targets.astype(int).T], axis=1)
        return torch.from_numpy(said).float()

    def breakdown(self, predicted: Sequence[Any], targets: Sequence[Any]) -> dict[str, Any]:
        """Return precision, recall, F1 and n of each class, and the confusion matrix (rows: truth) for one label."""
        if self.problem_type == "regression":
            return {}
        import numpy as np

        from weitiao.metrics.f1 import F1, per_class

        labels = self.labels or []
        totals = np.asarray(F1(tuple(labels)).statistics([Prediction("", value) for value in predicted], targets).sum(axis=0)).reshape(3, len(labels))
        found: dict[str, Any] = {"per_class": per_class(labels, totals)}
        if self.problem_type == "single_label_classification":
            index = {label: n for n, label in enumerate(labels)}
            matrix = np.zeros((len(labels), len(labels)), dtype=int)
            for guess, truth in zip(predicted, targets, strict=True):
                matrix[index[truth], index[guess]] += 1
            found["confusion"] = {"labels": labels, "counts": matrix.tolist()}
        return found


def _logits(model: Module, batch: Batch) -> Tensor:
    logits: Tensor = model(**batch.inputs).logits
    return logits.float()


def _as_labels(target: Any) -> tuple[str, ...]:
    return target if isinstance(target, tuple) else (target,)


def _label(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value).strip()
    raise BadRow(f"{where} expected the name of a class, got {shown(value)}.", hint="Mend or remove the row, or set data.bad_rows=skip.")


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or number != number or abs(number) == float("inf"):
        raise BadRow(f"{where} expected a number, got {shown(value)}.", hint="Mend or remove the row, or set data.bad_rows=skip.")
    return number


def _natural(label: str) -> tuple[int, int, str]:
    return (0, int(label), label) if re.fullmatch(r"-?[0-9]+", label) else (1, 0, label)
