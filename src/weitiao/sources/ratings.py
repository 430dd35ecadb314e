"""Who liked what, and when."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import PositiveInt

from weitiao.core import endings, registry
from weitiao.core.contracts import Source, Split
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record
from weitiao.core.textfile import shown
from weitiao.errors import EmptySplit, MissingColumn

USUAL = {
    "user": ("user", "userid", "username", "uid", "reviewer", "reviewerid", "customer", "customerid", "visitorid", "profileid", "用户", "用户id"),
    "item": (
        *("item", "itemid", "iid", "movie", "movieid", "product", "productid", "parentasin", "asin", "book", "bookid", "isbn", "track", "trackid"),
        *("song", "songid", "article", "articleid", "business", "businessid", "anime", "animeid", "game", "gameid", "物品", "商品", "商品id", "id"),
    ),
    "rating": ("rating", "score", "stars", "starrating", "overall", "评分"),
    "time": ("timestamp", "time", "unixreviewtime", "datetime", "date", "ts", "时间"),
}
"""What the columns are usually called, without regard to case, spaces and underscores; the first found is taken."""
_TEXTS = ("title", "name", "itemname", "productname", "producttitle", "movietitle", "booktitle", "summary", "description", "text", "标题", "名称")


@dataclass(frozen=True, slots=True)
class _Interaction:
    """One user met one item."""

    time: float
    item: str
    line: int | None


class Ratings(Source):
    """Read a table of users, items, ratings and times as pairs of what a user liked before and what came next.

    Of every user's items in their order the last one is a test row, the one before it a dev row, and the earlier ones train rows,
    so that no train row knows a later one of its user. Where `dev` or `test` names a table of its own, nothing is held out for it.
    """

    user: str | None = None
    """Column that holds the user. Default: the first with a usual name, such as userId or reviewerID."""
    item: str | None = None
    """Column that holds the item. Default: the first with a usual name, such as itemId, movieId or asin."""
    rating: str | None = None
    """Column that holds the rating. Default: the first with a usual name; a table without ratings needs none."""
    time: str | None = None
    """Column that holds the time: a number, or a date as ISO 8601 has it. Default: the first with a usual name, such as timestamp."""
    minimum_rating: float | None = None
    """Leave out what was rated lower: it was met, but not liked. Default: everything counts."""
    history: PositiveInt = 10
    """Items before the next one that make the query, at most: the latest."""
    items: str | None = None
    """Table of the items, with a header line or as JSON lines. Default: the texts stand in the table of ratings, in the first row of each item."""
    item_key: str | None = None
    """Column of `items` that names the item. Default: the one called as in the table of ratings."""
    item_text: str | list[str] | None = None
    """Column that holds an item's text; several are joined by a space. Default: one called title or the like, else the item's name."""
    separator: str = "; "
    """What stands between the items of a query."""
    header: bool = True
    """Whether the first line of a delimited table of ratings names the columns."""
    columns: list[str] | None = None
    """Names of the columns where it does not."""
    delimiter: str | None = None
    """What stands between the cells of a table of ratings. Default: by its ending, as for csv."""
    encoding: str = "utf-8"
    """Encoding of the tables."""

    paths: ClassVar[tuple[str, ...]] = ("train", "dev", "test", "items")

    def given(self, split: Split) -> bool:
        """Tell whether there is a table for this split: dev and test are held out of train where they have none of their own."""
        return super().given(split) or self.train is not None

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per user and next item: `query`, the texts of the items before it, `positive`, its own text, and `user` and `item`."""
        own = getattr(self, split) is not None
        path = Path(str(getattr(self, split) if own else self.train))
        # what cannot be used of train is reported with train, not again with what is held out of it
        users, texts = self._table(path, bad if own else lambda sentence: None)
        held_out = 0 if split != "train" and own else sum(getattr(self, other) is None for other in ("dev", "test"))
        found = False
        for user, interactions in users.items():
            interactions.sort(key=lambda interaction: interaction.time)  # equal times stay in the order of the table
            for n in self._positions(split, len(interactions), held_out, own=own):
                found = True
                query = self.separator.join(texts[interaction.item] for interaction in interactions[max(0, n - self.history) : n])
                item = interactions[n].item
                values = {"query": query, "positive": texts[item], "user": user, "item": item}
                yield Record(values, str(path), interactions[n].line, f"{user} {n + 1}")
        if not found:
            longest = max(map(len, users.values()), default=0)
            least = "" if self.minimum_rating is None else f" rated {self.minimum_rating:g} or better"
            raise EmptySplit(
                f"{path}: no {split} rows: no user has as many items{least} as they take; the most is {longest}.",
                hint="Each user needs an item to start from, one to train on, and one each for dev and test where they have no table of their own.",
            )

    def _positions(self, split: Split, count: int, held_out: int, *, own: bool) -> range:
        """Return which of a user's items are the next ones in this split; the first one never is, since nothing comes before it."""
        if split == "train" or own:
            return range(1, count - held_out)
        last = count - 1 if split == "test" or self.test is not None else count - 2
        return range(max(last, 1), last + 1)

    def for_file(self, path: str) -> Source:
        """Return the same reading settings for another table, all of whose items but each user's first are test rows."""
        return self.revised(train=None, dev=None, test=path)

    # ------------------------------------------------------------ the tables

    def _table(self, path: Path, bad: Callable[[str], None]) -> tuple[dict[str, list[_Interaction]], Mapping[str, str]]:
        """Return the interactions of each user, in the order of the table, and the text of each item."""
        users: dict[str, list[_Interaction]] = {}
        texts: dict[str, str] = {}
        catalogue = self._catalogue(bad) if self.items is not None else None
        named: dict[str, str] | None = None
        for record in self._reader(path, whole=False).records("train", bad):
            if named is None:
                named = {role: column for role in USUAL if (column := self._column(role, record)) is not None}
                text_columns = [] if catalogue is not None else _text_columns(self.item_text, record, others=set(named.values()))
            try:
                user, item, time, liked = self._read(record, named)
                if catalogue is not None and item not in catalogue:
                    raise ValueError(f"{named['item']}: there is no item {shown(item)} in {self.items}")
            except ValueError as error:
                bad(f"{record.place}: {error}")
                continue
            if catalogue is None and item not in texts:
                texts[item] = _text(record, text_columns) or item
            if liked:
                users.setdefault(user, []).append(_Interaction(time, item, record.line))
        return users, texts if catalogue is None else catalogue

    def _catalogue(self, bad: Callable[[str], None]) -> dict[str, str]:
        """Return the text of each item in the table of items; of several rows for one item the first counts."""
        assert self.items is not None
        texts: dict[str, str] = {}
        key: str | None = None
        for record in self._reader(Path(self.items), whole=True).records("train", bad):
            if key is None:
                key = self._key(record)
                columns = _text_columns(self.item_text, record, others={key})
            item = _cell(record, key)
            if not item:
                bad(f"{record.place}: {key}: the item is empty")
            elif text := _text(record, columns):
                texts.setdefault(item, text)
            else:
                bad(f"{record.place}: {', '.join(columns)}: the item has no text")
        return texts

    def _reader(self, path: Path, *, whole: bool) -> Source:
        """Return the source that reads a table. whole: it is the table of items, which has a header line of its own."""
        found = registry.find("source", endings.READERS.get(path.suffix.lower(), "csv"))
        settings: dict[str, Any] = {"encoding": self.encoding}
        if not whole:
            settings |= {"header": self.header, "columns": self.columns, "delimiter": self.delimiter}
        source = found.model_validate({"train": str(path), **{name: value for name, value in settings.items() if name in found.model_fields}})
        assert isinstance(source, Source)
        return source

    def _column(self, role: str, record: Record) -> str | None:
        """Return the column of a role, None for ratings that are not there. Raises MissingColumn for what must be."""
        named = getattr(self, role)
        if named is not None:
            return _checked(named, role, record)
        found = column_of(role, record.values)
        if found is None and (role != "rating" or self.minimum_rating is not None):
            raise MissingColumn(
                f"{record.place}: no column is called like the {role}.", hint=f"The columns are: {', '.join(record.values)}. Set data.{role} to one of them."
            )
        return found

    def _key(self, record: Record) -> str:
        if self.item_key is not None:
            return _checked(self.item_key, "item_key", record)
        if self.item is not None and self.item in record.values:
            return self.item
        return str(self.revised(item=None)._column("item", record))

    def _read(self, record: Record, named: Mapping[str, str]) -> tuple[str, str, float, bool]:
        """Return user, item, time, and whether the rating is high enough. Raises ValueError saying what is wrong with a cell."""
        user, item = (_cell(record, named[role]) for role in ("user", "item"))
        for role, value in (("user", user), ("item", item)):
            if not value:
                raise ValueError(f"{named[role]}: the {role} is empty")
        time = _time(record.values.get(named["time"]), named["time"])
        if self.minimum_rating is None:
            return user, item, time, True
        rating = record.values.get(named["rating"])
        try:
            return user, item, time, _number(rating) >= self.minimum_rating
        except ValueError:
            raise ValueError(f"{named['rating']}: expected a rating, got {shown(rating)}") from None


def column_of(role: str, columns: Iterable[str]) -> str | None:
    """Return the column that is called like a role, None where none is."""
    return _called(USUAL[role], columns)


def text_column(columns: Iterable[str]) -> str | None:
    """Return the column that is called like the text of an item, None where none is."""
    return _called(_TEXTS, columns)


def _called(names: Sequence[str], columns: Iterable[str]) -> str | None:
    plain = {_plain(column): column for column in reversed(list(columns))}
    return next((plain[name] for name in names if name in plain), None)


def _plain(name: str) -> str:
    """Return a column's name without case, spaces and underscores."""
    return re.sub(r"[\W_]+", "", str(name)).lower()


def _checked(named: str, role: str, record: Record) -> str:
    if named not in record.values:
        raise MissingColumn(
            f"{record.place}: there is no column '{named}' for the {role}.{did_you_mean(named, record.values)}",
            hint=f"The columns are: {', '.join(record.values)}. Set data.{role} to one of them.",
        )
    return named


def _text_columns(named: str | list[str] | None, record: Record, *, others: set[str]) -> list[str]:
    """Return the columns that make an item's text; none where nothing is called like a text. others: columns that are known to be something else."""
    if named is not None:
        return [_checked(column, "item_text", record) for column in ([named] if isinstance(named, str) else named)]
    found = text_column(column for column in record.values if column not in others)
    return [] if found is None else [found]


def _text(record: Record, columns: Sequence[str]) -> str:
    return " ".join(cell for column in columns if (cell := _cell(record, column)))


def _cell(record: Record, column: str) -> str:
    value = record.values.get(column)
    return "" if value is None else str(value).strip()


def _number(value: Any) -> float:
    number = math.nan if value is None or isinstance(value, bool | list | dict) else float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _time(value: Any, column: str) -> float:
    """Return a time as a number that grows. Raises ValueError."""
    if value is None or not str(value).strip():
        raise ValueError(f"{column}: the time is empty")
    try:
        return _number(value)
    except ValueError:
        pass
    try:
        moment = datetime.datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ValueError(f"{column}: expected a number or a date such as 2024-03-01, got {shown(value)}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
