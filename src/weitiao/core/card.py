"""The card of an artifact: what it is, how good it is, and how to use it, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weitiao.core.report import before_said, digits_of, number, title
from weitiao.core.snippets import snippet

LIBRARIES = {"model": "transformers", "adapter": "peft", "delta": "weitiao"}
"""Folder that an artifact holds -> the library that opens it."""


def card(report: Mapping[str, Any]) -> str:
    """Return the model card (README.md of an artifact), written from the report."""
    lines = [
        "---",
        f"library_name: {LIBRARIES[report['opens_with']['folder']]}",
        "tags: [weitiao]",
        "---",
        "",
        f"# {report['name']}",
        "",
        f"{report['verdict']['sentence']}",
        "",
        "| metric | before | after | 95 % interval | p-value | n |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in report["metrics"].items():
        before, after = entry["before"], entry["after"]
        beside = [before["value"], *(after[key] for key in ("value", "low", "high"))]
        was, now, low, high = (number(value, digits_of([value], beside=beside, usual=4)) for value in beside)
        lines.append(f"| {title(name)} | {was} | {now} | {low} to {high} | {entry['p_value']:.4g} | {after['n']} |")
    signed = [f"{title(name)} as sacrebleu counts it: `{entry['signature']}`." for name, entry in report["metrics"].items() if entry.get("signature")]
    lines += [
        "",
        *([" ".join(signed), ""] if signed else []),
        f"Before is {before_said(report['before_is'])}. Proof rows: {report['split']} ({report['split_said']})."
        + (" The best weights were chosen on these same rows." if report["selected_on_same_rows"] else ""),
        "",
        f"Made from `{report['model']}` by {report['method']} on {report['rows']['train']} rows; "
        f"{report['parameters']['trainable']:,} of {report['parameters']['total']:,} parameters trained.",
        "",
        "In this folder:",
        "",
        "```python",
        *snippet(report["opens_with"], report["recipe"]["task"]),
        "```",
        "",
        f"The hash of this artifact is `{report['hashes']['artifact']}`; `recipe.yaml` says how it was made.",
        "",
    ]
    return "\n".join(lines)
