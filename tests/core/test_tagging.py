"""Tags in every scheme, and the entities they mark: the oracle is the pair of tables by which conlleval reads any tag sequence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.core import tagging

ENDS = {"BB", "BS", "BO", "IB", "IS", "IO", *(f"{left}{right}" for left in "ES" for right in "BIESO")}
"""Places of two neighbours of one type between which an entity ends."""
BEGINS = {*(f"{left}{right}" for left in "BIESO" for right in "BS"), *(f"{left}{right}" for left in "ESO" for right in "EI")}
"""Places between which one begins."""
PLACES = str.maketrans("MLUW", "IESS")


def by_conlleval(tags: list[str]) -> list[tuple[str, int, int]]:
    """Return entities as conlleval does: an end, a beginning, or both between each two neighbours."""
    found: list[tuple[str, int, int]] = []
    place, kind, start = "O", "", 0
    for n, tag in enumerate([*tags, "O"]):
        now, _, its = tag.partition("-")
        now = now.translate(PLACES)
        apart = kind != its
        if place != "O" and (place + now in ENDS or apart):
            found.append((kind, start, n))
        if now != "O" and (place + now in BEGINS or apart):
            start = n
        place, kind = now, its
    return found


def anything(scheme: str) -> st.SearchStrategy[list[str]]:
    """Return any tags of a scheme, allowed where they stand or not."""
    tags = ["O", *(f"{letter}-{kind}" for letter in tagging.LETTERS[scheme] for kind in ("PER", "LOC", "WORK-OF-ART"))]
    return st.lists(st.sampled_from(tags), min_size=1, max_size=12)


@st.composite
def entities(draw: st.DrawFn) -> tuple[list[tuple[str, int, int]], int]:
    """Return entities that do not overlap, and the number of words."""
    found, at = [], 0
    for _ in range(draw(st.integers(1, 5))):
        start = at + draw(st.integers(0, 2))
        at = start + draw(st.integers(1, 4))
        found.append((draw(st.sampled_from(["PER", "LOC"])), start, at))
    return found, at + draw(st.integers(0, 2))


def written(marked: list[tuple[str, int, int]], length: int, scheme: str) -> list[str]:
    """Return the tags that mark entities in a scheme, as its definition says."""
    tags = ["O"] * length
    before = ("", -1)
    for kind, start, end in marked:
        first, last, single, inner = {"bilou": "BLUI", "bmes": "BESM", "iobes": "BESI", "bmeo": "BEBM"}.get(scheme, "BIBI")
        if scheme == "iob1":
            first = single = "B" if before == (kind, start) else "I"
        letters = single if end - start == 1 else first + inner * (end - start - 2) + last
        tags[start:end] = [f"{letter}-{kind}" for letter in letters]
        before = (kind, end)
    return tags


@pytest.mark.parametrize("scheme", tagging.LETTERS)
def test_entities_are_those_of_conlleval_whatever_the_tags(scheme: str) -> None:
    @settings(max_examples=300, deadline=None)
    @given(anything(scheme))
    def holds(tags: list[str]) -> None:
        assert tagging.entities_of(tags) == by_conlleval(tags)

    holds()


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes", "bilou"])
def test_entities_are_those_of_seqeval(scheme: str) -> None:
    seqeval = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="seqeval is not installed")

    @settings(max_examples=300, deadline=None)
    @given(anything(scheme))
    def holds(tags: list[str]) -> None:
        known = [tag.replace("L-", "E-", 1) if tag[0] == "L" else tag.replace("U-", "S-", 1) if tag[0] == "U" else tag for tag in tags]
        assert tagging.entities_of(tags) == [(kind, start, end + 1) for kind, start, end in seqeval.get_entities(known)]

    holds()


@pytest.mark.parametrize("scheme", tagging.LETTERS)
def test_entities_survive_every_scheme_and_nothing_about_them_is_odd(scheme: str) -> None:
    @settings(max_examples=300, deadline=None)
    @given(entities())
    def holds(drawn: tuple[list[tuple[str, int, int]], int]) -> None:
        tags = written(*drawn, scheme)
        assert tagging.entities_of(tags) == drawn[0]
        assert tagging.entities_of(tagging.tags_of(*drawn)) == drawn[0]
        assert list(tagging.jumps(tags, scheme)) == []

    holds()


@pytest.mark.parametrize("scheme", tagging.LETTERS)
def test_a_scheme_is_recognised_by_its_tags(scheme: str) -> None:
    marked = ([("PER", 0, 1), ("PER", 1, 4), ("LOC", 5, 6), ("LOC", 7, 9)], 10)
    assert tagging.recognised([written(*marked, scheme)] * 9 + [["I-LOC", "O", "X-PER"]]) == scheme


@pytest.mark.parametrize("tags", [["DT", "NN", "IN"], ["O", "NN", "B"], ["I", "S"], ["O", "O"], ["NOUN-1", "X-2", "PRON-3"]])
def test_tags_that_mark_nothing_are_plain(tags: list[str]) -> None:
    assert tagging.recognised([tags]) == "plain"


def test_letters_alone_mark_entities_without_a_name() -> None:
    assert tagging.recognised([["B", "I", "O", "B"]]) == "iob2"
    assert tagging.entities_of(["B", "E", "S", "O"]) == [("_", 0, 2), ("_", 2, 3)]


@pytest.mark.parametrize(
    ("scheme", "tags", "odd"),
    [
        ("iob2", "O I-A I-A B-A I-B", [1, 4]),
        ("iob1", "I-A B-A O B-A", [3]),
        ("iobes", "B-A O I-A E-A S-A E-A B-A", [1, 2, 5, 6]),
        ("iobes", "B-A B-A E-A", [1]),
        ("bmeo", "B-A O B-A M-A O", [4]),
        ("bmes", "B-A E-B S-A", [1]),
        ("iobes", "O I-A", [1]),
    ],
)
def test_tags_that_a_scheme_does_not_allow_are_found(scheme: str, tags: str, odd: list[int]) -> None:
    assert list(tagging.jumps(tags.split(), scheme)) == odd
