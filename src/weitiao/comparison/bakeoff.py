"""Methods tried on the same rows, for the same steps, under one budget of time; the finalists with several seeds.

Every run is a run of `weitiao train` in a process of its own, so that its peak of memory is its own, and a comparison that
was cut off goes on where it was. Methods are ranked on dev; the proof rows are looked at once, for the numbers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from weitiao.comparison import naming, verdict
from weitiao.comparison.page import render
from weitiao.core import files, fingerprint, registry
from weitiao.core.plan import Plan
from weitiao.core.recipe import Recipe
from weitiao.errors import BadValue, Conflict, Interrupted, WeitiaoError
from weitiao.training import run

FIRST = 0.6
"""Share of the budget for the first seed of every method; the rest is for the finalists."""
FINALISTS = 3
FEWEST_STEPS = 10
"""Fewer optimizer steps than this show nothing."""
EVALUATIONS = 4
"""How often dev is scored in a run."""


@dataclass(frozen=True)
class Asked:
    """A comparison as it was asked for."""

    recipe: Path
    overrides: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Methods; none: all that need no settings of their own, and the recipe's."""
    budget: float = 1800.0
    """Seconds for all runs together, about."""
    seeds: int = 3
    """Seeds of a finalist, the first included."""


@dataclass(frozen=True)
class Told:
    """A run that ended, or could not be."""

    done: int
    of: int
    method: str
    seed: int
    score: float | None
    """On dev; None where it failed."""
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Candidate:
    """A method that can be trained here, and what sizes promise of it."""

    name: str
    plan: Plan

    @property
    def fixed(self) -> float:
        """Seconds besides steps: reading, loading, measuring before and after."""
        return float(sum(seconds for phase, seconds in self.plan.forecast["seconds"].items() if phase != "steps"))

    @property
    def per_step(self) -> float:
        """Seconds of a step."""
        return float(self.plan.forecast["seconds_per_step"])


def compare(asked: Asked, *, out: Path | None = None, tell: Callable[[Told], None] = lambda told: None) -> dict[str, Any]:
    """Return the comparison: what every method scored and cost, the pick and why. `comparison.json` and `comparison.html` hold it.

    Raises Conflict where the budget is too short for the methods, BadValue for an unknown one, Interrupted after Ctrl-C: the same
    call goes on from there. A method that cannot be trained is listed with its reason.
    """
    recipe = Recipe.load(asked.recipe, overrides=list(asked.overrides))
    names = _names(asked, recipe)
    kept = {"recipe": recipe.settings(), "names": names, "budget": asked.budget, "seeds": asked.seeds}
    digest = fingerprint.of_json(kept)
    folder = out or Path("comparisons") / f"{asked.recipe.stem}-methods-{digest[:6]}"
    found = _begun(folder, digest) or _planned(asked, recipe, names, folder, digest)
    if found.get("finished"):
        return {**found, "already_finished": True}
    runs = _Runs(asked, recipe, folder, found, tell)
    runs.first()
    runs.finals()
    if not found["runs"]:
        reasons = "; ".join(f"{failure['name']}: {failure['reason']}" for failure in found["failures"])
        raise Conflict(f"compare: no method could be trained. {reasons}", hint="Name others with --methods, or give more --budget.")
    found |= {**verdict.of(found, recipe), "finished": True}
    files.write_text(folder / "comparison.html", render(found))
    files.write_json(folder / "comparison.json", found)
    return found


def _names(asked: Asked, recipe: Recipe) -> list[str]:
    known = registry.names("method")
    if unknown := [name for names in asked.names for name in naming.parts(names) if name not in known]:
        raise BadValue(f"--methods: there is no method '{unknown[0]}'.{registry.did_you_mean(unknown[0], known)}", hint=f"Known: all, {', '.join(known)}.")
    return list(dict.fromkeys(asked.names)) or [name for name in known if name == recipe.method.name or _needs_nothing(name)]


def _needs_nothing(name: str) -> bool:
    """Tell whether a method can be used with nothing but its name."""
    try:
        registry.find("method", name)()
    except ValidationError:
        return False
    return True


def _begun(folder: Path, digest: str) -> dict[str, Any] | None:
    path = folder / "comparison.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = files.read_json(path)
    if found.get("asked") != digest:
        raise Conflict(f"{folder} holds a comparison of something else.", hint="Name another folder with --out.")
    return found


def _settings(recipe: Recipe, name: str, *, steps: int | None = None, every: int | None = None, seed: int | None = None) -> list[str]:
    """Return what is laid over the recipe for a run of a method; its own learning rate where the recipe's was meant for another."""
    laid = [naming.override(name)]
    if name != recipe.method.name:
        laid.append("train.learning_rate=null")
    if steps is not None:
        laid += [f"train.steps={steps}", f"evaluate.every={every}", f"train.seed={seed}"]
    return laid


def _planned(asked: Asked, recipe: Recipe, names: Sequence[str], folder: Path, digest: str) -> dict[str, Any]:
    """Return the beginning of a comparison: who takes part, and for how many steps."""
    candidates, failures = [], []
    for name in names:
        try:
            made = run.plan(Recipe.load(asked.recipe, overrides=[*asked.overrides, *_settings(recipe, name)]))
            candidates.append(Candidate(name, made))
        except WeitiaoError as error:
            failures.append({"name": name, "reason": error.message})
    if not candidates:
        raise Conflict(f"compare: no method can be trained. {failures[0]['name']}: {failures[0]['reason']}", hint="Name others with --methods.")
    full = candidates[0].plan.steps
    steps = _steps(candidates, full, asked.budget)
    found = {
        "format": 1,
        "asked": digest,
        "folder": str(folder.resolve()),
        "page": str((folder / "comparison.html").resolve()),
        "name": asked.recipe.stem,
        "model": recipe.model_name,
        "task": recipe.task.name,
        "budget_seconds": asked.budget,
        "steps": steps,
        "steps_of_recipe": full,
        "rows": candidates[0].plan.rows,
        "split": candidates[0].plan.split,
        "order": [candidate.name for candidate in sorted(candidates, key=lambda one: one.fixed + steps * one.per_step)],
        "forecast_seconds": {candidate.name: round(candidate.fixed + steps * candidate.per_step, 1) for candidate in candidates},
        "runs": [],
        "failures": failures,
        "finished": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "comparison.json", found)
    return found


def _steps(candidates: Sequence[Candidate], full: int, budget: float) -> int:
    """Return the steps that all methods can take within the first share of the budget, at most those of the recipe."""
    fixed, each = sum(one.fixed for one in candidates), sum(one.per_step for one in candidates)
    fewest = min(FEWEST_STEPS, full)
    steps = min(full, int((FIRST * budget - fixed) / max(each, 1e-9)))
    if steps < fewest:
        needed = (fixed + fewest * each) / FIRST / 60
        raise Conflict(
            f"compare: {budget / 60:.0f} minutes are too short for {len(candidates)} methods: about {needed:.0f} would let each take {fewest} steps.",
            hint=f"Set --budget {needed + 1:.0f}m, or name fewer with --methods.",
        )
    return steps


class _Runs:
    """The runs of a comparison, one after the other."""

    def __init__(self, asked: Asked, recipe: Recipe, folder: Path, found: dict[str, Any], tell: Callable[[Told], None]) -> None:
        self.asked, self.recipe, self.folder, self.found, self.tell = asked, recipe, folder, found, tell

    def first(self) -> None:
        """Train every method once, the quickest first."""
        self._train([(name, 0) for name in self.found["order"]])

    def finals(self) -> None:
        """Train the best of them again with other seeds, as long as there is time."""
        best = verdict.ranked(self.found)[:FINALISTS]
        self._train([(name, seed) for seed in range(1, self.asked.seeds) for name in best])

    def _train(self, planned: Sequence[tuple[str, int]]) -> None:
        of = len(self.found["runs"]) + len([pair for pair in planned if not self._has(*pair)])
        for name, number in planned:
            if self._has(name, number) or name in self._failed():
                continue
            left = self.asked.budget - sum(one["seconds"] for one in self.found["runs"])
            if self.found["runs"] and left < self._expected(name):
                if number == 0:
                    self._fail(name, f"the budget was used up: it would take about {self._expected(name):.0f} seconds, and {max(left, 0):.0f} were left")
                continue
            self._one(name, number, of)

    def _has(self, name: str, number: int) -> bool:
        return any(one["name"] == name and one["number"] == number for one in self.found["runs"])

    def _failed(self) -> set[str]:
        return {failure["name"] for failure in self.found["failures"]}

    def _fail(self, name: str, reason: str) -> None:
        self.found["failures"].append({"name": name, "reason": reason})
        files.write_json(self.folder / "comparison.json", self.found)

    def _expected(self, name: str) -> float:
        """Return the seconds that a run will take: as the last of its method did, else as forecast, as far as forecasts held so far."""
        if own := [one["seconds"] for one in self.found["runs"] if one["name"] == name]:
            return float(own[-1])
        promised = self.found["forecast_seconds"]
        paces = [one["seconds"] / max(promised[one["name"]], 1e-9) for one in self.found["runs"]]
        return float(promised[name] * (fmean(paces) if paces else 1.0))

    def _one(self, name: str, number: int, of: int) -> None:
        steps = self.found["steps"]
        seed = self.recipe.train.seed + number
        laid = _settings(self.recipe, name, steps=steps, every=max(1, steps // EVALUATIONS), seed=seed)
        place = self.folder / "runs" / f"{name}-{seed}"
        command = [sys.executable, "-m", "weitiao", "train", str(self.asked.recipe), *self.asked.overrides, *laid, "--out", str(place), "--json"]
        began = time.monotonic()
        done = _run(command, ended=len(self.found["runs"]))
        if done.returncode:
            reason = _reason(done.stderr)
            self._fail(name, reason)
            self.tell(Told(len(self.found["runs"]), of, name, seed, None, time.monotonic() - began, reason))
            return
        one = _kept(name, number, seed, json.loads(done.stdout))
        self.found["runs"].append(one)
        files.write_json(self.folder / "comparison.json", self.found)
        self.tell(Told(len(self.found["runs"]), of, name, seed, one["dev"], one["seconds"]))


def _run(command: Sequence[str], *, ended: int) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. After Ctrl-C, which it hears too, wait until it has saved; raises Interrupted."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8") as child:
        try:
            out, err = child.communicate()
        except KeyboardInterrupt:
            child.communicate()
            raise Interrupted(f"stopped; {ended} runs are done, and this one is saved.", hint="The same command goes on from there.") from None
    if child.returncode == Interrupted.exit_code and "stopped" in err:
        raise Interrupted(f"stopped; {ended} runs are done, and this one is saved.", hint="The same command goes on from there.")
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def _reason(said: str) -> str:
    """Return what went wrong from what a run said on stderr."""
    errors = [line.removeprefix("error: ") for line in said.splitlines() if line.startswith("error: ")]
    return errors[-1] if errors else (said.strip().splitlines() or ["it ended without a word: the system may have ended it for its memory"])[-1]


def _kept(name: str, number: int, seed: int, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a comparison keeps of a report."""
    main = report["main_metric"]
    entry, curve = report["metrics"][main], report["curves"]["dev_metric"]["points"]
    better = min if entry["higher_is_better"] is False else max
    artifact = Path(report["artifact"])
    return {
        "name": name,
        "number": number,
        "seed": seed,
        "metric": main,
        "higher_is_better": entry["higher_is_better"] is not False,
        "dev": better(score for _, score in curve) if curve else entry["after"]["value"],
        "dev_is_proof": not curve,
        "proof": {key: entry["after"][key] for key in ("value", "low", "high", "n")},
        "before": entry["before"]["value"],
        "before_is": report["before_is"],
        "learning_rate": report["plan"]["learning_rate"],
        "trainable": report["parameters"]["trainable"],
        "parameters": report["parameters"]["total"],
        "peak_memory_gb": report["peak_memory_gb"],
        "train_seconds": report["train_seconds"],
        "seconds": report["total_seconds"],
        "artifact_bytes": sum(_sizes(artifact / report["opens_with"]["folder"])),
        "artifact": report["artifact"],
        "run": report["run"],
    }


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.stat().st_size
