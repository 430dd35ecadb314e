"""Token ids are kept: found again where nothing changed, made again where anything did, and never in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_language
from tiny import sentences, write_csv
from weitiao.core import entries, environment, files
from weitiao.core.contracts import Features
from weitiao.core.events import Counted
from weitiao.core.recipe import Recipe
from weitiao.models import locate
from weitiao.models.tokens import Tokenizer
from weitiao.tasks.text_classification import TextClassification
from weitiao.training import feature_cache, prepare
from weitiao.training.features import Builder

COLUMNS = "features.bin"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that holds, for every call of the tokenizer for rows, how many texts it was given."""
    made: list[int] = []
    plain, batch, spans = Tokenizer.plain, Tokenizer.encode, Tokenizer.spans

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Tokenizer, texts: Any, *others: Any) -> Any:
            made.append(len(texts) if isinstance(texts, list) else 1)
            return real(self, texts, *others)

        return call

    for name, real in (("plain", plain), ("encode", batch), ("spans", spans)):
        monkeypatch.setattr(Tokenizer, name, counted(real))
    return made


@pytest.fixture
def recipe(tiny_bert: Path, tmp_path: Path) -> dict[str, Any]:
    model = shutil.copytree(tiny_bert, tmp_path / "model")
    write_csv(tmp_path / "rows.csv", sentences(120))
    data = {"name": "csv", "train": str(tmp_path / "rows.csv"), "train_rows": 60}
    return {"model": str(model), "data": data, "task": {"name": "text_classification", "max_length": 16}, "method": "full"}


def encoded(recipe: dict[str, Any]) -> dict[str, list[Features]]:
    _, found = prepare.encode(prepare.prepare(Recipe.load(recipe)))
    return {name: list(getattr(found, name)) for name in ("train", "dev", "proof")}


def kept_entries() -> list[Path]:
    return sorted(path for path in environment.features_folder().iterdir() if path.is_dir())


def test_a_second_run_on_equal_rows_tokenizes_nothing_and_has_equal_features(recipe: dict[str, Any], calls: list[int]) -> None:
    first = encoded(recipe)
    assert sum(calls) >= 60 and len(kept_entries()) == 3 and len(first["train"]) == 60
    calls.clear()
    assert encoded(recipe) == first and calls == []
    recipe["train"] = {"epochs": 7, "seed": 5}
    assert encoded(recipe) == first and calls == [], "how it is trained has no say in the features"


@pytest.mark.parametrize("task", [{"name": "chat", "max_length": 64}, {"name": "language_modeling", "max_length": 16}], ids=["chat", "language modeling"])
def test_rows_of_several_windows_and_rows_left_out_are_found_again(
    task: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    model = tiny_language.build(tmp_path / "model", "llama")
    long = {"messages": [{"role": "user", "content": "name of moon?"}, {"role": "assistant", "content": "pale " * 80}]}
    texts = [{"text": text} for text in tiny_language.texts(60)]
    (tmp_path / "rows.json").write_text(json.dumps([*tiny_language.dialogues(60), *[long] * 30] if task["name"] == "chat" else texts), encoding="utf-8")
    asked = Recipe.load({"model": str(model), "data": {"name": "json", "train": str(tmp_path / "rows.json")}, "task": task})
    prepared = prepare.prepare(asked)
    first, found = prepare.encode(prepared)
    whole = {"train": prepared.data.splits.train, "dev": prepared.data.splits.dev, "proof": prepared.data.proof}
    for name, rows in whole.items():
        assert list(getattr(found, name)) == prepared.recipe.task.encode(rows, prepared.tokenizer), "as the task encodes them all at once"
    assert found.divided or found.left_out
    calls.clear()
    monkeypatch.setattr(prepare, "PART_ROWS", 7)
    second, again = prepare.encode(prepare.prepare(asked))
    assert (again.left_out, again.divided, second.notes, second.data) == (found.left_out, found.divided, first.notes, first.data)
    assert all(list(getattr(again, name)) == list(getattr(found, name)) for name in whole)
    assert max(calls, default=0) <= 1, "the template is tried on a word, and no row is tokenized"


def test_rows_are_encoded_in_parts_as_they_are_together(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch, calls: list[int]) -> None:
    recipe["data"]["cache"] = False
    whole = encoded(recipe)
    assert max(calls) == 60
    for rows, characters in ((7, 10**6), (10**6, 100)):
        calls.clear()
        monkeypatch.setattr(prepare, "PART_ROWS", rows)
        monkeypatch.setattr(prepare, "PART_CHARACTERS", characters)
        assert encoded(recipe) == whole and max(calls) <= 10
    assert not environment.features_folder().exists(), "data.cache=false keeps nothing"


def _text(recipe: dict[str, Any]) -> None:
    path = Path(recipe["data"]["train"])
    path.write_text(path.read_text().replace("the", "this"))


def _label(recipe: dict[str, Any]) -> None:
    path = Path(recipe["data"]["train"])
    path.write_text(path.read_text().replace(",pos", ",positive"))


def _max_length(recipe: dict[str, Any]) -> None:
    recipe["task"]["max_length"] = 12


def _tokenizer(recipe: dict[str, Any]) -> None:
    path = Path(recipe["model"]) / "tokenizer.json"
    known = json.loads(path.read_text())
    words = known["model"]["vocab"]
    words["film"], words["story"] = words["story"], words["film"]
    path.write_text(json.dumps(known))


def _positions(recipe: dict[str, Any]) -> None:
    path = Path(recipe["model"]) / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 40}))


@pytest.mark.parametrize("change", [_text, _label, _max_length, _tokenizer, _positions])
def test_what_features_follow_from_is_in_their_name(recipe: dict[str, Any], calls: list[int], change: Callable[[dict[str, Any]], None]) -> None:
    first = encoded(recipe)
    change(recipe)
    calls.clear()
    second = encoded(recipe)
    assert max(calls) == 60, "tokenized anew"
    recipe["data"]["cache"] = False
    assert encoded(recipe) == second
    assert second != first or change in (_label, _positions)


def test_ids_turns_template_version_and_code_are_in_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_language.build(tmp_path / "model", "llama")

    def name(rows: list[Any], **settings: Any) -> tuple[str | None, str]:
        (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
        data = {"name": "json", "train": str(tmp_path / "rows.json"), "id": "id"}
        made = prepare.prepare(Recipe.load({"model": str(model), "data": data, "task": {"name": "chat", "max_length": 64, **settings}}))
        return feature_cache.basis(made.recipe.task, made.tokenizer), made.data.fingerprints["train"]

    rows = [{"id": n, **row} for n, row in enumerate(tiny_language.dialogues(60))]
    names = {name(rows)}
    assert name(rows) in names
    names |= {name([{**row, "id": f"x{row['id']}"} for row in rows]), name(rows, system="Be kind."), name(rows, template="plain"), name(rows, train_on="all")}
    (tmp_path / "own.jinja").write_text("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}\n{% endfor %}")
    names.add(name(rows, template=str(tmp_path / "own.jinja")))
    (tmp_path / "own.jinja").write_text("{% for m in messages %}{{ m['role'] }} {{ m['content'] }}{{ eos_token }}\n{% endfor %}")
    names.add(name(rows, template=str(tmp_path / "own.jinja")))  # the same file name, another content
    monkeypatch.setattr(feature_cache, "__version__", "0.0.0")
    names.add(name(rows))
    monkeypatch.setattr(feature_cache, "_code", lambda kind: ["other"])
    names.add(name(rows))
    assert len(names) == 9 and all(basis is not None for basis, _ in names)


def test_a_task_that_does_not_say_so_of_itself_is_not_kept(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moody.py").write_text(
        "from weitiao.tasks.text_classification import TextClassification\n\nclass Moody(TextClassification):\n    '''Depends on the day.'''\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import moody  # type: ignore[import-not-found]

    made = prepare.prepare(Recipe.load(recipe))
    assert feature_cache.basis(made.recipe.task, made.tokenizer) is not None
    assert feature_cache.basis(moody.Moody(), made.tokenizer) is None
    monkeypatch.setattr(TextClassification, "keeps_features", False)
    assert feature_cache.basis(made.recipe.task, made.tokenizer) is None


def test_a_tokenizer_that_draws_is_not_kept(tmp_path: Path) -> None:
    model = tiny_language.build(tmp_path / "model", "llama")
    located = locate.locate(str(model))
    assert Tokenizer(located, None).identity() is not None
    known = json.loads((model / "tokenizer.json").read_text())
    known["model"]["dropout"] = 0.1
    (model / "tokenizer.json").write_text(json.dumps(known))
    assert Tokenizer(located, None).identity() is None


def _cut_short(entry: Path) -> None:
    os.truncate(entry / COLUMNS, 50)


def _flipped(entry: Path) -> None:
    held = bytearray((entry / COLUMNS).read_bytes())
    held[len(held) // 2] ^= 1
    (entry / COLUMNS).write_bytes(held)


def _no_facts(entry: Path) -> None:
    (entry / "facts.json").unlink()


def _broken_facts(entry: Path) -> None:
    (entry / "facts.json").write_text("[]")


def _other_facts(entry: Path) -> None:
    facts = json.loads((entry / "facts.json").read_text())
    facts["columns"]["tokens"]["start"] += 4
    (entry / "facts.json").write_text(json.dumps(facts))


def _unfinished(entry: Path) -> None:
    (entry / files.COMPLETE).unlink()


def _a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("")


@pytest.mark.parametrize("damage", [_cut_short, _flipped, _no_facts, _broken_facts, _other_facts, _unfinished, _a_file])
def test_a_damaged_entry_is_made_again(recipe: dict[str, Any], calls: list[int], damage: Callable[[Path], None]) -> None:
    first = encoded(recipe)
    for entry in kept_entries():
        damage(entry)
    calls.clear()
    assert encoded(recipe) == first and max(calls) == 60
    calls.clear()
    assert encoded(recipe) == first and (calls == [] or damage is _a_file)


def test_features_stay_in_memory_where_the_cache_cannot_be_written(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encoded(recipe)
    (tmp_path / "a file").write_text("")
    monkeypatch.setattr(environment, "features_folder", lambda: tmp_path / "a file" / "features")
    assert encoded(recipe) == first
    monkeypatch.setattr(environment, "features_folder", lambda: tmp_path / "full")

    def full(self: Builder, path: Path) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Builder, "save", full)
    assert encoded(recipe) == first and kept_entries() == []


def test_two_processes_at_once_tokenize_once(recipe: dict[str, Any], tmp_path: Path) -> None:
    script = """
import json, sys
from weitiao.core.recipe import Recipe
from weitiao.models import locate
from weitiao.models.tokens import Tokenizer
from weitiao.training import prepare
real, made = Tokenizer.encode, []
def counted(self, texts, most):
    import time
    time.sleep(0.5)  # long enough for the other to come by
    made.append(len(texts))
    return real(self, texts, most)
Tokenizer.encode = counted
prepared = prepare.prepare(Recipe.load(json.loads(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
_, found = prepare.encode(prepared)
print(json.dumps([made, [[f.row, f.input_ids, f.target] for f in found.train]]))
"""
    variables = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    both = [
        subprocess.Popen([sys.executable, "-c", script, json.dumps(recipe)], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    (made, features), (also_made, same) = (json.loads(process.communicate(timeout=120)[0]) for process in both)
    assert features == same and len(features) == 60
    assert sorted(made + also_made) == sorted(len(rows) for rows in encoded(recipe).values())


def test_the_entries_unused_for_longest_make_room_first(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    encoded(recipe)
    old = kept_entries()
    for n, entry in enumerate(old):
        os.utime(entry / files.COMPLETE, (1000 + n, 1000 + n))
    used = old[0]
    os.utime(used / files.COMPLETE)
    leftover, lock = used.parent / ".killed.xyz", used.parent / "gone.lock"
    leftover.mkdir()
    lock.touch()
    os.utime(leftover, (1000, 1000))
    os.utime(lock, (1000, 1000))
    size = sum(path.stat().st_size for path in used.iterdir())
    entries.make_room(used.parent, keep=used, most_bytes=10 * size)
    assert kept_entries() == old and not leftover.exists() and not lock.exists()
    entries.make_room(used.parent, keep=old[1], most_bytes=1)
    assert kept_entries() == [old[1]], "the newest stays, whatever its size"
    encoded(recipe)
    assert len(kept_entries()) == 3
    monkeypatch.setattr(feature_cache, "MOST_BYTES", 1)
    recipe["task"]["max_length"] = 8
    assert len(encoded(recipe)["train"]) == 60 and len(kept_entries()) == 1


def test_ctrl_c_is_heard_between_parts_and_nothing_half_is_kept(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "PART_ROWS", 20)
    heard: list[tuple[int, int]] = []

    def tell(event: Any) -> None:
        assert isinstance(event, Counted)
        heard.append((event.done, event.of))
        if len(heard) == 2:
            raise KeyboardInterrupt

    prepared = prepare.prepare(Recipe.load(recipe))
    with pytest.raises(KeyboardInterrupt):
        prepare.encode(prepared, tell)
    rows = sum(map(len, (prepared.data.splits.train, prepared.data.splits.dev, prepared.data.proof)))
    assert heard == [(20, rows), (40, rows)] and kept_entries() == []
    told: list[Any] = []
    prepare.encode(prepared, told.append)
    assert [event.done for event in told][:3] == [20, 40, 60] and told[-1].done == rows
    told.clear()
    prepare.encode(prepared, told.append)
    assert len(told) == 3 and told[-1].done == rows, "rows that are found are told of too"
