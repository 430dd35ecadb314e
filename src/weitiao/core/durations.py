"""Times as people write them."""

from __future__ import annotations

import re

from weitiao.errors import BadValue

_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text: str | float, *, key: str) -> float:
    """Return the seconds of a time such as 90s, 30m, 2h or 1800. key: what the time is of. Raises BadValue."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(text).strip())
    if found is None or float(found[1]) <= 0:
        raise BadValue(f"{key}: expected a time such as 90s, 30m or 2h, got '{text}'.", hint=f"{key} 30m is half an hour.")
    return float(found[1]) * _UNITS[found[2] or "s"]
