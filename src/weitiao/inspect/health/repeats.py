"""Rows that stand there twice: within a split, in two splits, and with two targets; word for word, but for spelling, and nearly."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from weitiao.core.rows import Row
from weitiao.inspect.health.finding import Finding, Level, Place, first, rows_that

SHINGLE = 5
"""Characters of the pieces that two texts are compared by."""
ALIKE = 0.8
"""Share of pieces (Jaccard) that near copies have in common, at least."""
FEWEST = 30
"""Characters below which texts are only compared whole."""
MOST = 50_000
"""Rows of a split in which near copies are looked for, at most."""
TRIED = 4
"""Rows of a band that a row is compared with, at most."""
TELLING = 0.01
"""Share of the rows that prove a result from which rows of train among them make the proof worthless."""
BANDS, BAND = 20, 4
"""Bands of a signature, and hashes in each: pairs that have 0.8 of their pieces in common meet in a band with a chance of 0.99997."""
PARTED = "\x1f"
"""What stands between the pieces of an input, so that `a b` and `c` are not `a` and `b c`."""
PIECES = 8
"""Pieces of an input above which they are its words, and compared together."""
_NOT_WORDS = re.compile(r"[^\w]+", re.UNICODE)


def content(row: Row) -> str:
    """Return what a row asks, without its target: the turns before the answer, the pieces of its input in order, or the text."""
    if row.turns:
        return "\n".join(f"{turn.role}: {turn.text}" for turn in row.asked)
    return PARTED.join(row.parts) if row.parts else row.text


def normalised(text: str) -> str:
    """Return a text without case, punctuation, doubled blanks and differences of form: what a person would call the same."""
    return PARTED.join(_plain(part) for part in text.split(PARTED))


def _plain(text: str) -> str:
    return _NOT_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


class Seen:
    """The rows of one split by their content."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows: list[Row] = []
        self.exact: dict[bytes, list[int]] = defaultdict(list)
        self.plain: dict[bytes, list[int]] = defaultdict(list)
        self._signatures: list[np.ndarray | None] = []
        self._texts: list[str] = []
        self.cut = False
        for n, row in enumerate(rows):
            text = content(row)
            plain = normalised(text)
            self.rows.append(Row(row.id, "", row.target, row.place))
            self.exact[_key(text)].append(n)
            self.plain[_key(plain or text)].append(n)
            if n < MOST:
                self._signatures.append(_signature(plain) if len(plain) >= FEWEST else None)
                self._texts.append(plain if len(plain) >= FEWEST else "")
            else:
                self.cut = True

    def __len__(self) -> int:
        return len(self.rows)

    def bands(self) -> dict[bytes, list[int]]:
        """Return rows by the bands of their signatures."""
        found: dict[bytes, list[int]] = defaultdict(list)
        for n, signature in enumerate(self._signatures):
            if signature is not None:
                for band in range(BANDS):
                    found[bytes([band]) + signature[band * BAND : (band + 1) * BAND].tobytes()].append(n)
        return found

    def alike(self, n: int, other: Seen, m: int) -> bool:
        """Tell whether two rows nearly say the same, in every piece of their input: questions about one text are not alike for that text."""
        one, two = (_pieces(text) for text in (self._texts[n], other._texts[m]))
        return len(one) == len(two) and all(a == b or _common(a, b) >= ALIKE for a, b in zip(one, two, strict=True))


def within(split: str, seen: Seen, *, learns: bool) -> Iterator[Finding]:
    """Yield what repeats inside a split. learns: whether models learn from it, so that repeats weigh more than once."""
    level: Level = "warning" if learns else "note"
    copies = [(n, members[0]) for members in seen.exact.values() for n in members[1:] if seen.rows[n].target == seen.rows[members[0]].target]
    yield from _repeated("duplicates", level, split, seen, copies, "word for word", "their weight in training is that of several rows" if learns else "")
    known = {n for n, _ in copies}
    loose = [(n, members[0]) for members in seen.plain.values() for n in members[1:] if n not in known and seen.rows[n].target == seen.rows[members[0]].target]
    yield from _repeated("duplicates_normalised", level, split, seen, loose, "but for case, punctuation and blanks", "")
    known |= {n for n, _ in loose}
    known |= {n for members in seen.plain.values() for n in members[1:]}  # those with another target are conflicts
    near = [(n, m) for n, m in _pairs(seen, seen) if n not in known]
    yield from _repeated("duplicates_near", "note", split, seen, near, f"nearly (more than {ALIKE:.0%} of their pieces)", "", drops=False)


def conflicts(split: str, seen: Seen, *, answers: bool = False) -> Iterator[Finding]:
    """Yield texts that have two targets. answers: whether targets are texts to generate, of which several may be right."""
    places = []
    for members in seen.plain.values():
        other = next((n for n in members[1:] if seen.rows[n].target != seen.rows[members[0]].target), None)
        if other is not None:
            begun = seen.rows[members[0]]
            places.append(
                Place(seen.rows[other], f"{_short(seen.rows[other].target)} for the text of {begun.place}", _short(begun.target), "keep the one that is right")
            )
    if places:
        message = f"{rows_that(len(places), split, 'has', 'have')} a text that another row has with another target."
        level: Level = "note" if answers else "warning"
        do = "" if answers else "Decide which target is right: no model can learn both."
        yield Finding("conflicts", level, split, len(places), len(seen), message, do, first(places))


def across(split: str, seen: Seen, proof: str, proven: Seen) -> Iterator[Finding]:
    """Yield rows of a split that a model is judged by and that stand in the split it learns from."""
    told: set[int] = set()
    kinds: tuple[tuple[str, bool, str, list[tuple[int, int]]], ...] = (
        ("leakage", True, "word for word", _shared(seen.exact, proven.exact)),
        ("leakage_normalised", True, "but for case, punctuation and blanks", _shared(seen.plain, proven.plain)),
        ("leakage_near", False, f"nearly (more than {ALIKE:.0%} of their pieces)", _pairs(seen, proven)),
    )
    for check, word_for_word, how, pairs in kinds:
        found = [(n, m) for n, m in pairs if n not in told]
        told |= {n for n, _ in found}
        if found:
            judged = len({m for _, m in found})
            message = f"{rows_that(len(found), split, 'stands', 'stand')} in {proof} too, {how}: {judged:,} of its {len(proven):,} rows prove little."
            places = [Place(seen.rows[n], "the content", "", "leave it out", proven.rows[m].place) for n, m in found]
            drops = tuple((seen.rows[n].place, seen.rows[n].id) for n, _ in found)
            do = f"Leave them out of {split}; --fix writes a copy without them."
            level: Level = "problem" if word_for_word and judged >= TELLING * len(proven) else "warning"
            yield Finding(check, level, split, len(found), len(seen), message, do, first(places), drops)


def empty(split: str, rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield rows without a word."""
    found = [row for row in rows if not normalised(content(row)).strip(PARTED)]
    if found:
        places = [Place(row, "no word", "a text", "remove it") for row in found]
        message = f"{rows_that(len(found), split, 'holds', 'hold')} no word."
        yield Finding(
            "empty",
            "warning",
            split,
            len(found),
            len(rows),
            message,
            "Remove them, or look where their text went.",
            first(places),
            tuple((row.place, row.id) for row in found),
        )


def _repeated(
    check: str, level: Level, split: str, seen: Seen, pairs: Sequence[tuple[int, int]], how: str, why: str, *, drops: bool = True
) -> Iterator[Finding]:
    if not pairs:
        return
    more = f": {why}" if why else ""
    message = f"{rows_that(len(pairs), split, 'repeats', 'repeat')} an earlier one {how}{more}."
    places = [Place(seen.rows[n], "the content", "", "leave it out" if drops else "look whether both are wanted", seen.rows[m].place) for n, m in pairs]
    left_out = tuple((seen.rows[n].place, seen.rows[n].id) for n, _ in pairs) if drops else ()
    do = "--fix writes a copy without them." if drops else ""
    yield Finding(check, level, split, len(pairs), len(seen), message, do, first(places), left_out)


def _shared(one: Mapping[bytes, list[int]], other: Mapping[bytes, list[int]]) -> list[tuple[int, int]]:
    return sorted((n, other[key][0]) for key in one.keys() & other.keys() for n in one[key])


def _pairs(one: Seen, other: Seen) -> list[tuple[int, int]]:
    """Return each row of the first that is nearly one of the other (an earlier one, where both are the same), with that one."""
    found: dict[int, int] = {}
    same, theirs = one is other, other.bands()
    for key, members in (theirs if same else one.bands()).items():
        beside = theirs.get(key, ())
        for n in members:
            if n in found or not beside:
                continue
            for m in beside[:TRIED]:  # rows that are all alike meet at the first of them
                if (not same or m < n) and one.alike(n, other, m):
                    found[n] = m
                    break
    return sorted(found.items())


def _pieces(text: str) -> list[str]:
    """Return the pieces of an input; more than a few are words, and belong together."""
    found = text.split(PARTED)
    return found if len(found) <= PIECES else [" ".join(found)]


def _common(one: str, two: str) -> float:
    """Return which share of their shingles two texts have in common (Jaccard)."""
    a, b = ({text[n : n + SHINGLE] for n in range(max(1, len(text) - SHINGLE + 1))} for text in (one, two))
    return len(a & b) / len(a | b)


def _signature(text: str) -> np.ndarray:
    """Return the least of every hash over the pieces of a text, (BANDS x BAND,) (Broder, 1997)."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    pieces = np.zeros(len(codes) - SHINGLE + 1, dtype=np.uint64)
    for offset in range(SHINGLE):
        pieces = pieces * np.uint64(1_000_003) + codes[offset : len(codes) - SHINGLE + 1 + offset]
    pieces = np.unique(pieces)
    least = np.full(BANDS * BAND, np.iinfo(np.uint32).max, dtype=np.uint32)
    for start in range(0, len(pieces), 4096):
        hashed = (pieces[None, start : start + 4096] * _FACTORS[:, None] + _ADDED[:, None]) >> np.uint64(32)
        least = np.minimum(least, hashed.astype(np.uint32).min(1))
    return least


_DRAWN = np.random.default_rng(20_261)
_FACTORS = _DRAWN.integers(1, 2**63, BANDS * BAND, dtype=np.uint64) | np.uint64(1)
_ADDED = _DRAWN.integers(0, 2**63, BANDS * BAND, dtype=np.uint64)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _short(target: object) -> str:
    said = " ".join(str(target).split())
    return f"'{said[:40]}{'...' if len(said) > 40 else ''}'"
