"""What a run measures: the model before, on dev along the way, and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import Module

from weitiao.core import files
from weitiao.core.contracts import Features, Layout, Prediction, Strategy
from weitiao.core.events import Counted, Event, Phase
from weitiao.evaluation import baseline, score
from weitiao.evaluation.predict import Said, answered, outputs
from weitiao.evaluation.reader import Reader
from weitiao.models import allocator, load
from weitiao.models.frozen import FrozenStates
from weitiao.training.prepare import Encoded, Prepared


@dataclass(frozen=True)
class Judge:
    """Scores a model on the rows of a run; `tell` hears of the progress."""

    prepared: Prepared
    encoded: Encoded
    layout: Layout
    strategy: Strategy
    tell: Callable[[Event], None]

    def say(self, model: Module, features: Sequence[Features], *, dtype: str, known: FrozenStates | None = None, in_training: bool = False) -> Said:
        """Return what the model says about features; in the middle of training freed memory stays for the steps to come."""
        recipe = self.prepared.recipe
        told = self._told if in_training else self._passed
        return outputs(
            model,
            recipe.task,
            features,
            layout=self.layout,
            strategy=self.strategy,
            batch_size=recipe.evaluate.batch_size,
            dtype=dtype,
            on_batch=lambda done: told(done, len(features)),
            known=known,
        )

    def _told(self, done: int, of: int) -> None:
        self.tell(Counted(done, of))

    def _passed(self, done: int, of: int) -> None:
        self._told(done, of)
        allocator.trim()

    def proof(self, model: Module, *, tuned: bool = True) -> tuple[Tensor | list[Tensor], list[Prediction]]:
        """Return outputs (fp32) and predictions on the proof rows, with generated answers for some where the task generates."""
        task, rows = self.prepared.recipe.task, self.prepared.data.proof
        values = self.say(model, self.encoded.proof, dtype="fp32").values
        found = task.decode(values, self.encoded.proof, rows)
        if task.generation is None or not task.generated_rows:
            return values, found
        self.tell(Phase("generating answers"))
        return values, answered(
            model,
            task,
            rows,
            found,
            self.prepared.tokenizer,
            most=task.generated_rows,
            strategy=self.strategy,
            seed=self.prepared.recipe.train.seed,
            on_batch=self._passed,
            reader=Reader(self._untuned if tuned else lambda: model, self.prepared.tokenizer, self.strategy),
        )

    def _untuned(self) -> Module:
        """Return the model as it was before, loaded once more."""
        made = self.prepared
        return self.strategy.wrap(load.weights(made.located, made.config, made.recipe.task.head, seed=made.recipe.train.seed).model)

    def before(self, model: Module, *, head_is_new: bool, kept: Path) -> tuple[str, list[Prediction], dict[str, list[Any]]]:
        """Return what before is, its predictions on the proof rows, and the predictions of the baselines.

        kept: a file in which it is kept, so that a run that goes on need not measure again.
        """
        task, data = self.prepared.recipe.task, self.prepared.data
        trivial = task.trivial(data.splits.train, data.proof)
        baselines: dict[str, list[Any]] = {} if trivial is None else {task.trivial_is: trivial}
        if head_is_new and task.probes:
            baselines["head_only"] = values = self._head_only(model, kept)
            return "head_only", [Prediction(row.id, value) for row, value in zip(data.proof, values, strict=True)], baselines
        if head_is_new and trivial is not None:
            return task.trivial_is, [Prediction.of(row.id, value) for row, value in zip(data.proof, trivial, strict=True)], baselines
        if kept.is_file():
            return "model", [Prediction(**entry) for entry in files.read_json(kept)], baselines
        self.tell(Phase("measuring before: the model as it is"))
        _, found = self.proof(model, tuned=False)
        files.write_json(kept, [asdict(prediction) for prediction in found])
        return "model", found, baselines

    def _head_only(self, model: Module, kept: Path) -> list[Any]:
        if kept.is_file():
            values: list[Any] = files.read_json(kept)
            return values
        self.tell(Phase("measuring before: a linear head on the untouched model"))
        recipe = self.prepared.recipe
        values = baseline.head_only(
            model,
            recipe.task,
            self.encoded.train,
            (self.prepared.data.proof, self.encoded.proof),
            layout=self.layout,
            strategy=self.strategy,
            batch_size=recipe.evaluate.batch_size,
            seed=recipe.train.seed,
            on_batch=self._passed,
        )
        files.write_json(kept, values)
        return values

    def dev(self, model: Module, *, dtype: str, known: FrozenStates | None = None) -> dict[str, float]:
        """Return the loss and every metric that applies on dev; nothing is generated. known: what frozen layers say about dev."""
        task, rows = self.prepared.recipe.task, self.prepared.data.splits.dev
        said = self.say(model, self.encoded.dev, dtype=dtype, known=known, in_training=True)
        predictions, targets = task.decode(said.values, self.encoded.dev, rows), [row.target for row in rows]
        measured = {metric.name: score.value(metric, predictions, targets) for metric in task.metrics()}
        return {"loss": float(said.loss or 0.0), **{name: value for name, value in measured.items() if value is not None}}
