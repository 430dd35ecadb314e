"""The features of a split in flat arrays: a few bytes a token, in memory or mapped from a file."""

from __future__ import annotations

import hashlib
import mmap
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from weitiao.core import spool
from weitiao.core.contracts import Features

_TYPES = {
    "tokens": "i",
    "token_ends": "q",
    "targets": "i",
    "target_ends": "q",
    "ids": "B",
    "id_ends": "q",
    "numbers": "i",
    "cuts": "i",
    "unasked": "i",
    "seconds": "i",
    "places": "i",
    "place_ends": "q",
}
"""Column -> type code of its values; those of one column stand one behind the other, and `_ends` say where each feature's stop."""
_KINDS = {int: "i", float: "d"}
"""Type of a target -> type code. Targets of other types are held as the objects they are."""
_HELD = 1 << 20
"""Bytes of a column that are held in memory while it grows; past them it grows in a temporary file."""


class FeatureTable(Sequence[Features]):
    """Features that are made when they are asked for, equal to those that went in."""

    def __init__(self, columns: Mapping[str, np.ndarray], target: str, objects: Sequence[Any] | None = None) -> None:
        """columns: as in _TYPES. target: none, one (a value each), many (a list each), or objects."""
        self._columns, self._target, self._objects = columns, target, objects
        self._tokens, self._ids, self._targets = columns["tokens"], columns["ids"], columns["targets"]
        self._token_ends, self._id_ends, self._target_ends = columns["token_ends"], columns["id_ends"], columns["target_ends"]
        self._places, self._place_ends = columns["places"], columns["place_ends"]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each feature, (n,)."""
        return np.diff(self._token_ends)

    @property
    def words(self) -> list[int]:
        """Token ids that occur, each once."""
        return np.unique(self._tokens).tolist()  # type: ignore[no-any-return]

    @property
    def numbers(self) -> np.ndarray:
        """For each feature which of the split's rows it came from, (n,)."""
        return self._columns["numbers"]

    @property
    def cuts(self) -> np.ndarray:
        """Tokens of each feature that did not fit, (n,)."""
        return self._columns["cuts"]

    def __len__(self) -> int:
        return len(self._token_ends) - 1

    @overload
    def __getitem__(self, at: int) -> Features: ...
    @overload
    def __getitem__(self, at: slice) -> list[Features]: ...
    def __getitem__(self, at: int | slice) -> Features | list[Features]:
        """Return one feature, or a list of some."""
        if isinstance(at, slice):
            return [self[n] for n in range(*at.indices(len(self)))]
        n = range(len(self))[at]
        return Features(
            _part(self._ids, self._id_ends, n).tobytes().decode("utf-8", "surrogatepass"),
            _part(self._tokens, self._token_ends, n).tolist(),
            self._asked(n),
            int(self._columns["cuts"][n]),
            int(self._columns["unasked"][n]),
            int(self._columns["seconds"][n]),
            _part(self._places, self._place_ends, n).tolist() or (),
        )

    def _asked(self, n: int) -> Any:
        if self._target == "many":
            return _part(self._targets, self._target_ends, n).tolist()
        if self._target == "one":
            return self._targets[n].item()
        return self._objects[n] if self._objects is not None else None


class Builder:
    """Takes features a part at a time; memory does not grow with their number."""

    def __init__(self) -> None:
        self._files = {name: tempfile.SpooledTemporaryFile(max_size=_HELD) for name in _TYPES}  # noqa: SIM115 (closed with the builder)
        self._types = dict(_TYPES)
        self._target = ""
        self._objects: list[Any] = []
        self.count = 0
        self._tokens = self._ids = self._targets = self._places = 0
        for name, file in self._files.items():
            if name.endswith("_ends"):
                file.write(array("q", [0]))
            weakref.finalize(self, file.close)

    @property
    def keepable(self) -> bool:
        """Whether everything lies in arrays, which a file can hold."""
        return self._target != "objects"

    def add(self, features: Iterable[Features], numbers: Mapping[str, int]) -> None:
        """Append features. numbers: row id -> which row of the split it is."""
        part = {name: array(kind) for name, kind in self._types.items() if name != "targets"}
        tokens, ids, places = part["tokens"], part["ids"], part["places"]
        targets = []
        for feature in features:
            tokens.extend(feature.input_ids)
            ids.frombytes(feature.row.encode("utf-8", "surrogatepass"))
            part["token_ends"].append(self._tokens + len(tokens))
            part["id_ends"].append(self._ids + len(ids))
            part["numbers"].append(numbers.get(feature.row, -1))
            part["cuts"].append(feature.cut)
            part["unasked"].append(feature.unasked_bytes)
            part["seconds"].append(feature.second)
            places.extend(feature.places)
            part["place_ends"].append(self._places + len(places))
            targets.append(feature.target)
        self._tokens += len(tokens)
        self._ids += len(ids)
        self._places += len(places)
        self._add_targets(targets, part)
        with spool.disk_told("token ids"):
            for name, values in part.items():
                self._files[name].write(values)
        self.count += len(targets)

    def table(self) -> FeatureTable:
        """Return what was added, in memory."""
        columns = {}
        for name, file in self._files.items():
            file.seek(0)
            columns[name] = np.frombuffer(bytearray(file.read()), dtype=self._types[name])
        return FeatureTable(columns, self._target, self._objects if self._target == "objects" else None)

    def save(self, path: Path) -> dict[str, Any]:
        """Write the arrays into one file and return what `opened` needs to know of it."""
        columns, at = {}, 0
        with path.open("wb") as file:
            for name, column in self._files.items():
                column.seek(0)
                shutil.copyfileobj(column, file, 1 << 20)
                size = file.tell() - at
                columns[name] = {"type": self._types[name], "start": at, "bytes": size}
                at += file.write(b"\0" * (-file.tell() % 8)) + size
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"columns": columns, "target": self._target, "bytes": at, "sha256": digest}

    def _add_targets(self, targets: list[Any], part: Mapping[str, array]) -> None:
        if targets and not self._target:
            self._begin(targets[0])
        if self._target in ("one", "many"):
            values = array(self._types["targets"])
            try:
                for target in targets:
                    self._append(values, target)
                    part["target_ends"].append(self._targets + len(values))
            except (TypeError, OverflowError):
                self._give_up()
            else:
                self._targets += len(values)
                with spool.disk_told("token ids"):
                    self._files["targets"].write(values)
        elif self._target == "none" and any(target is not None for target in targets):
            self._give_up()
        if self._target == "objects":
            self._objects += targets

    def _begin(self, first: Any) -> None:
        inner = first[0] if type(first) is list and first else first
        if type(inner) in _KINDS:
            self._target, self._types["targets"] = "many" if type(first) is list else "one", _KINDS[type(inner)]
        else:
            self._target = "none" if first is None else "objects"

    def _append(self, values: array, target: Any) -> None:
        """Append a target. Raises TypeError for one that would come back as another type, OverflowError for a number too large."""
        if self._target == "one":
            if _KINDS.get(type(target)) != values.typecode:
                raise TypeError
            values.append(target)
        elif type(target) is not list or (values.typecode == "d" and any(type(value) is not float for value in target)):
            raise TypeError
        else:
            values.extend(target)

    def _give_up(self) -> None:
        """Hold targets as objects from now on, those so far too."""
        so_far = self.table()
        self._objects = [so_far[n].target for n in range(self.count)]
        self._target = "objects"


def opened(path: Path, facts: Mapping[str, Any], *, check: bool = True) -> FeatureTable:
    """Return the features of a file that `Builder.save` wrote, mapped: pages that are not read cost no memory.

    check: compare the content with its hash first. Raises OSError, or ValueError, KeyError, TypeError where it is not what was written.
    """
    with path.open("rb") as file:
        if path.stat().st_size != facts["bytes"] or (check and hashlib.file_digest(file, "sha256").hexdigest() != facts["sha256"]):
            raise ValueError(f"{path} is damaged")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    columns = {}
    for name in _TYPES:
        where = facts["columns"][name]
        kind = np.dtype(where["type"])
        columns[name] = np.frombuffer(mapped, dtype=kind, count=where["bytes"] // kind.itemsize, offset=where["start"]) if where["bytes"] else np.empty(0, kind)
    return FeatureTable(columns, facts["target"])


def _part(values: np.ndarray, ends: np.ndarray, n: int) -> np.ndarray:
    return values[ends[n] : ends[n + 1]]
