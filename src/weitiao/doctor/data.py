"""Everything that can be said of a recipe's rows before a step is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weitiao.core.recipe import Recipe
from weitiao.core.rows import Row
from weitiao.core.version import __version__
from weitiao.doctor import encoded as of_tokens
from weitiao.doctor import suspects
from weitiao.inspect.health import balance, characters, personal, repeats
from weitiao.inspect.health.finding import LEVELS, Finding, rows_that
from weitiao.training.prepare import Encoded, Prepared, encode, prepare


@dataclass(frozen=True)
class Examined:
    """A report, and what a cleaned copy needs to know."""

    report: dict[str, Any]
    findings: tuple[Finding, ...]
    recipe: Recipe

    @property
    def healthy(self) -> bool:
        """Whether nothing was found that makes training or its proof wrong."""
        return all(finding.level != "problem" for finding in self.findings)


def examine(recipe: Recipe, *, name: str, suspects_too: bool = False, tell: Callable[[str], None] = lambda said: None) -> Examined:
    """Return what is to be said of the rows of a recipe. Rows that cannot be read are counted and left out.

    suspects_too: whether labels that are probably wrong are looked for, which takes the model. Raises WeitiaoError where no row can be read.
    """
    lenient = recipe.model_copy(update={"data": recipe.data.revised(bad_rows="skip")})
    tell("reading rows")
    prepared = prepare(lenient)
    splits = _splits(prepared)
    tell("tokenizing")
    trimmed, encoded = encode(prepared)
    tell("comparing texts")
    findings = [*_unread(prepared, known=recipe.data.bad_rows == "skip"), *_of_texts(splits, answers=prepared.recipe.task.generation is not None)]
    facts: dict[str, dict[str, Any]] = {}
    labelled = getattr(prepared.recipe.task, "labels", None) is not None or prepared.recipe.task.name == "token_classification"
    known = balance.counts(splits["train"]) if labelled else {}
    for split, rows in splits.items():
        learns = split == "train"
        counted = balance.counts(rows) if labelled else {}
        written, said = characters.scripts(split, rows, len(rows))
        facts[split] = {"rows": len(rows), "labels": counted, "scripts": written}
        findings += [*balance.balance(split, counted, len(rows), learns=learns, known=known), *said]
        findings += [*characters.odd(split, rows, len(rows)), *personal.personal(split, rows, len(rows))]
    kept = {"train": trimmed.data.splits.train, "dev": trimmed.data.splits.dev, _proof(prepared): trimmed.data.proof}
    for split, features in _features(prepared, encoded).items():
        facts[split]["tokens"], said = of_tokens.lengths(split, features, encoded, prepared.recipe.task.max_length)
        findings += [*said, *of_tokens.templates(split, features, kept[split], trimmed)]
    if suspects_too and suspects.can_judge(trimmed):
        tell("judging labels")
        findings += suspects.suspects("train", trimmed, encoded, trimmed.data.splits.train, lambda done, of: tell(f"judging labels: {done} of {of} rows"))
    ordered = tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level)))
    return Examined(_report(name, prepared, facts, ordered), ordered, recipe)


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


def _proof(prepared: Prepared) -> str:
    """Return what the split is called that proves the result."""
    data = prepared.data
    return "test" if data.split == "test" else "dev" if data.selected_on_same_rows or not data.splits.dev else "proof"


def _splits(prepared: Prepared) -> dict[str, Sequence[Row]]:
    data = prepared.data
    named = {"train": data.splits.train, "dev": data.splits.dev, _proof(prepared): data.proof}
    return {name: rows for name, rows in named.items() if len(rows)}


def _features(prepared: Prepared, encoded: Encoded) -> dict[str, Any]:
    named = {"train": encoded.train, "dev": encoded.dev, _proof(prepared): encoded.proof}
    return {name: features for name, features in named.items() if len(features)}


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
    seen = {name: repeats.Seen(rows, near=True) for name, rows in splits.items()}
    for name, rows in splits.items():
        yield from repeats.empty(name, rows, len(rows))
        yield from repeats.within(name, seen[name], learns=name == "train")
        yield from repeats.conflicts(name, seen[name], answers=answers)
        if name != "train":
            yield from repeats.across("train", seen["train"], name, seen[name])
    if any(one.cut for one in seen.values()):
        what = f"near copies were looked for among the first {repeats.MOST:,} rows of each split only"
        yield Finding("duplicates_near", "note", "train", 0, len(seen["train"]), f"{what[0].upper()}{what[1:]}.")
