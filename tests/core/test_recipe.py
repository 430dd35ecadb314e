from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weitiao.core.recipe import Recipe
from weitiao.errors import BadValue, Conflict, MissingFile, RecipeError, UnknownComponent, UnknownSetting

GOOD = {"model": "minilm", "data": {"name": "csv", "train": "train.csv"}, "task": "text_classification", "method": {"name": "layers", "last": 1}}


def test_a_wrong_key_names_the_closest_right_one() -> None:
    with pytest.raises(UnknownSetting, match=r"method\.lats: layers has no setting 'lats'. Did you mean 'last'\?"):
        Recipe.load({**GOOD, "method": {"name": "layers", "lats": 2}})


def test_a_wrong_section_names_the_closest_right_one() -> None:
    with pytest.raises(UnknownSetting, match=r"no section 'modle'. Did you mean 'model'\?"):
        Recipe.load({**GOOD, "modle": "x"})


def test_a_wrong_component_names_the_closest_right_one() -> None:
    with pytest.raises(UnknownComponent, match="there is no method 'ful'. Did you mean 'full'"):
        Recipe.load({**GOOD, "method": "ful"})


def test_all_problems_are_named_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "model: minilm\ndata: {name: csv, train: a.csv}\ntask: {name: text_classificaton}\nmethod:\n  name: layers\n  lats: 2\ntrain: {epochs: -1}\n"
    )
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert len(caught.value.problems) == 3
    for expected in ("r.yaml:3: task.name", "r.yaml:6: method.lats", "r.yaml:7: train.epochs: input should be greater than 0, got -1"):
        assert expected in caught.value.message


def test_a_metric_that_the_task_lacks_is_refused() -> None:
    with pytest.raises(BadValue, match="text_classification has no metric 'acuracy'. Did you mean 'accuracy'"):
        Recipe.load({**GOOD, "evaluate": {"best": "acuracy"}})


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(Conflict, match="last and first exclude each other"):
        Recipe.load({**GOOD, "method": {"name": "layers", "last": 1, "first": 1}})


def test_overrides_are_laid_over_the_file_and_keep_its_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: minilm\ndata: {name: csv, train: sub/a.csv, text: t}\ntask: text_classification\nmethod: {name: layers, last: 1}\n")
    recipe = Recipe.load(path, overrides=["train.learning_rate=2e-4", "method.head=false", "data.dev=d.csv", "task.max_length=64"])
    assert recipe.train.learning_rate == 2e-4
    assert recipe.method.settings()["last"] == 1 and recipe.method.settings()["head"] is False
    assert recipe.data.train == str(tmp_path / "sub" / "a.csv"), "paths in the file are relative to the file"
    assert recipe.data.dev == str(Path.cwd() / "d.csv"), "paths typed after key= are relative to the working folder"


def test_changing_the_method_by_override_drops_the_old_ones_settings() -> None:
    assert Recipe.load(GOOD, overrides=["method=full"]).method.settings() == {"name": "full"}


def test_a_recipe_survives_being_written_and_read(tmp_path: Path) -> None:
    recipe = Recipe.load({**GOOD, "regularize": [{"name": "l2", "weight": 0.01}], "evaluate": {"best": False}})
    (tmp_path / "r.yaml").write_text(recipe.as_yaml())
    again = Recipe.load(tmp_path / "r.yaml")
    assert again.settings() == recipe.settings() and again.fingerprint == recipe.fingerprint


def test_equal_recipes_have_equal_fingerprints_and_others_do_not() -> None:
    assert Recipe.load(GOOD).fingerprint == Recipe.load(dict(reversed(GOOD.items()))).fingerprint
    assert Recipe.load(GOOD).fingerprint != Recipe.load(GOOD, overrides=["train.seed=2"]).fingerprint


def test_yaml_words_stay_words_and_exponents_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: minilm\ndata: {name: csv, train: a.csv, label: no, text: yes}\ntask: text_classification\ntrain: {learning_rate: 1e-3}\n")
    recipe = Recipe.load(path)
    assert (recipe.data.label, recipe.data.text, recipe.train.learning_rate) == ("no", "yes", 1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: a\nmodel: b\n", "r.yaml:2: 'model' stands twice"),
        ("model: [a\n", "not valid YAML"),
        ("model: a\n  data: b\n", "r.yaml:2: this is not valid YAML"),
        ("- 1\n", "expected sections"),
        ("", "expected sections"),
        ("model: {a: 1}\ndata: {name: csv}\ntask: text_classification\n", "model.a: model has no setting 'a'"),
        ("model: m\ndata: 3\ntask: text_classification\n", "data: expected a name and settings, got 3"),
        ("model: m\ntask: text_classification\n", "data: missing"),
        ("model: m\ndata: csv\ntask: text_classification\ntrain: {batch_size: many}\n", "train.batch_size: expected whole number or auto, got 'many'"),
        ("model: m\ndata: csv\ntask: text_classification\ntrain: {seed: 1.5}\n", "train.seed: expected whole number, got 1.5"),
        ("model: m\ndata: csv\ntask: text_classification\ntrain: {learning_rate: .nan}\n", "train.learning_rate: expected number or null"),
        ("model: m\ndata: csv\ntask: text_classification\ntrain: {schedule: linaer}\n", "expected one of linear, cosine, constant, got 'linaer'"),
    ],
)
def test_a_bad_recipe_is_explained_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        Recipe.load(tmp_path / "r.yaml")
    assert message in caught.value.message
    assert caught.value.hint


def test_a_missing_recipe_is_named() -> None:
    with pytest.raises(MissingFile, match=r"there is no recipe nowhere\.yaml"):
        Recipe.load("nowhere.yaml")


def test_an_override_without_a_value_is_refused() -> None:
    with pytest.raises(BadValue, match="'train.epochs' is not an override"):
        Recipe.load(GOOD, overrides=["train.epochs"])


def test_every_error_class_has_a_home_in_the_tree() -> None:
    import weitiao.errors as errors

    drawn = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.WeitiaoError):
            assert name in drawn, name


def test_resolving_a_recipe_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\nfrom weitiao.core.recipe import Recipe\n"
        f"Recipe.load({GOOD!r})\n"
        "late = {'torch', 'transformers', 'peft', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)\nassert not late, late\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
