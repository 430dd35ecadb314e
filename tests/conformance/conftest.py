"""A prepared recipe on a tiny model of any family, without a run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiny import sentences, write_csv


@pytest.fixture
def prepared(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[..., Any]:
    """Return a function (family, sections...) -> Prepared."""

    def make(family: str, *, task: dict[str, Any] | None = None, data: dict[str, Any] | None = None, rows: int = 60, **sections: Any) -> Any:
        from weitiao.core.recipe import Recipe
        from weitiao.training.prepare import prepare

        file = write_csv(tmp_path / "rows.csv", sentences(rows))
        return prepare(
            Recipe.load(
                {
                    "model": str(tiny(family)),
                    "data": {"name": "csv", "train": str(file), **(data or {})},
                    "task": {"name": "text_classification", "max_length": 32, **(task or {})},
                    **sections,
                }
            )
        )

    return make
