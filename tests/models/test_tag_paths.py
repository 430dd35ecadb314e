from __future__ import annotations

import itertools

import numpy as np
import pytest

from weitiao.models import tag_paths

BEGINS = [None, None, 1, None, 3]
"""O, B-A, I-A, B-B, I-B."""


def allowed(path: tuple[int, ...]) -> bool:
    return all(BEGINS[tag] is None or before in (tag, BEGINS[tag]) for before, tag in zip((-1, *path), path, strict=False))


def by_trying_all(scores: np.ndarray) -> tuple[int, ...]:
    """Return the best allowed path by looking at every one."""
    paths = filter(allowed, itertools.product(range(len(BEGINS)), repeat=len(scores)))
    return max(paths, key=lambda path: scores[np.arange(len(path)), path].sum())


@pytest.mark.parametrize("seed", range(20))
def test_the_best_allowed_path_is_found(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 6, size=7)
    scores = random.normal(size=(lengths.sum(), len(BEGINS))).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    found = tag_paths.best(scores, starts, BEGINS)
    for left, right in itertools.pairwise(starts.tolist()):
        assert tuple(found[left:right].tolist()) == by_trying_all(scores[left:right])


def test_an_entity_does_not_go_on_across_sentences() -> None:
    scores = np.array([[0, 5, 0, 0, 0], [1, 0, 5, 0, 0]], dtype=np.float32)
    assert tag_paths.best(scores, np.array([0, 2]), BEGINS).tolist() == [1, 2]
    assert tag_paths.best(scores, np.array([0, 1, 2]), BEGINS).tolist() == [1, 0]


def test_an_illegal_best_guess_is_repaired_by_what_is_probable_together() -> None:
    """O I-A I-A: to begin at the first word costs 1, at the second 3, to leave all out 8."""
    scores = np.array([[3, 2, 0, 0, 0], [0, 2, 5, 0, 0], [2, 0, 5, 0, 0]], dtype=np.float32)
    assert tag_paths.best(scores, np.array([0, 3]), BEGINS).tolist() == [1, 2, 2]


def test_without_entities_every_word_has_its_best_tag() -> None:
    scores = np.eye(3)[[2, 0, 1]]
    assert tag_paths.best(scores, np.array([0, 3]), [None, None, None]).tolist() == [2, 0, 1]
