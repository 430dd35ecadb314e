"""The sealed folder that passes between verbs: its manifest, its hashes, and opening it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weitiao.core import document, files, fingerprint
from weitiao.core.contracts import Method, Task
from weitiao.core.recipe import Recipe
from weitiao.errors import Damaged, NotAnArtifact, RecipeError, TooNew

FORMAT = 1
MANIFEST = "manifest.json"
_NOT_HASHED = {MANIFEST, files.COMPLETE}
_WORDS_ABOUT_IT = {"report.json", "README.md"}
"""Files that speak of the artifact's hash and so cannot be part of it."""


@dataclass(frozen=True)
class Artifact:
    """An artifact opened for use: where it is, what it says of itself, and the objects to use it with."""

    folder: Path
    manifest: dict[str, Any]
    recipe: Recipe
    task: Task
    method: Method


def seal(folder: Path, *, base: dict[str, Any], recipe: Recipe, parent: str | None, version: str, created: str) -> str:
    """Write `manifest.json` over everything in a folder being written; return the artifact's hash."""
    hashes = {name: fingerprint.of_file(folder / name) for name in _members(folder)}
    digest = content_hash(hashes)
    files.write_json(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "weitiao": version,
            "created": created,
            "base": base,
            "task": recipe.task.name,
            "method": recipe.method.name,
            "parent": parent,
            "hash": digest,
            "files": hashes,
        },
    )
    return digest


def content_hash(hashes: dict[str, str]) -> str:
    """Return the hash of what an artifact does: of all files but the report and the card, which quote it."""
    return fingerprint.of_json({name: value for name, value in hashes.items() if name not in _WORDS_ABOUT_IT})


def hash_so_far(folder: Path) -> str:
    """Return the hash that `seal` will give the folder as it stands."""
    return content_hash({name: fingerprint.of_file(folder / name) for name in _members(folder)})


def open_artifact(folder: str | Path, *, verify: bool = True) -> Artifact:
    """Return an artifact. Raises NotAnArtifact, TooNew, or Damaged naming the file that differs from the manifest."""
    path = Path(folder)
    if not path.is_dir():
        raise NotAnArtifact(f"there is no artifact {path}.", hint="`weitiao train RECIPE` makes one: RUN/artifact.")
    if not (path / MANIFEST).is_file() and files.is_complete(path / "artifact"):
        path = path / "artifact"
    if not (path / MANIFEST).is_file() or not files.is_complete(path):
        hint = "Name a run's folder `artifact`, or the run folder itself."
        if (path / "plan.json").is_file():
            hint = "This is an unfinished run: the same `weitiao train` command goes on with it."
        raise NotAnArtifact(f"{path} is not a complete artifact.", hint=hint)
    try:
        manifest = files.read_json(path / MANIFEST)
        found, expected = manifest["format"], manifest["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise Damaged(f"{path / MANIFEST} cannot be read.", hint="Copy the artifact again from where it was made.") from None
    if not isinstance(found, int) or found > FORMAT:
        raise TooNew(f"{path} has format {found}; this weitiao reads up to {FORMAT}.", hint="Upgrade weitiao.")
    if verify:
        for name, digest in expected.items():
            file = path / name
            if not file.is_file():
                raise Damaged(f"{path}: {name} is missing.", hint="Copy the artifact again from where it was made.")
            if fingerprint.of_file(file) != digest:
                raise Damaged(f"{path}: {name} is not what was sealed (its SHA-256 differs).", hint="Copy the artifact again from where it was made.")
    try:
        asked, _ = document.parse((path / "recipe.yaml").read_text(encoding="utf-8"), where=str(path / "recipe.yaml"))
        recipe = Recipe.load({**asked, "task": files.read_json(path / "task.json")})
    except RecipeError as error:
        raise TooNew(f"{path}: its recipe cannot be read by this weitiao: {error.message}", hint="Use the weitiao that the manifest names.") from None
    return Artifact(path, manifest, recipe, recipe.task, recipe.method)


def _members(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name not in _NOT_HASHED)
