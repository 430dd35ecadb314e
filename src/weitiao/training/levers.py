"""The model as it is while it trains: faster and smaller, with the same losses, and itself again afterwards.

Each lever is decided by the plan and can be switched off by a setting of `train`; the tests compare losses with every one
of them on and off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import Module

from weitiao.core.contracts import Strategy
from weitiao.core.events import Counted, Event, Phase
from weitiao.core.plan import Plan
from weitiao.core.recipe import Recipe
from weitiao.models import frozen, vocabulary
from weitiao.models.unpadding import Unpadding
from weitiao.training.judge import Judge
from weitiao.training.loop import Schedule


@dataclass
class Levers:
    """What was changed about a model for training, and what is known because of it."""

    recipe: Recipe
    plan: Plan
    judge: Judge
    strategy: Strategy
    tell: Callable[[Event], None]
    notes: list[str]
    """Sentences for the report, added to."""
    seconds: float = 0.0
    """Time taken so far: it is training time."""
    known: frozen.FrozenStates | None = None
    """What frozen layers say about train."""
    known_dev: frozen.FrozenStates | None = None
    """What frozen layers say about dev."""
    _words: vocabulary.SmallEmbedding | None = None
    _unpadding: Unpadding | None = None

    def pull(self, model: Module) -> None:
        """Change a model that is ready to train, before its optimizer is made."""
        plan = self.plan
        if plan.unpadding:
            self._unpadding = Unpadding(model)
        if plan.cached_layers:
            began = time.perf_counter()
            self._keep_states(model)
            self.seconds += time.perf_counter() - began
        if plan.trained_words is not None:
            self._words = vocabulary.shrink(model, [*self.judge.encoded.train.words, self.judge.layout.pad_id])

    def stand(self, step: int, optimizer: torch.optim.Optimizer, schedule: Schedule) -> None:
        """Bring what follows from the number of steps up to date, before the model is evaluated."""
        if self._words is None:
            return
        (group,) = (group for group in optimizer.param_groups if any(p is self._words.weight for p in group["params"]))
        vocabulary.fade(self._words, (schedule.at(n) * group["scale"] for n in range(step)), group["weight_decay"])

    def release(self) -> None:
        """Make the model what it was, with what it learnt."""
        if self._words is not None:
            vocabulary.grow(self._words)
            self._words = None
        if self._unpadding is not None:
            self._unpadding.remove()
            self._unpadding = None

    def _keep_states(self, model: Module) -> None:
        """Compute what the frozen layers say about train and dev, or read it back."""
        self.recipe.method.training_mode(model)
        train, dev = self.judge.encoded.train, self.judge.encoded.dev if self.plan.best is not None else []
        prefix = frozen.Prefix(model, self.recipe.task, layout=self.judge.layout, strategy=self.strategy, dtype=self.plan.dtype)
        if not prefix.works(train):
            self.notes.append("train.cache_features: this model does not say the same with kept states, so every layer is computed at every step.")
            return
        self.tell(Phase(f"computing what the {prefix.layers} frozen layers say"))
        try:
            self.known = prefix.known(train, on_batch=lambda done: self.tell(Counted(done, len(train))))
            self.known_dev = prefix.known(dev) if dev else None
        except OSError as error:
            self.notes.append(f"train.cache_features: the states could not be kept ({error.strerror or error}), so every layer is computed at every step.")
