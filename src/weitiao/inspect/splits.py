"""Which rows stand in which split: decided by hashes of their texts, so that neither order nor chance has a say."""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter

import numpy as np

from weitiao.core import fingerprint
from weitiao.core.rows import Row
from weitiao.core.spool import chosen

_KEY = 16
"""Bytes of a hash that are held per row; two texts of 10^12 would share them with a chance of 10^-15."""


def take_share(
    rows: Sequence[Row], share: float, *, salt: str, stratum: Callable[[Row], str], group: Callable[[Row], str] = attrgetter("text")
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Split rows into (rest, taken), about `share` of each stratum taken, by a hash of each row's group: its text.

    The hash depends on the group and the salt alone, so equal texts always fall on the same side, and the
    order of the file does not matter. A stratum of n rows gives floor or ceiling of share x n, whichever its name's
    hash says, so that many small strata together give their share too; at least one row always stays.
    """
    hashes, strata = bytearray(), defaultdict[str, array](partial(array, "I"))
    for n, row in enumerate(rows):
        hashes += key_of(group(row), salt)
        strata[stratum(row)].append(n)
    keys = as_keys(hashes)
    taken = [np.empty(0, keys.dtype)]
    for name, members in strata.items():
        texts, copies = np.unique(keys[np.frombuffer(members, dtype=np.uintc)], return_counts=True)  # in the order of the hashes
        chance = int(fingerprint.of_text(salt + name)[:8], 16) / 2**32
        taken.append(texts[_within(copies.tolist(), min(int(share * len(members) + chance), len(members) - 1))])
    aside = np.isin(keys, np.concatenate(taken))
    return chosen(rows, np.flatnonzero(~aside)), chosen(rows, np.flatnonzero(aside))


def first_by_hash(rows: Sequence[Row], most: int) -> Sequence[Row]:
    """Return the `most` rows whose texts have the lowest hashes, in their order: always the same ones."""
    order = np.argsort(as_keys(b"".join(key_of(row.text) for row in rows)), kind="stable")
    return chosen(rows, np.sort(order[:most]))


def key_of(text: str, salt: str = "") -> bytes:
    """Return the beginning of a text's hash: equal texts, equal keys."""
    return hashlib.sha256((salt + text).encode("utf-8", "surrogatepass")).digest()[:_KEY]


def as_keys(joined: bytes | bytearray) -> np.ndarray:
    """Return keys, written one behind the other, as an array (n,) that sorts and compares as the hashes do."""
    return np.frombuffer(joined, dtype=f"S{_KEY}")


def _within(copies: Iterable[int], quota: int) -> list[int]:
    """Return which texts are taken: one after the other, each with all its copies, as long as they fit."""
    taken = []
    for n, count in enumerate(copies):
        if quota == 0:
            break
        if count <= quota:
            quota -= count
            taken.append(n)
    return taken
