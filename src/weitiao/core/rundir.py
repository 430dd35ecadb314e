"""The folder of a run: its name, who is in it, and whether it is new, unfinished or finished."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from weitiao.core import files
from weitiao.core.plan import Plan
from weitiao.core.recipe import Recipe
from weitiao.errors import Occupied, ResumeMismatch

ROOT = "runs"


@dataclass(frozen=True)
class RunFolder:
    """Where one run keeps everything."""

    path: Path

    @property
    def artifact(self) -> Path:
        """The sealed result."""
        return self.path / "artifact"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def report_json(self) -> Path:
        """The report for machines."""
        return self.path / "report.json"

    @property
    def log(self) -> Path:
        """One event per line."""
        return self.path / "log.jsonl"

    @property
    def state(self) -> Path:
        """Checkpoints to resume from."""
        return self.path / "state"

    @property
    def predictions(self) -> Path:
        """Predictions on the proof rows, before and after."""
        return self.path / "predictions"

    @property
    def failure(self) -> Path:
        """What went wrong, if the run died."""
        return self.path / "failure.json"

    def status(self) -> Literal["new", "unfinished", "finished"]:
        """Tell how far the run got."""
        if files.is_complete(self.artifact) and self.report_json.is_file() and self.report.is_file():
            return "finished"
        return "unfinished" if (self.path / "plan.json").is_file() else "new"

    def plan(self) -> Plan:
        """Return the plan that was written. Raises ResumeMismatch where it cannot be read."""
        try:
            return Plan.model_validate(files.read_json(self.path / "plan.json"))
        except (OSError, ValueError):
            raise ResumeMismatch(f"{self.path / 'plan.json'} cannot be read by this weitiao.", hint="Start anew with --again.") from None

    def begin(self, recipe: Recipe, plan: Plan, environment: dict[str, Any]) -> None:
        """Write what was asked, where it runs, and, last, what was decided: from then on the run can be resumed."""
        self.path.mkdir(parents=True, exist_ok=True)
        files.write_text(self.path / "recipe.yaml", recipe.as_yaml())
        files.write_json(self.path / "environment.json", environment)
        self.write_plan(plan)

    def write_plan(self, plan: Plan) -> None:
        """Write what was decided; again where memory showed that less fits."""
        files.write_json(self.path / "plan.json", plan.settings())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out of the folder. Raises Occupied where one is in it already."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a") as file:
            try:
                import fcntl
            except ImportError:  # Windows: no advisory locks in the standard library's fcntl; the folder is not guarded
                yield
                return
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Occupied(f"another process is training in {self.path}.", hint="Wait for it, or use --out with another folder.") from None
            yield


def choose(recipe: Recipe, *, stem: str, out: Path | None, again: bool, root: Path) -> RunFolder:
    """Return the folder for a recipe: the one that holds its unfinished or finished run, else a new one.

    Raises Occupied where `out` holds something else.
    """
    if out is not None:
        if again:
            return RunFolder(_unused(out))
        if out.exists() and not out.is_dir():
            raise Occupied(f"--out {out} is a file.", hint="Name a folder.")
        other = _recipe_in(out)
        if other is None and out.is_dir() and any(p.name != ".lock" for p in out.iterdir()):
            raise Occupied(f"{out} holds files that are not a run of weitiao.", hint="Name an empty or new folder.")
        if other is not None and other != recipe.as_yaml():
            raise Occupied(f"{out} holds a run of another recipe.", hint="Name another folder, or use --again for a new one beside it.")
        return RunFolder(out)
    name = f"{_slug(stem)}-{recipe.method.name}-{recipe.fingerprint[:6]}"
    return RunFolder(_unused(root / name) if again else root / name)


def _recipe_in(folder: Path) -> str | None:
    path = folder / "recipe.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _unused(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists() and any(candidate.iterdir()):
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _slug(stem: str) -> str:
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "run"
