"""Personal data in texts: counted and located, never shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from weitiao.core.rows import Row
from weitiao.inspect.health.finding import Finding, Place, first, rows_that
from weitiao.inspect.health.repeats import content

_DIGITS = re.compile(r"\d")


def _luhn(found: str) -> bool:
    """Tell whether the digits are those of a payment card: 13 to 19, with the sum of ISO/IEC 7812."""
    digits = [int(digit) for digit in _DIGITS.findall(found)]
    if not 13 <= len(digits) <= 19 or digits[0] not in (3, 4, 5, 6) or len(set(digits)) == 1:
        return False
    doubled = [digit if n % 2 == 0 else sum(divmod(2 * digit, 10)) for n, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _resident(found: str) -> bool:
    """Tell whether the last character is the check of a Chinese resident identity number (GB 11643-1999)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    rest = sum(int(digit) * weight for digit, weight in zip(found[:17], weights, strict=True)) % 11
    month, day = int(found[10:12]), int(found[12:14])
    return found[17].upper() == "10X98765432"[rest] and 1 <= month <= 12 and 1 <= day <= 31


def _iban(found: str) -> bool:
    """Tell whether the checksum is that of an IBAN (ISO 13616)."""
    plain = found.replace(" ", "").upper()
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _phone(found: str) -> bool:
    return 9 <= len(_DIGITS.findall(found)) <= 15


KINDS: tuple[tuple[str, str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", "an e-mail address", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})*\.[A-Za-z]{2,24}\b", re.ASCII), lambda found: True),
    (
        "phone",
        "a telephone number",
        re.compile(r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d[\d .-]{6,14}\d|\(\d{3}\) ?\d{3}[ .-]\d{4}|1[3-9]\d{9})(?![\w-])", re.ASCII),
        _phone,
    ),
    ("card", "the number of a payment card", re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])", re.ASCII), _luhn),
    ("id", "an identity number", re.compile(r"(?<!\w)[1-9]\d{5}(?:19|20)\d{2}\d{7}[\dXx](?!\w)", re.ASCII), _resident),
    ("iban", "the number of a bank account", re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)", re.ASCII), _iban),
)
"""Name, what it is, how it is written, and how what is written so is checked."""


def kinds_in(text: str) -> list[tuple[str, int]]:
    """Return what kinds of personal data a text holds, each with the character at which the first begins, counted from 1."""
    found = []
    for name, _, pattern, holds in KINDS:
        if hit := next((hit for hit in pattern.finditer(text) if holds(hit.group())), None):
            found.append((name, hit.start() + 1))
    return found


def personal(split: str, rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield personal data, by kind."""
    places: dict[str, list[Place]] = {name: [] for name, *_ in KINDS}
    said = {name: what for name, what, *_ in KINDS}
    for row in rows:
        for name, at in kinds_in(f"{content(row)}\n{row.target if isinstance(row.target, str) else ''}"):
            places[name].append(Place(row, f"{said[name]} at character {at}", "none, or a stand-in"))
    for name, held in places.items():
        if held:
            message = f"{rows_that(len(held), split, 'holds', 'hold')} what looks like {said[name]}."
            do = "Replace it by a stand-in, unless the people agreed: a tuned model may say it again."
            yield Finding(f"personal_{name}", "warning", split, len(held), len(rows), message, do, first(held))
