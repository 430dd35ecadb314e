"""Several sources as one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import PositiveFloat, field_validator, model_serializer, model_validator

from weitiao.core import fingerprint, resolve, spool
from weitiao.core.component import Settings
from weitiao.core.contracts import Source, Split
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row, content_key, copy_id
from weitiao.errors import BadValue, Conflict, MissingColumn

_WHOLE = ("dev_share", "test_share", "train_rows", "test_rows", "bad_rows", "cache")
"""Settings that a mixture has for all of its rows."""


class _Part(Settings):
    """A source in a mixture."""

    source: Any
    """The source, with settings of its own."""
    weight: PositiveFloat = 1.0
    """How often a training row of this source is taken: 2 takes each twice, 0.5 takes half of them."""
    title: str | None = None
    """What its records are said to come from."""

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {**self.source.settings(), "weight": self.weight, "title": self.title}


class Mixture(Source):
    """Read several sources as one, each training row as often as the weight of its source says.

    Dev and test rows are those of all sources that name some, each once. Where none does, they are split off train first, and
    the weights act on what is left. A source's own `text` and `label` come under the names that the mixture has for them.
    """

    sources: tuple[_Part, ...]
    """The sources: each a name and its settings, a `weight` (default 1: 2 takes each training row twice, 0.5 takes half of them,
    always the same ones) and, if its records are to be called otherwise than its file, a `title`."""
    origin: str = "from_source"
    """Key under which every record says the title of the source that it came from."""

    holds: ClassVar[tuple[str, ...]] = ("sources",)

    @field_validator("sources", mode="before")
    @classmethod
    def _resolved(cls, value: Any) -> Any:
        return resolve.each(value, lambda n, item, report: item if isinstance(item, _Part) else _part(item, f"sources.{n}", report))

    @model_validator(mode="after")
    def _settings_that_go_together(self) -> Self:
        if not self.sources:
            raise ValueError("sources is empty; a mixture needs at least one")
        for name in ("train", "dev", "test", "id"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is a setting of each source, not of the mixture")
        for role in ("text", "label"):
            if isinstance(getattr(self, role), list) and any(getattr(part.source, role) is not None for part in self.sources):
                raise ValueError(f"{role} names several columns, so no source may name {role} too")
        given = [part.title for part in self.sources if part.title is not None]
        if len(set(given)) < len(given):
            raise ValueError("two sources have the same title")
        return self

    def given(self, split: Split) -> bool:
        """Tell whether a source names where this split is."""
        return any(part.source.given(split) for part in self.sources)

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield the records of every source that has this split, one source after the other, each with the title of its source."""
        for number, (part, title) in enumerate(zip(self.sources, self.titles(), strict=True), 1):
            if not part.source.given(split):
                continue
            for record in part.source.records(split, bad):
                own = record.values.get(part.source.id) if part.source.id is not None else record.id or None
                values = {**record.values, **self._roles(part.source, record)}
                if self.origin in record.values:
                    raise BadValue(f"data.origin: {record.place} has a column '{self.origin}' already.", hint="Set data.origin to a key that no record has.")
                values[self.origin] = title
                yield Record(values, record.file, record.line, f"{number}:{content_key(record.values) if own is None else own}")

    def drawn(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return every row as often as the weight of its source says; the rows taken for a fraction are chosen by a hash of their text."""
        if all(part.weight == 1 for part in self.sources):
            return rows
        members: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for n, row in enumerate(rows):
            members[_number(row)].append((fingerprint.of_text(f"mixture{row.text}")[:16], n))
        once_more: set[int] = set()
        for number, keyed in members.items():
            share = self.sources[number - 1].weight % 1
            once_more.update(n for _, n in sorted(keyed)[: round(share * len(keyed))])

        def copies() -> Iterator[Row]:
            for n, row in enumerate(rows):
                for copy in range(1, math.floor(self.sources[_number(row) - 1].weight) + (n in once_more) + 1):
                    yield row if copy == 1 else replace(row, id=copy_id(row.id, copy))

        return spool.gathered(copies())

    def titles(self) -> list[str]:
        """Return what each source's records are said to come from: its title, else the name of its training file, as long as it takes to tell them apart."""
        for length in range(1, 4):
            titles = [part.title or _file_name(part.source, length) for part in self.sources]
            if len(set(titles)) == len(titles):
                return titles
        return [part.title or f"{n} {_file_name(part.source, 1)}" for n, part in enumerate(self.sources, 1)]

    def for_file(self, path: str) -> Source:
        """Return the reading settings of the first source that reads such files, else of the first."""
        ending = Path(path).suffix.lower()
        source: Source = next((part.source for part in self.sources if ending in part.source.endings()), self.sources[0].source)
        unnamed = {role: getattr(self, role) for role in ("text", "label") if getattr(source, role) is None}
        return source.revised(**unnamed, bad_rows=self.bad_rows).for_file(path)

    def endings(self) -> set[str]:
        """Return the endings of the files that the sources name."""
        return set().union(*(part.source.endings() for part in self.sources))

    def _roles(self, source: Source, record: Record) -> dict[str, Any]:
        """Return text and label under the mixture's names. Raises MissingColumn where the source names a column that is not there."""
        found: dict[str, Any] = {}
        for role in ("text", "label"):
            named, wanted = getattr(source, role), getattr(self, role) or role
            if named is None:
                continue
            for column in [named] if isinstance(named, str) else named:
                if column not in record.values:
                    raise MissingColumn(
                        f"{record.place}: there is no column '{column}' for the {role}.{did_you_mean(column, record.values)}",
                        hint=f"The columns are: {', '.join(list(record.values)[:12])}. Set {role} of this source to one of them.",
                    )
            found[wanted] = record.values[named] if isinstance(named, str) else " ".join(str(record.values[column]).strip() for column in named)
        return found


def _part(value: Any, key: str, problems: resolve.Report) -> _Part | None:
    """Return a part of a mixture from a source's name and settings, beside which its weight and title stand."""
    own: dict[str, Any] = {}
    if isinstance(value, Mapping):
        own = {name: value[name] for name in ("weight", "title") if name in value}
        value = {name: setting for name, setting in value.items() if name not in own}
    source = resolve.component("source", key, value, problems)
    part = resolve.settings(_Part, key, {**own, "source": source}, problems)
    if source is None:
        return part
    assert isinstance(source, Source)
    if source.holds:
        problems(Conflict, f"{key}.name", f"{key}.name: a {source.name} cannot stand in a mixture.", "Put its sources into this one.")
    for name in _WHOLE:
        if getattr(source, name) != Source.model_fields[name].default:
            problems(Conflict, f"{key}.{name}", f"{key}.{name}: this is said of all rows together.", f"Set data.{name}.")
    if isinstance(source.label, list):
        problems(Conflict, f"{key}.label", f"{key}.label: several label columns have no name in common.", "Name them in data.label, for all sources.")
    return part


def _number(row: Row) -> int:
    """Return which source a row came from, counted from 1: its id begins with it."""
    return int(row.id.partition(":")[0])


def _file_name(source: Source, length: int) -> str:
    """Return the last parts of the name of a source's file, without its ending."""
    path = Path(str(next((place for split in ("train", "dev", "test") if (place := getattr(source, split)) is not None), source.name)))
    return "/".join(path.with_suffix("").parts[-length:])
