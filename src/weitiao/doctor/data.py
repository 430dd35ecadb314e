"""Everything that can be said of a recipe's rows before a step is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, TypeVar

from weitiao.core import spool
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Row, is_copy
from weitiao.core.version import __version__
from weitiao.doctor import suspects, tokens
from weitiao.inspect.health import balance, characters, personal, repeats
from weitiao.inspect.health.finding import LEVELS, Finding, rows_that
from weitiao.training.prepare import Prepared, encode, prepare

T = TypeVar("T", bound=Sized)


@dataclass(frozen=True)
class Examined:
    """A report, and what a cleaned copy needs to know."""

    report: dict[str, Any]
    findings: tuple[Finding, ...]


def examine(recipe: Recipe, *, name: str, suspects_too: bool = False, tell: Callable[[str], None] = lambda said: None) -> Examined:
    """Return what is to be said of the rows of a recipe. Rows that cannot be read are counted and left out.

    suspects_too: whether labels that are probably wrong are looked for, which takes the model. Raises WeitiaoError where no row can be read.
    """
    lenient = recipe.model_copy(update={"data": recipe.data.revised(bad_rows="skip")})
    tell("reading rows")
    prepared = prepare(lenient)
    splits = {name: _once(rows) for name, rows in _by_split(prepared, prepared.data.splits.train, prepared.data.splits.dev, prepared.data.proof).items()}
    tell("tokenizing")
    trimmed, encoded = encode(prepared)
    tell("comparing texts")
    findings = [*_unread(prepared, known=recipe.data.bad_rows == "skip"), *_of_texts(splits, answers=prepared.recipe.task.generation is not None)]
    facts: dict[str, dict[str, Any]] = {}
    labelled = getattr(prepared.recipe.task, "labels", None) is not None or prepared.recipe.task.name == "token_classification"
    known = balance.counts(splits["train"]) if labelled else {}
    for split, rows in splits.items():
        counted = balance.counts(rows) if labelled else {}
        written, said = characters.scripts(split, rows)
        facts[split] = {"rows": len(rows), "labels": counted, "scripts": written}
        findings += [*balance.balance(split, counted, learns=split == "train", known=known), *said]
        findings += [*characters.odd(split, rows), *personal.personal(split, rows)]
    read = _by_split(prepared, trimmed.data.splits.train, trimmed.data.splits.dev, trimmed.data.proof)
    left_out = _by_split(prepared, *(encoded.left_out.get(name, {}) for name in ("train", "dev", "proof")))
    for split, features in _by_split(prepared, encoded.train, encoded.dev, encoded.proof).items():
        facts[split]["tokens"], said = tokens.lengths(split, features, left_out.get(split), prepared.recipe.task.max_length)
        findings += [*said, *tokens.templates(split, features, read[split], trimmed)]
    if suspects_too and suspects.can_judge(trimmed):
        tell("judging labels")
        findings += suspects.suspects("train", trimmed, encoded, trimmed.data.splits.train, lambda done, of: tell(f"judging labels: {done} of {of} rows"))
    ordered = tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level)))
    return Examined(_report(name, prepared, facts, ordered), ordered)


def _report(name: str, prepared: Prepared, facts: Mapping[str, Any], findings: Sequence[Finding]) -> dict[str, Any]:
    counts = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    return {
        "format": 1,
        "weitiao": __version__,
        "name": name,
        "task": prepared.recipe.task.name,
        "model": prepared.recipe.model_name,
        "healthy": not counts["problem"],
        "counts": counts,
        "said": prepared.data.splits.said,
        "splits": dict(facts),
        "findings": [finding.as_dict() for finding in findings],
        "notes": list(prepared.notes),
    }


def _by_split(prepared: Prepared, train: T, dev: T, proof: T) -> dict[str, T]:
    """Return what there is of train, of dev and of the rows that prove the result: `test`, or `dev`, or `proof` where they are held back from dev."""
    data = prepared.data
    name = "test" if data.split == "test" else "dev" if data.selected_on_same_rows or not data.splits.dev else "proof"
    return {split: held for split, held in {"train": train, "dev": dev, name: proof}.items() if len(held)}


def _once(rows: Sequence[Row]) -> Sequence[Row]:
    """Return rows without the copies of them that a mixture draws by weight: nobody has written these twice."""
    return rows if not any(is_copy(row.id) for row in rows) else spool.gathered(row for row in rows if not is_copy(row.id))


def _unread(prepared: Prepared, *, known: bool) -> Iterator[Finding]:
    """Yield rows that cannot be read. known: whether the recipe says that they are to be left out."""
    for split, skipped in prepared.data.splits.skipped.items():
        if skipped.count:
            message = f"{rows_that(skipped.count, split, 'cannot', 'cannot')} be read: {'; '.join(skipped.reasons)}."
            yield Finding(
                "unreadable",
                "warning" if known else "problem",
                split,
                skipped.count,
                skipped.count,
                message,
                "Mend them, or set data.bad_rows=skip to leave them out.",
            )


def _of_texts(splits: Mapping[str, Sequence[Row]], *, answers: bool) -> Iterator[Finding]:
    seen = {name: repeats.Seen(rows) for name, rows in splits.items()}
    for name, rows in splits.items():
        yield from repeats.empty(name, rows)
        yield from repeats.within(name, seen[name], learns=name == "train")
        yield from repeats.conflicts(name, seen[name], answers=answers)
        if name != "train":
            yield from repeats.across("train", seen["train"], name, seen[name])
    if any(one.cut for one in seen.values()):
        what = f"near copies were looked for among the first {repeats.MOST:,} rows of each split only"
        yield Finding("duplicates_near", "note", "train", 0, len(seen["train"]), f"{what[0].upper()}{what[1:]}.")
