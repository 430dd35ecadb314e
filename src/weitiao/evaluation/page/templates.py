"""Templates of pages: one file each, with one style sheet for all of them."""

from __future__ import annotations

import functools
from pathlib import Path

import jinja2


@functools.cache
def template(folder: Path, name: str) -> jinja2.Template:
    """Return a template of a folder, which may include the style sheet. Whatever is inserted is text and never markup."""
    here = jinja2.FileSystemLoader([folder, Path(__file__).parent])
    return jinja2.Environment(loader=here, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True).get_template(name)
