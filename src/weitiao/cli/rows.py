"""`weitiao show rows`: the rows of a recipe as the model sees them."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from weitiao.cli.output import print_json, stdout, table
from weitiao.core.contracts import Features
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Row
from weitiao.models.tokens import Tokenizer
from weitiao.training.prepare import Encoded, Prepared, encode, prepare

_LEARNT, _SPECIAL = "bold green", "magenta"
_BREAK = "↵\n"
_PICTURES = {n: 0x2400 + n for n in range(32) if chr(n) not in "\t\n"} | {0x7F: 0x2421}
"""Control characters, which a terminal would obey -> signs for them."""
_LOOK_BACK = 32
"""Tokens decoded together, so that blanks between words are those of the whole text."""


def rows(recipe: str, limit: int, as_json: bool) -> int:
    """Print the first training rows of a recipe, what is learnt of them, and what is left out; return the exit code.

    All rows are read and encoded: only then is it known which fit, which label is which number, and where the splits are.
    """
    prepared = prepare(Recipe.load(recipe))
    trimmed, encoded = encode(prepared)
    windows: dict[str, list[Features]] = defaultdict(list)
    for item in encoded.train:
        windows[item.row].append(item)
    shown = prepared.data.splits.train[:limit]
    entries = [entry for row in shown for entry in _entries(row, windows[row.id], prepared)]
    if as_json:
        print_json(entries)
        return 0
    marked = not stdout.is_terminal or stdout.no_color
    hidden = prepared.recipe.task.head.auto_class == "AutoModelForMaskedLM"
    if any(token["trained"] for entry in entries for token in entry["tokens"]):
        sample = "⟦like this⟧" if marked else "like this"
        stdout.print(Text.assemble(("What stands ", "dim"), (sample, _LEARNT), (" may be hidden, and is then learnt.\n" if hidden else " is learnt.\n", "dim")))
    for entry in entries:
        _print_row(entry, prepared.tokenizer.special_ids, marked=marked)
    _print_sums(prepared, trimmed, encoded)
    stdout.print(f"\nthe first {len(shown)} of {len(prepared.data.splits.train):,} rows of train; --limit N shows another number", style="dim")
    _print_left_out(prepared, encoded)
    return 0


# ---------------------------------------------------------------- rows as plain values


def _entries(row: Row, windows: Sequence[Features], prepared: Prepared) -> Iterator[dict[str, Any]]:
    """Yield one entry per window of a row, or one that says why there is none."""
    target = prepared.recipe.task.wanted(row)
    for number, item in enumerate(windows, 1):
        learnt = prepared.recipe.task.trained_tokens(item)
        pieces = zip(item.input_ids, _pieces(item.input_ids, prepared.tokenizer), learnt, strict=True)
        tokens = [{"id": id, "text": text, "trained": trained} for id, text, trained in pieces]
        yield {"id": row.id, "place": row.place, "window": number, "windows": len(windows), "tokens": tokens, "cut": item.cut, "target": target}
    if not windows:
        why = _why_left_out(row, prepared)
        yield {"id": row.id, "place": row.place, "window": 0, "windows": 0, "tokens": [], "cut": 0, "target": target, "left_out": why}


def _pieces(ids: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """Return the text of each token: together they are the text of all. A character of several tokens stands at the last of them."""
    found: list[str] = []
    start, told = 0, ""
    for n in range(len(ids)):
        text = tokenizer.decode(ids[start : n + 1], special=True)
        if text.endswith("\ufffd") and n + 1 < len(ids):  # a character whose bytes are not all there yet
            found.append("")
            continue
        found.append(text[len(told) :])
        if n - start >= _LOOK_BACK:  # decoding from the first token each time would take the square of the length
            start = n
            text = tokenizer.decode(ids[start : n + 1], special=True)
        told = text
    return found


def _why_left_out(row: Row, prepared: Prepared) -> str:
    task = prepared.recipe.task
    whole = sum(map(len, task.revised(max_length=1_000_000).encode([row], prepared.tokenizer)))
    return f"too long ({whole:,} tokens, task.max_length is {task.max_length})" if whole > task.max_length else "too short, nothing to learn"


# ---------------------------------------------------------------- rows as a person reads them


def _print_row(entry: dict[str, Any], special: frozenset[int], *, marked: bool) -> None:
    tokens = entry["tokens"]
    learnt = sum(token["trained"] for token in tokens)
    facts = [
        f"left out: {entry['left_out']}" if "left_out" in entry else f"{len(tokens)} tokens" + (f", {learnt} learnt" if learnt else ""),
        f"window {entry['window']} of {entry['windows']}" if entry["windows"] > 1 else "",
        f"{entry['cut']} more do not fit" if entry["cut"] else "",
        entry["id"],
    ]
    stdout.print(Text.assemble((entry["place"], "bold"), ("  " + "  ".join(filter(None, facts)), "dim")))
    if tokens:
        stdout.print(_coloured(tokens, special, marked=marked))
    if tokens and not learnt and entry["target"] is not None:  # the target is asked for beside the tokens, and is not one of them
        stdout.print(Text.assemble(("target ", "dim"), (json.dumps(entry["target"], ensure_ascii=False), _LEARNT)))
    stdout.print()


def _coloured(tokens: Sequence[dict[str, Any]], special: frozenset[int], *, marked: bool) -> Text:
    """Return tokens as one text: learnt ones in colour or between marks, special ones apart, line breaks as a sign and a break."""
    shown = Text()
    for trained, run in itertools.groupby(tokens, key=lambda token: bool(token["trained"])):
        shown.append("⟦" if trained and marked else "")
        for is_special, part in itertools.groupby(run, key=lambda token: token["id"] in special):
            style = f"bold {_SPECIAL}" if trained and is_special else _LEARNT if trained else _SPECIAL if is_special else ""
            text = "".join(token["text"] for token in part).translate(_PICTURES)
            for line in text.splitlines(keepends=True):
                shown.append(line.removesuffix("\n"), style)
                shown.append(_BREAK if line.endswith("\n") else "", style or "dim")
        shown.append("⟧" if trained and marked else "")
    shown.rstrip()
    return shown


def _print_sums(prepared: Prepared, trimmed: Prepared, encoded: Encoded) -> None:
    """Print how many rows, windows, tokens and learnt tokens each split has."""
    task, data = prepared.recipe.task, trimmed.data
    found = {"train": (data.splits.train, encoded.train), "dev": (data.splits.dev, encoded.dev), f"proof ({data.split})": (data.proof, encoded.proof)}
    sums = table("split", "rows", "windows", "tokens", "learnt", right=("rows", "windows", "tokens", "learnt"))
    for name, (kept, items) in found.items():
        if items:
            learnt = sum(sum(task.trained_tokens(item)) for item in items)
            sums.add_row(name, f"{len(kept):,}", f"{len(items):,}", f"{sum(map(len, items)):,}", f"{learnt:,}" if learnt else "–")
    stdout.print(sums)


def _print_left_out(prepared: Prepared, encoded: Encoded) -> None:
    """Print what does not reach the model, with a reason, and what else there is to know."""
    data = prepared.data
    every = {"train": data.splits.train, "dev": data.splits.dev, "proof": data.proof}
    for name, found in encoded.left_out.items():
        kept = {item.row for item in getattr(encoded, name)}
        first = next(row for row in every[name] if row.id not in kept)
        are = "1 row is" if found["rows"] == 1 else f"{found['rows']:,} rows are"
        stdout.print(f"{name}: {are} left out, such as {first.place}: {_why_left_out(first, prepared)}", markup=False)
    for name, parts in encoded.divided.items():
        are = "1 row is" if parts["rows"] == 1 else f"{parts['rows']:,} rows are"
        stdout.print(f"{name}: {are} longer than one window: {parts['windows']:,} windows in all", markup=False)
    for note in prepared.notes:
        stdout.print(f"note: {note}", markup=False)
