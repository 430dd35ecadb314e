"""A linear head fitted on frozen states: what can be had without tuning the body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

ABSENT = -1e4
"""Log-probability of a class that no row to fit on has."""

MANY = 300
"""Classes above which logistic regression, whose time grows with their number and its steps, takes minutes."""


def classified(seen: np.ndarray, targets: np.ndarray, new: np.ndarray, *, classes: int, seed: int) -> np.ndarray:
    """Fit logistic regression on states (n, width) with classes (n,), and return log-probabilities of each class (m, classes).

    Where more than MANY classes occur it is ridge regression on one number for each class, solved at once, and what is returned
    are these numbers: the class with the largest is the answer, too.
    """
    from sklearn.linear_model import LogisticRegression

    found = np.full((len(new), classes), ABSENT)
    present = np.unique(targets)
    if len(present) == 1:
        found[:, present[0]] = 0.0
        return found
    seen, new = _scaled(seen, new)
    if len(present) > MANY:
        products, sums = seen.T @ seen, np.zeros((len(present), seen.shape[1]))
        np.add.at(sums, np.searchsorted(present, targets), seen)
        shares = np.bincount(np.searchsorted(present, targets)) / len(targets)
        found[:, present] = new @ np.linalg.solve(products + len(seen) * np.eye(len(products)), sums.T) + shares
        return found
    found[:, present] = LogisticRegression(C=0.1, max_iter=300, random_state=seed).fit(seen, targets).predict_log_proba(new)
    return found


def regressed(seen: np.ndarray, targets: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Fit ridge regression on states (n, width) with numbers (n,), and return numbers (m,)."""
    from sklearn.linear_model import RidgeCV

    seen, new = _scaled(seen, new)
    said: np.ndarray = RidgeCV(alphas=np.logspace(-1, 4, 11)).fit(seen, targets).predict(new)
    return said


def chosen(seen: Sequence[np.ndarray], targets: np.ndarray, new: Sequence[np.ndarray], *, penalty: float = 10.0) -> list[np.ndarray]:
    """Fit one scorer for the options of every row, and return the scores of new rows' options, (m,) each.

    seen, new: states (m, width) of the options of each row. targets: which option is right, (n,). It is a conditional
    logit (McFadden, 1974): a softmax over the options of a row, with an L2 penalty.
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    sizes = [len(row) for row in seen]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    states, others = _scaled(np.concatenate(seen), np.concatenate(new))
    states, right = states.astype(float), starts + targets

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = states @ weights
        level = np.repeat([logsumexp(scores[start : start + size]) for start, size in zip(starts, sizes, strict=True)], sizes)
        surprise = np.exp(scores - level)
        surprise[right] -= 1
        return float((level[right] - scores[right]).sum() + penalty / 2 * weights @ weights), states.T @ surprise + penalty * weights

    weights = minimize(loss, np.zeros(states.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return np.split(others @ weights, np.cumsum([len(row) for row in new])[:-1])


def _scaled(seen: np.ndarray, new: np.ndarray) -> tuple[Any, Any]:
    center, scale = seen.mean(0), seen.std(0) + 1e-6
    return (seen - center) / scale, (new - center) / scale
