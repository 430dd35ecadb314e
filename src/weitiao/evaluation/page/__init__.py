"""Draws a report as one HTML file that needs no network, no script and no second file.

Every section is prepared here as plain values and laid out in `page.html.j2`; a section with nothing to say is empty
and vanishes. Colours are CSS variables throughout, the charts' too, so light, dark and paper are one document.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from weitiao.core import document
from weitiao.evaluation.page import curves, sections, words


def render(report: Mapping[str, Any]) -> str:
    """Return a report as one HTML page; equal reports give equal bytes.

    report: as read from report.json. Whatever is absent, null, or not of the expected shape is left out of the page;
    texts are data and never markup.
    """
    report = words.mapping(words.printable(report))
    return _template().render(
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


@functools.cache
def _template() -> jinja2.Template:
    here = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(loader=here, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True).get_template("page.html.j2")
