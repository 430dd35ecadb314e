"""In-batch negatives and ordered pairs, against the same sums written as plain loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.core.contracts import Batch
from weitiao.objectives import contrastive, cosent
from weitiao.objectives.contrastive import NEGATIVE, POSITIVE, QUERY, Contrastive
from weitiao.objectives.cosent import CoSENT


def vectors(count: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)), dim=-1).requires_grad_()


def of(states: torch.Tensor, targets: list[list[int]], **settings: Any) -> torch.Tensor:
    return Contrastive(lambda model, batch: states, **settings).joint(states, torch.tensor(targets)).value()


def test_with_texts_that_differ_it_is_cross_entropy_over_the_passages_of_the_batch() -> None:
    states = vectors(8)
    targets = [line for n in range(4) for line in ([QUERY, n, n], [POSITIVE, 10 + n, n])]
    expected = F.cross_entropy(states[::2] @ states[1::2].T / 0.1, torch.arange(4))
    loss = of(states, targets, temperature=0.1)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, states)[0], torch.autograd.grad(expected, states)[0])


def test_both_ways_is_the_mean_of_the_cross_entropies_over_rows_and_over_columns() -> None:
    states = vectors(8)
    targets = [line for n in range(4) for line in ([QUERY, n, n], [POSITIVE, 10 + n, n])]
    scores = states[::2] @ states[1::2].T / 0.05
    expected = (F.cross_entropy(scores, torch.arange(4)) + F.cross_entropy(scores.T, torch.arange(4))) / 2
    torch.testing.assert_close(of(states, targets, symmetric=True), expected)


def test_a_hard_negative_is_a_negative_of_every_query() -> None:
    states = vectors(5)
    targets = [[QUERY, 1, 1], [POSITIVE, 11, 1], [NEGATIVE, 21, 1], [QUERY, 2, 2], [POSITIVE, 12, 2]]
    expected = F.cross_entropy(states[[0, 3]] @ states[[1, 2, 4]].T / 0.05, torch.tensor([0, 2]))
    torch.testing.assert_close(of(states, targets), expected)


def test_texts_that_are_or_may_be_right_are_no_negatives() -> None:
    states = vectors(8)
    rows = [[QUERY, 1, 1], [POSITIVE, 50, 1], [QUERY, 2, 2], [POSITIVE, 50, 2], [QUERY, 1, 1], [POSITIVE, 60, 1], [QUERY, 3, 3], [POSITIVE, 1, 3]]
    cosines = (states @ states.T / 0.05).tolist()

    def found(query: int, right: int, wrong: list[int]) -> float:
        return -math.log(math.exp(cosines[query][right]) / sum(math.exp(cosines[query][n]) for n in [right, *wrong]))

    expected = [
        found(0, 1, []),  # 3 is its positive again, 5 a positive of the same query in another row, 7 its own text
        found(2, 3, [5, 7]),
        found(4, 5, []),
        found(6, 7, [1, 3, 5]),
    ]
    assert float(of(states, rows).detach()) == pytest.approx(sum(expected) / 4, rel=1e-4)


def plainly(states: list[list[float]], targets: list[tuple[int, int, int]], temperature: float, by: str, symmetric: bool) -> float:
    """The loss of `Contrastive`, pair by pair."""
    rows = [sum(role == QUERY for role, _, _ in targets[: n + 1]) for n in range(len(targets))]
    known = {(group, text) for role, text, group in targets if role == POSITIVE}
    lines = range(len(targets))

    def score(a: int, b: int) -> float:
        return sum(x * y for x, y in zip(states[a], states[b], strict=True)) / temperature

    def mean(searching: list[int], among: list[int], right: Any, barred: Any) -> float:
        losses = []
        for a in searching:
            goals = [c for c in among if right(a, c)]
            wrong = [score(a, c) for c in among if not right(a, c) and not barred(a, c)]
            if goals:
                losses.append(sum(math.log(sum(math.exp(value - score(a, p)) for value in [score(a, p), *wrong])) for p in goals) / len(goals))
        return sum(losses) / max(len(losses), 1)

    def same_text(a: int, c: int) -> bool:
        return targets[a][1] == targets[c][1]

    if by == "group":
        return mean(list(lines), list(lines), lambda a, c: targets[a][2] == targets[c][2] and not same_text(a, c), same_text)
    queries = [n for n in lines if targets[n][0] == QUERY]
    texts = [n for n in lines if targets[n][0] != QUERY]
    positives = [n for n in lines if targets[n][0] == POSITIVE]
    there = mean(
        queries,
        texts,
        lambda q, c: rows[q] == rows[c] and targets[c][0] == POSITIVE,
        lambda q, c: same_text(q, c) or (targets[q][2], targets[c][1]) in known,
    )
    if not symmetric:
        return there
    back = mean(positives, queries, lambda p, q: rows[q] == rows[p], lambda p, q: same_text(p, q) or (targets[q][2], targets[p][1]) in known)
    return (there + back) / 2


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.integers(0, 9), min_size=1, max_size=2), st.lists(st.integers(0, 9), max_size=2)), min_size=1, max_size=7
    ),
    by=st.sampled_from(["row", "group"]),
    symmetric=st.booleans(),
    seed=st.integers(0, 99),
    chunk=st.integers(1, 5),
)
def test_it_is_what_plain_loops_say_of_any_rows(rows: Any, by: str, symmetric: bool, seed: int, chunk: int) -> None:
    targets = []
    for query, positives, negatives in rows:
        targets += [(QUERY, 100 + query, query), *((POSITIVE, text, query) for text in positives), *((NEGATIVE, text, query) for text in negatives)]
    states = vectors(len(targets), seed)
    before, contrastive.CHUNK = contrastive.CHUNK, chunk
    try:
        loss = of(states, targets, temperature=0.2, by=by, symmetric=symmetric and by == "row")
    finally:
        contrastive.CHUNK = before
    expected = plainly(states.tolist(), targets, 0.2, by, symmetric and by == "row")
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert torch.isfinite(torch.autograd.grad(loss, states)[0]).all()


def test_a_row_with_nothing_to_be_told_from_costs_nothing_and_moves_nothing() -> None:
    states = vectors(2)
    loss = of(states, [[QUERY, 1, 1], [POSITIVE, 2, 1]])
    assert loss == 0 and not torch.autograd.grad(loss, states)[0].any()
    states = vectors(3)
    loss = of(states, [[QUERY, 1, 7], [QUERY, 2, 8], [QUERY, 3, 9]], by="group")
    assert loss == 0 and not torch.autograd.grad(loss, states)[0].any(), "three labels, one text each"


def test_counts_are_those_of_the_loss() -> None:
    targets = torch.tensor([[QUERY, 1, 7], [QUERY, 2, 7], [QUERY, 3, 9], [QUERY, 1, 9], [QUERY, 5, 5]])
    objective = Contrastive(lambda model, batch: vectors(5), by="group")
    batch = Batch({}, targets, ("a",) * 5, 5)
    assert objective.counts(batch) == {"contrastive": 4.0} == {name: term.count for name, term in objective(torch.nn.Module(), batch).terms.items()}


@pytest.mark.parametrize("chunk", [1, 2, 1024])
def test_ordered_pairs_cost_what_plain_loops_say(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(cosent, "CHUNK", chunk)
    states = vectors(10)
    scores = [3.0, 1.0, 1.0, 2.5, 0.0]
    cosines = (states[::2] * states[1::2]).sum(-1).tolist()
    wrong = [math.exp((cosines[b] - cosines[a]) / 0.05) for a in range(5) for b in range(5) if scores[a] > scores[b]]
    targets = torch.tensor([[0.0, score] for score in scores for _ in range(2)])
    loss = CoSENT(lambda model, batch: states).joint(states, targets).value()
    assert loss.item() == pytest.approx(math.log(1 + sum(wrong)), rel=1e-4)
    assert torch.isfinite(torch.autograd.grad(loss, states)[0]).all()
    assert CoSENT(lambda model, batch: states).joint(states, targets * 0).value() == 0, "equal scores have no order"
