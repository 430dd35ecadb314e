"""Where the base model is that an artifact adds to."""

from __future__ import annotations

import contextlib
from pathlib import Path

from weitiao.core import document
from weitiao.errors import NotFound
from weitiao.models.locate import Located, locate


def of_artifact(artifact: Path, named: str) -> Located:
    """Return where the base model is: where the artifact says that it was, else as its recipe names it. Raises NotFound."""
    if Path(named).is_dir():
        return Located(named, named, True, named)
    recipe = artifact / "recipe.yaml"
    asked = document.parse(recipe.read_text(encoding="utf-8"), where=str(recipe))[0].get("model") if recipe.is_file() else None
    if isinstance(asked, str):
        from weitiao.models.convert import ready

        with contextlib.suppress(NotFound):
            return ready(locate(asked))
    if Path(named).is_absolute():
        raise NotFound(f"the base model of {artifact} is not at {named}.", hint="Put the base model back there: what was added to it is of no use without it.")
    return locate(named)
