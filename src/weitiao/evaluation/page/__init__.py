"""Draws a report as one HTML file that needs no network, no script and no second file.

Every section is prepared here as plain values and laid out in `page.html.j2`; a section with nothing to say is empty
and vanishes. Colours are CSS variables throughout, the charts' too, so light, dark and paper are one document.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weitiao.core import document
from weitiao.evaluation.page import curves, sections, words
from weitiao.evaluation.page.templates import template


def render(report: Mapping[str, Any]) -> str:
    """Return a report as one HTML page; equal reports give equal bytes.

    report: as read from report.json. Whatever is absent, null, or not of the expected shape is left out of the page;
    texts are data and never markup.
    """
    report = words.mapping(words.printable(report))
    return template(Path(__file__).parent, "page.html.j2").render(
        title=sections.title(report),
        verdict=sections.verdict(report),
        scores=sections.scores(report),
        measured=sections.measured(report),
        curves=curves.curves(report),
        classes=sections.classes(report),
        confusion=sections.confusion(report),
        changes=sections.changes(report),
        data=sections.data(report),
        notes=[words.text_of(note) for note in words.sequence(report.get("notes"))],
        cost=sections.cost(report),
        recipe=words.text_of(report.get("recipe_yaml")) or (document.as_yaml(report["recipe"]) if report.get("recipe") else ""),
        machine=sections.machine(report),
        traces=sections.traces(report),
        next=[words.text_of(command) for command in words.sequence(report.get("next"))],
    )
