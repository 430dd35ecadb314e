"""Characters that nobody typed, and the scripts that texts are written in."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from weitiao.core.rows import Row
from weitiao.inspect.health.finding import Finding, Place, first, rows_that
from weitiao.inspect.health.repeats import PARTED, content

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
UNSEEN = re.compile("[\u200b\u2060\ufeff\u00ad\u202a-\u202e\u2066-\u2069]")
"""Blanks of no width, soft hyphens, marks of direction. The joiners U+200C and U+200D are left: emoji, Persian and Indic scripts need them."""
_KINDS: tuple[tuple[str, re.Pattern[str], str, str], ...] = (
    ("replaced", re.compile("\ufffd"), "characters that an earlier program could not read (U+FFFD)", "Read the source again, in its own encoding."),
    (
        "mojibake",
        re.compile("[ÃÂ][\x80-\xbf]|â€[\x80-\xbf™œž¦]?|[äåæçèé][\x80-\xbf¡-¿]{2}"),
        "UTF-8 that was read as Latin-1",
        "Read the source again, as UTF-8.",
    ),
    ("control", CONTROL, "control characters", "--fix writes a copy without them."),
    ("unseen", UNSEEN, "characters that nobody sees", "--fix writes a copy without them."),
    ("private", re.compile("[\ue000-\uf8ff]"), "characters of somebody's own font", "Replace them by what they stand for."),
    (
        "markup",
        re.compile(r"&(?:amp|lt|gt|quot|nbsp|#\d{2,5}|#x[0-9a-fA-F]{2,4});|<(?:br|p|div|span|b|i)\s*/?>", re.IGNORECASE),
        "HTML",
        "Turn it into plain text.",
    ),
)
"""Name, pattern, what it is, what to do."""
SCRIPTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("Han", re.compile("[一-鿿㐀-䶿]")),
    ("Kana", re.compile("[぀-ヿ]")),
    ("Hangul", re.compile("[가-힯]")),
    ("Cyrillic", re.compile("[Ѐ-ӿ]")),
    ("Greek", re.compile("[Ͱ-Ͽ]")),
    ("Arabic", re.compile("[؀-ۿ]")),
    ("Hebrew", re.compile("[֐-׿]")),
    ("Devanagari", re.compile("[ऀ-ॿ]")),
    ("Thai", re.compile("[฀-๿]")),
    ("Latin", re.compile("[A-Za-zÀ-ɏ]")),
)
FEW = 0.05
"""Share of a split up to which rows of another script are worth naming."""


def odd(split: str, rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield characters that should not stand in texts."""
    found: dict[str, list[Place]] = {name: [] for name, *_ in _KINDS}
    for row in rows:
        text = content(row).replace(PARTED, "\n")
        for name, pattern, *_ in _KINDS:
            if hit := pattern.search(text):
                found[name].append(Place(row, f"{_named(hit.group())} at character {hit.start() + 1}", "plain text"))
    for name, _, what, do in _KINDS:
        if places := found[name]:
            yield Finding(
                f"characters_{name}", "warning", split, len(places), len(rows), f"{rows_that(len(places), split, 'holds', 'hold')} {what}.", do, first(places)
            )


def mended(text: str) -> str:
    """Return a text without control characters and those that nobody sees, its letters composed (NFC)."""
    return unicodedata.normalize("NFC", UNSEEN.sub("", CONTROL.sub(" ", text)))


def scripts(split: str, rows: Sequence[Row]) -> tuple[dict[str, int], list[Finding]]:
    """Return how many rows are mostly of which script, and what to say of the few that are of another than most."""
    counts: Counter[str] = Counter()
    by_script: dict[str, list[Row]] = {}
    for row in rows:
        name = script_of(content(row))
        counts[name] += 1
        held = by_script.setdefault(name, [])
        if len(held) < 5:
            held.append(row)
    most = counts.most_common(1)[0][0] if counts else ""
    rare = [name for name, count in counts.items() if name not in (most, "none") and count <= FEW * len(rows)]
    findings = []
    if rare:
        places = [Place(row, f"mostly {name}", f"{most}, as most rows") for name in rare for row in by_script[name]]
        count = sum(counts[name] for name in rare)
        message = f"{rows_that(count, split, 'is', 'are')} written in another script than most ({', '.join(rare)} beside {most})."
        findings.append(Finding("scripts", "note", split, count, len(rows), message, "Look whether they belong there.", first(places)))
    return dict(counts.most_common()), findings


def script_of(text: str) -> str:
    """Return the script that most letters of a text are of; `none` where there are no letters."""
    counted = {name: len(pattern.findall(text)) for name, pattern in SCRIPTS}
    if counted["Kana"] and counted["Han"]:  # Japanese is written in both
        counted["Kana"] += counted["Han"]
        counted["Han"] = 0
    name, count = max(counted.items(), key=lambda entry: entry[1] * (2 if entry[0] in ("Han", "Kana", "Hangul") else 1))
    return name if count else "none"


def _named(found: str) -> str:
    return " ".join(f"U+{ord(character):04X}" for character in found[:3]) if not found.isascii() or not found.isprintable() else f"'{found}'"
