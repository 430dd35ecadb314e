"""The verbs as Python functions: the same names and the same results as on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weitiao.core import rundir
from weitiao.core.durations import seconds_of
from weitiao.core.events import Recorder
from weitiao.core.recipe import Recipe
from weitiao.errors import BadValue, Conflict


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
    *,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    out: str | Path | None = None,
    again: bool = False,
    runs: str | Path = rundir.ROOT,
    progress: bool = False,
    recorders: Iterable[Recorder] = (),
    **sections: Any,
) -> dict[str, Any]:
    """Train a recipe and return its report: what `weitiao train --json` prints.

    recipe: a YAML file, a mapping or a Recipe; or give its sections as keywords: `train(model="minilm",
    data={...}, task={...}, method="full", train={...})`. Sections given beside a recipe are laid over it.
    overrides: `["train.epochs=1"]` or `{"train.epochs": 1}`. out, again, runs: where the run is kept. progress: show
    a bar on stderr. Raises WeitiaoError.

    >>> report = train(model="minilm", data={"name": "csv", "train": "reviews.csv"}, task="text_classification")  # doctest: +SKIP
    >>> report["metrics"]["accuracy"]["after"]["value"]  # doctest: +SKIP
    0.91
    """
    from weitiao.training import run

    asked = resolve(recipe, overrides, sections)
    stem = Path(recipe).stem if isinstance(recipe, str | Path) else asked.task.name
    listeners: list[Any] = list(recorders)
    console = None
    if progress:
        from weitiao.record.console import Console

        console = Console()
        listeners.append(console)
    try:
        return run.run(asked, stem=stem, out=Path(out) if out is not None else None, again=again, root=Path(runs), recorders=listeners)
    finally:
        if console is not None:
            console.close()


def plan(
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None, *, overrides: Sequence[str] | Mapping[str, Any] = (), **sections: Any
) -> dict[str, Any]:
    """Return what `train` would do with a recipe here, without loading weights or writing anything."""
    from weitiao.training import run

    return run.plan(resolve(recipe, overrides, sections)).settings()


def evaluate(
    artifact: str | Path, file: str | Path | None = None, *, device: str = "auto", overrides: Sequence[str] | Mapping[str, Any] = ()
) -> dict[str, Any]:
    """Score an artifact and return scores with intervals: on a file, or on the proof rows it was made with.

    The file is read as the recipe reads its data (columns, header, label); .csv, .tsv, .json and .jsonl are told
    apart by their ending. A recipe (.yaml) in place of an artifact measures its model as it is, with overrides laid over
    the recipe. Raises WeitiaoError.
    """
    if is_recipe(artifact):
        from weitiao.training.untuned import measure

        if file is not None:
            raise Conflict(f"evaluate: {artifact} is a recipe, and names its rows itself.", hint="Set data.test to the file.")
        asked = Recipe.load(artifact, overrides=overrides)
        return measure(asked if device == "auto" else Recipe.load(asked, overrides={"train.device": device}))
    if overrides:
        raise Conflict(f"evaluate: settings cannot be laid over {artifact}, which is sealed.", hint="Name a recipe, or leave the settings out.")
    from weitiao.evaluation import evaluate as verb

    return verb.evaluate(artifact, file, device=device)


def compare_methods(
    recipe: str | Path,
    *,
    methods: str | Sequence[str] = "all",
    budget: str | float = "30m",
    seeds: int = 3,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a recipe with several methods under one budget of time and return what each is worth: what `weitiao compare methods --json` prints.

    recipe: a YAML file. methods: `all`, or names. budget: seconds, or a text such as 30m. seeds: of each of the best three, as far as
    there is time. Raises WeitiaoError.
    """
    from weitiao.comparison import bakeoff

    names = () if methods == "all" else tuple([methods] if isinstance(methods, str) else methods)
    asked = bakeoff.Asked(Path(recipe), tuple(overrides), names, seconds_of(budget, key="budget"), seeds)
    return bakeoff.compare(asked, out=None if out is None else Path(out))


def examine_data(
    recipe: str | Path | Mapping[str, Any] | Recipe, *, overrides: Sequence[str] = (), suspects: bool = False, fix: str | Path | None = None
) -> dict[str, Any]:
    """Return what is wrong with the rows of a recipe: what `weitiao doctor data --json` prints.

    suspects: whether labels that are probably wrong are looked for, which takes the model. fix: a new folder for a cleaned copy.
    Raises WeitiaoError.
    """
    from weitiao.doctor import mend
    from weitiao.doctor.data import examine

    asked = Recipe.load(recipe, overrides=overrides)
    name = Path(recipe).stem if isinstance(recipe, str | Path) else "data"
    found = examine(asked, name=name, suspects_too=suspects)
    return found.report if fix is None else {**found.report, "copy": mend.write(asked, found.findings, Path(fix))}


def is_recipe(path: str | Path) -> bool:
    """Tell whether a path is that of a recipe, where an artifact may stand too."""
    return Path(path).suffix.lower() in (".yaml", ".yml") and not Path(path).is_dir()


def predict(artifact: str | Path, items: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]], *, device: str = "auto") -> list[dict[str, Any]]:
    """Return one mapping per text or row: id, prediction, and scores and measures where there are any; as `weitiao predict` prints.

    For many calls keep `weitiao.load(artifact)`.
    """
    from weitiao.evaluation.predictor import load

    return [prediction.as_dict() for prediction in load(artifact, device=device).predict(items)]


def resolve(recipe: str | Path | Mapping[str, Any] | Recipe | None, overrides: Sequence[str] | Mapping[str, Any], sections: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a file, mapping or keywords. Raises RecipeError."""
    if recipe is None:
        if not sections:
            raise BadValue("train: neither a recipe nor sections were given.", hint="Pass a YAML file, or model=..., data=..., task=...")
        return Recipe.load(sections, overrides=overrides)
    if sections:
        asked = Recipe.load(recipe, overrides=_dotted(sections))
        return Recipe.load(asked, overrides=overrides) if overrides else asked
    return Recipe.load(recipe, overrides=overrides)


def _dotted(sections: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section, value in sections.items():
        if isinstance(value, Mapping):
            found |= {f"{section}.{key}": inner for key, inner in value.items()}
        else:
            found[section] = value
    return found
