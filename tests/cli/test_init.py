"""`weitiao init`: the recipe it writes loads, is commented, and never replaces anything unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weitiao.cli.init import init
from weitiao.core.recipe import Recipe
from weitiao.errors import BadValue, MissingFile, NotFound
from weitiao.tasks.text_classification import TextClassification

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ROWS = [(f"a fine film, number {n}" if n % 2 else f"a poor film, number {n}", "good" if n % 2 else "poor") for n in range(30)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder `data` with train.csv and dev.csv; the working folder is `work` beside it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in ("train.csv", "dev.csv"):
        (tmp_path / "data" / name).write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS))
    return tmp_path / "data"


def test_the_recipe_loads_and_its_paths_are_relative_to_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(Path("../data/train.csv"), None, None, False, False) == 0
    text = Path("train.yaml").read_text()
    assert "train: ../data/train.csv" in text and "dev: ../data/dev.csv  # lies beside it" in text
    assert "# test: half of dev is held back" in text and "learning_rate" not in text
    recipe = Recipe.load("train.yaml")
    assert recipe.model == "minilm" and recipe.method.name == "full" and recipe.train.epochs == 10 and recipe.train.seed == 1
    assert Path(recipe.data.train or "").resolve() == data / "train.csv" and Path(recipe.data.dev or "").resolve() == data / "dev.csv"
    out = capsys.readouterr().out
    assert "next: weitiao train train.yaml" in out and "data.label" in out and "2 different values" in out


def test_the_recipe_is_short_and_every_guess_has_its_reason(data: Path) -> None:
    init(data / "train.csv", None, None, False, True)
    lines = Path("train.yaml").read_text().splitlines()
    assert sum(bool(line.partition("#")[0].strip()) for line in lines) <= 15
    assert all(len(line) <= 120 for line in lines if line.partition("#")[0].strip())
    assert sum("#" in line for line in lines) >= 8


def test_the_json_is_one_document(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(data / "train.csv", data / "deep" / "my recipe.yaml", None, False, True) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["recipe"] == str(data / "deep" / "my recipe.yaml") and report["next"] == f"weitiao train '{report['recipe']}'" and printed.err == ""
    assert report["task"] == {"name": "text_classification", "problem_type": "single_label_classification", "max_length": 64}
    assert report["data"] == {"name": "csv", "train": "../train.csv", "dev": "../dev.csv", "text": "text", "label": "label"}
    assert {"data.text", "data.label", "data.header", "task.max_length", "model"} <= {g["what"] for g in report["guesses"]}
    assert all(set(g) == {"what", "value", "why"} and g["why"] for g in report["guesses"])
    assert Recipe.load(report["recipe"]).data.train


@pytest.mark.parametrize(
    ("name", "content", "task", "said"),
    [
        ("talk.json", [{"instruction": f"Why {n}?", "output": f"Because of {n}."} for n in range(30)], "chat", "a small English chat model"),
        ("zh.jsonl", [{"instruction": f"为什么{n}？", "output": f"因为它是{n}。"} for n in range(30)], "chat", "gemma3-270m knows more languages"),
        ("book.txt", "It was a dark night, and it rained.\nNobody spoke.\n" * 99, "language_modeling", "a small English decoder"),
        ("zh.txt", "夜色很深，雨下得很大。他站在门口。\n" * 99, "language_modeling", "gemma3-270m knows more languages"),
    ],
)
def test_recipes_for_language_models_load_and_name_a_model_that_can(data: Path, name: str, content: object, task: str, said: str) -> None:
    (data / name).write_text(content if isinstance(content, str) else json.dumps(content))
    init(data / name, Path("r.yaml"), None, False, True)
    text, recipe = Path("r.yaml").read_text(), Recipe.load("r.yaml")
    assert (recipe.model, recipe.task.name, recipe.method.name) == ("smollm2-135m", task, "lora") and said in text
    assert recipe.train.learning_rate is None, "the method's own default applies"
    assert sum(bool(line.partition("#")[0].strip()) for line in text.splitlines()) <= 15


def test_nothing_is_replaced_unless_forced(data: Path) -> None:
    Path("train.yaml").write_text("mine")
    with pytest.raises(BadValue, match=r"train\.yaml is already there") as caught:
        init(data / "train.csv", None, None, False, False)
    assert "--force" in caught.value.hint and Path("train.yaml").read_text() == "mine"
    assert init(data / "train.csv", None, None, True, False) == 0
    assert Recipe.load("train.yaml").data.text == "text"


def test_the_data_file_itself_is_never_replaced(data: Path) -> None:
    before = (data / "train.csv").read_bytes()
    with pytest.raises(BadValue, match="the data file itself"):
        init(data / "train.csv", data / "train.csv", None, True, False)
    assert (data / "train.csv").read_bytes() == before


def test_a_file_that_cannot_be_guessed_leaves_nothing_behind(data: Path) -> None:
    with pytest.raises(MissingFile):
        init(data / "trian.csv", None, None, False, False)
    assert list(Path().iterdir()) == []


def test_out_may_be_a_folder_and_must_be_writable(data: Path, tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    init(data / "train.csv", tmp_path / "recipes", None, False, False)
    assert (tmp_path / "recipes" / "train.yaml").is_file()
    (tmp_path / "a file").touch()
    with pytest.raises(BadValue, match="cannot write"):
        init(data / "train.csv", tmp_path / "a file" / "train.yaml", None, False, False)


def test_the_model_is_written_so_that_the_recipe_finds_it(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    init(data / "train.csv", None, str(folder), True, False)
    assert "model: ../models/tiny" in Path("train.yaml").read_text() and Recipe.load("train.yaml").model == str(folder.resolve())
    for name in ("google-bert/bert-base-chinese", "minilm"):
        init(data / "train.csv", None, name, True, False)
        assert Recipe.load("train.yaml").model == name
    with pytest.raises(NotFound):
        init(data / "train.csv", None, "./nowhere", True, False)
    with pytest.raises(BadValue, match="expected a name"):
        init(data / "train.csv", None, " ", True, False)


def test_the_comment_says_when_the_model_does_not_know_the_language(data: Path) -> None:
    (data / "zh.tsv").write_text("label\ttext_a\n" + "".join(f"{n % 2}\t这家酒店很{'好' if n % 2 else '差'}，第{n}次\n" for n in range(30)), encoding="utf-8")
    init(data / "zh.tsv", None, None, False, False)
    assert "knows English, and most of the text is not" in Path("zh.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "names", [("no: it #1", "yes"), ("文本", "标签"), ("true", "null"), ("a\u2028b", 'it\'s "x"'), ("1e5", "0x1"), ("- x", "[y]"), ("{t", "l,")]
)
def test_odd_column_names_survive_the_yaml(data: Path, names: tuple[str, str]) -> None:
    objects = [dict(zip(names, row, strict=True)) for row in ROWS]
    (data / "odd.json").write_text(json.dumps(objects), encoding="utf-8")
    init(data / "odd.json", None, None, False, True)
    recipe = Recipe.load("odd.yaml")
    assert (recipe.data.text, recipe.data.label) == names


def test_odd_labels_and_file_names_survive_the_comments(data: Path) -> None:
    labels = ("line\nbreak", "tab\t# \x85 end")
    path = data / "odd # name: 'x'.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"some text here {n}", "label": labels[n % 2]}) for n in range(20)))
    init(path, None, None, False, True)
    recipe = Recipe.load(f"{path.stem}.yaml")
    assert Path(recipe.data.train or "").resolve() == path


def test_headerless_and_multi_label_settings_reach_the_recipe(data: Path) -> None:
    combinations = ["x|y", "y", "z|x", "y|z", "x", "z|y|x"]
    (data / "multi.csv").write_text("".join(f"{combinations[n % 6]};text of number {n}, so it is\n" for n in range(48)))
    init(data / "multi.csv", None, None, False, False)
    recipe = Recipe.load("multi.yaml")
    assert isinstance(recipe.task, TextClassification)
    assert recipe.task.problem_type == "multi_label_classification" and recipe.task.label_separator == "|"
    settings = recipe.data.settings()
    assert settings["header"] is False and settings["columns"] == ["label", "text"] and settings["delimiter"] == ";"


@pytest.mark.field
@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (shared/data) is not on this machine")
@pytest.mark.parametrize(
    "name", ["sst2/train.tsv", "ag_news/train.csv", "thucnews_titles/train.txt", "fine_food_reviews/fine_food_reviews_1k.csv", "boolq/train.json"]
)
def test_recipes_for_real_data_read_every_row(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / f"{Path(name).name}.yaml"
    init(DATA / name, out, None, False, True)
    recipe = Recipe.load(out)
    bad: list[str] = []
    for split in ("train", "dev", "test"):
        if recipe.data.given(split):
            rows = [recipe.task.read(record, recipe.data, labelled=True) for record in recipe.data.records(split, bad.append)]
            assert rows and all(row.text and row.target is not None for row in rows)
            if split == "train":
                task = recipe.task.fitted(rows)
            task.check(rows, split)
    assert bad == []
