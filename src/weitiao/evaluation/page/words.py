"""Values as words: what a report holds, as a person reads it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from weitiao.core import report

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_NAMES = {
    **report.TITLES,
    "cpu": "Processor",
    "gpu": "GPU",
    "memory_gb": "Memory",
    "dtype": "Number format",
    "gpus": "GPU",
    "python": "Python",
    "torch": "PyTorch",
    **{f"memory_{which}_gb": f"Memory, {which}" for which in ("total", "available")},
    "disk_free_gb": "Disk, free",
}


def printable(value: Any) -> Any:
    """Return the report with characters that HTML or UTF-8 cannot carry replaced."""
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {text_of(printable(key)): printable(item) for key, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list | tuple) else value


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping, empty where there is none."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """Return a list, empty where there is none."""
    return value if isinstance(value, list | tuple) else []


def number_of(value: Any) -> float | None:
    """Return a finite number, or None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def text_of(value: Any) -> str:
    """Return a text, empty for None."""
    return "" if value is None else str(value)


def titled(key: str) -> str:
    """Return a key as a heading."""
    return _NAMES.get(key) or key.replace("_", " ")[:1].upper() + key.replace("_", " ")[1:]


def count_of(value: Any) -> str:
    """Return a whole number with thousands apart."""
    number = number_of(value)
    return "" if number is None else f"{number:,.0f}"


def gigabytes(value: float | None) -> str:
    """Return gigabytes with one decimal."""
    return "" if value is None else f"{value:.1f} GB"


def rate_of(count: float | None, per_second: float | None, unit: str) -> str:
    """Return how many, and how many a second."""
    parts = [count_of(count), "" if per_second is None else f"{per_second:,.{0 if per_second >= 10 else 1}f} {unit} a second"]
    return ", ".join(filter(None, parts))


def decimal(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Return a number with that many decimals and a true minus sign."""
    return "–" if value is None else report.number(value, digits, signed=signed).replace("-", "−")


def tick_label(value: float) -> str:
    """Return a number as an axis shows it."""
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", "−")
    return f"{value:.6g}".replace("-", "−")


def p_value(value: Any) -> str:
    """Return a p-value, small ones as < 0.001."""
    number = number_of(value)
    return "" if number is None else "< 0.001" if number < 0.001 else f"{number:.3f}"


def duration(seconds: float | None) -> str:
    """Return seconds as seconds, minutes or hours."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def moment_of(value: Any) -> str:
    """Return a time stamp as date and time in UTC."""
    try:
        moment = datetime.fromisoformat(text_of(value))
    except ValueError:
        return text_of(value)
    return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime("%Y-%m-%d %H:%M UTC")
