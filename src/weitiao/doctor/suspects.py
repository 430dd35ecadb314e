"""Labels that may be wrong, by confident learning (Northcutt, Jiang and Chuang, 2021, arXiv:1911.00068).

Every row is judged by linear heads on the untouched model that were fitted without it. A label counts as confidently another
one where that one's probability reaches what rows that carry it have on average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from weitiao.core.contracts import Features, Task
from weitiao.core.rows import Row
from weitiao.evaluation.baseline import states_of
from weitiao.inspect.health.finding import Finding, Place, rows_that
from weitiao.models import load
from weitiao.parallel.single import Single
from weitiao.training.prepare import Encoded, Prepared

FOLDS = 5
MOST = 4000
"""Rows that are judged, at most, drawn by the seed."""
NAMED = 20
"""Suspects that are named, the surest first."""


def can_judge(prepared: Prepared) -> bool:
    """Tell whether rows have one label of several each, which a linear head can be fitted to."""
    task = prepared.recipe.task
    return task.probes and task.head.config.get("problem_type") == "single_label_classification"


def suspects(split: str, prepared: Prepared, encoded: Encoded, rows: Sequence[Row], tell: Callable[[int, int], None]) -> Iterator[Finding]:
    """Yield training rows whose label is probably another one."""
    task, seed = prepared.recipe.task, prepared.recipe.train.seed
    places = np.sort(np.random.default_rng(seed).permutation(len(encoded.train))[:MOST]).tolist()
    features = [encoded.train[n] for n in places]
    loaded = load.weights(prepared.located, prepared.config, task.head, seed=seed)
    strategy = Single(prepared.device)
    states = states_of(
        strategy.wrap(loaded.model),
        task,
        features,
        layout=prepared.tokenizer.layout(),
        strategy=strategy,
        batch_size=64,
        on_batch=tell,
    )
    given = np.array([item.target for item in features])
    found = confident(judged(task, features, states, seed=seed), given)
    labels = list(task.head.config["id2label"].values())
    numbers = encoded.train.numbers
    if found:
        named = [
            Place(rows[int(numbers[places[n]])], f"'{labels[given[n]]}'", f"'{labels[other]}' (probability {sure:.2f})", "read it again")
            for n, other, sure in found[:NAMED]
        ]
        message = f"{rows_that(len(found), split, 'is', 'are')} probably labelled wrongly, of {len(features):,} that were judged; the surest first."
        yield Finding("labels_suspect", "warning", split, len(found), len(features), message, "Read them, and mend those that are wrong.", tuple(named))


def judged(task: Task, features: Sequence[Features], states: Sequence[np.ndarray], *, seed: int) -> np.ndarray:
    """Return the probability of each label for each row, (n, labels), from heads that have not seen it."""
    folds = np.random.default_rng(seed).permutation(len(features)) % FOLDS
    said: list[np.ndarray | None] = [None] * len(features)
    for fold in range(FOLDS):
        seen, new = np.flatnonzero(folds != fold).tolist(), np.flatnonzero(folds == fold).tolist()
        if not new:
            continue
        values = task.probe([states[n] for n in seen], [features[n] for n in seen], [states[n] for n in new], seed=seed)
        for n, row in zip(new, values.softmax(-1).numpy(), strict=True):
            said[n] = row
    return np.stack([row for row in said if row is not None])


def confident(chances: np.ndarray, given: np.ndarray) -> list[tuple[int, int, float]]:
    """Return rows whose label is confidently another one: (row, that label, its probability), the surest first.

    chances: (n, labels), each row's from heads that have not seen it. given: (n,).
    """
    labels = chances.shape[1]
    usual = np.array([chances[given == label, label].mean() if (given == label).any() else np.inf for label in range(labels)])
    sure = np.where(chances >= usual, chances, -1.0)
    best = sure.argmax(1)
    found = [n for n in range(len(given)) if sure[n, best[n]] > 0 and best[n] != given[n]]
    found.sort(key=lambda n: float(chances[n, given[n]] - chances[n, best[n]]))
    return [(n, int(best[n]), float(chances[n, best[n]])) for n in found]
