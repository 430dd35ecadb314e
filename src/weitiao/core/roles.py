"""Texts of a record by the role they play: which columns hold the query, which its answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue, MissingColumn

MEND = "Mend or remove the row, or set data.bad_rows=skip."


@dataclass(frozen=True, slots=True)
class Role:
    """A part that a text plays in a row."""

    name: str
    """What errors call it."""
    usual: tuple[str, ...]
    """Names of its column where the recipe names none."""
    several: bool = False
    """Whether a list of texts, or several columns (`negative_1`, `negative_2`), may hold it."""
    optional: bool = False
    """Whether a row may go without."""


def columns(record: Record, roles: Sequence[Role], asked: str | Sequence[str] | None, *, one_will_do: bool = False) -> list[list[str]]:
    """Return for each role the columns of the record that play it.

    asked: `data.text`: the columns in the order of the roles, the last role taking those left over if it may have several. One
    name is that of the first role; what is not named is found by its usual names, where the recipe does not name two or more.
    one_will_do: whether roles may be missing as long as one is there. Raises MissingColumn, BadValue.
    """
    named = [asked] if isinstance(asked, str) else list(asked or ())
    if len(named) > len(roles) and not roles[-1].several:
        raise BadValue(f"data.text: {len(named)} columns are named, expected {len(roles)}.", hint=f"Name {', '.join(role.name for role in roles)}.")
    found = []
    for n, role in enumerate(roles):
        given = named[n:] if role.several and role is roles[-1] else named[n : n + 1]
        if given:
            held = [name for name in given if name in record.values]
        else:
            held = [] if len(named) > 1 else _usual(record, role)
        if not one_will_do and (len(held) < len(given) or not (held or role.optional)):
            raise missing(record, next((name for name in given if name not in record.values), role.usual[0]), role.name, _setting(roles))
        found.append(held)
    if not any(found):
        raise missing(record, (named or roles[0].usual)[0], roles[0].name, _setting(roles))
    return found


def texts(record: Record, role: Role, names: Sequence[str]) -> list[str]:
    """Return the texts that some columns hold, each once, blanks around them removed. Raises BadRow where a role that must be there is empty."""
    found: dict[str, None] = {}
    for name in names:
        value = record.values[name]
        for text in value if isinstance(value, list) and role.several else [value]:
            if role.optional and (text is None or (isinstance(text, str) and not text.strip())):
                continue
            if not isinstance(text, str):
                raise BadRow(f"{record.place}: {name}: expected text, got {shown(text)}.", hint=MEND)
            if not text.strip():
                raise BadRow(f"{record.place}: {name}: the {role.name} is empty.", hint=MEND)
            found[text.strip()] = None
    if names and not found and not role.optional:
        raise BadRow(f"{record.place}: {', '.join(names)}: there is no {role.name}.", hint=MEND)
    return list(found)


def missing(record: Record, column: str, role: str, setting: str) -> MissingColumn:
    """Return the error for a column that is not there. setting: what would name it."""
    known = list(map(str, record.values))
    return MissingColumn(
        f"{record.place}: there is no column '{column}' for the {role}.{did_you_mean(column, known)}",
        hint=f"The columns are: {', '.join(known[:12])}. Set {setting}.",
    )


def _usual(record: Record, role: Role) -> list[str]:
    one = next((name for name in role.usual if name in record.values), None)
    if one is not None or not role.several:
        return [] if one is None else [one]
    return [name for name in record.values if any(re.fullmatch(rf"{usual}_?\d+", str(name)) for usual in role.usual)]


def _setting(roles: Sequence[Role]) -> str:
    names = [role.name.replace(" ", "_") for role in roles]
    return f"data.text=[{', '.join(names)}] by their names" if len(names) > 1 else "data.text to one of them"
