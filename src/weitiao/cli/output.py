"""What every command prints with: one JSON document, or tables for people."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from weitiao.core.report import UNITS

stdout = Console(highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table in the house's plain style."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def named(metric: str) -> str:
    """Return a metric's name as recipes write it, with what it counts where the name does not say so."""
    return f"{metric} [dim]{UNITS[metric]}[/]" if metric in UNITS else metric
