"""A linear head on frozen states, whatever the number of classes."""

from __future__ import annotations

import time

import numpy as np
import pytest

from weitiao.core.rows import Row
from weitiao.models import linear_head
from weitiao.tasks.text_classification import TextClassification


def clusters(classes: int, each: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return states around a centre for each class, and the classes."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(classes, 64))
    targets = np.repeat(np.arange(classes), each)
    return centres[targets] + 0.3 * random.normal(size=(len(targets), 64)), targets


@pytest.mark.parametrize("classes", [3, linear_head.MANY + 50])
def test_classes_that_lie_apart_are_told_apart(classes: int) -> None:
    seen, targets = clusters(classes, 5)
    new, expected = clusters(classes, 2, seed=2)
    said = linear_head.classified(seen, targets, new, classes=classes + 1, seed=0)
    assert said.shape == (len(new), classes + 1) and (said.argmax(1) == expected).mean() > 0.9
    assert (said[:, classes] == linear_head.ABSENT).all(), "a class without a row to fit on is never said"


def test_thousands_of_classes_take_seconds() -> None:
    seen, targets = clusters(3000, 1)
    began = time.perf_counter()
    linear_head.classified(seen, targets, seen[:500], classes=10_000, seed=0)
    assert time.perf_counter() - began < 30


def test_a_matrix_that_nobody_reads_is_not_made() -> None:
    for count, there in ((20, True), (2000, False)):
        labels = [f"class {n}" for n in range(count)]
        task = TextClassification(labels=labels).fitted([Row(str(n), "", label) for n, label in enumerate(labels)])
        tables = task.breakdown(labels, labels)
        assert ("confusion" in tables) is there and len(tables["per_class"]) == count
