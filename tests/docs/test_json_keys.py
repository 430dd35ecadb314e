"""docs/json.md explains every key that a command prints, and no key that none prints."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import documents
import pytest

from tiny import sentences

SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def explained() -> dict[str, dict[str, str]]:
    """Return section -> key -> meaning."""
    found = {}
    for heading, body in SECTION.findall(documents.read("docs/json.md")):
        rows = [row for table in documents.tables(body) for row in table if row[0].startswith("`")]
        found[heading] = {row[0].strip("`"): row[2] for row in rows}
    return found


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the path of every leaf, and whether it holds nothing: null, an empty mapping, an empty list."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from leaves(inner, (*path[:-1], f"{path[-1]}[]") if path else ("[]",))
    else:
        yield path, value in (None, {}, [])


def fits(pattern: str, path: tuple[str, ...], *, nothing: bool) -> bool:
    """Tell whether a key of the document stands for a path. nothing: the path leads to null or an empty mapping or list."""
    parts = pattern.split(".")
    if parts[-1] == "*":
        return len(path) >= len(parts) and _same(parts[:-1], path[: len(parts) - 1])
    if len(parts) == len(path):
        return _same(parts, path)
    return nothing and len(parts) > len(path) and _same(parts[: len(path)], path)


def _same(parts: list[str], path: tuple[str, ...]) -> bool:
    """Compare piece by piece; words in capitals stand for any name."""
    pairs = [(part.removesuffix("[]"), name.removesuffix("[]")) for part, name in zip(parts, path, strict=True)]
    return all(part == name or (part.isupper() and part.isalpha()) for part, name in pairs)


def hold(section: str, values: list[Any]) -> None:
    """Compare the keys of values with those that a section of docs/json.md explains."""
    keys = explained()[section]
    used: set[str] = set()
    for value in values:
        for path, nothing in leaves(value):
            matching = [key for key in keys if fits(key, path, nothing=nothing)]
            assert matching, f"docs/json.md, {section}: {'.'.join(path)} is not explained"
            used.update(key for key in matching if not nothing or len(key.split(".")) == len(path))
    unseen = [key for key in keys if key not in used and "only" not in keys[key].lower()]
    assert not unseen, f"docs/json.md, {section}: nothing prints {', '.join(unseen)}"


@pytest.fixture
def recipes(place: Path) -> dict[str, Path]:
    """Return one recipe for each kind of problem; the first has bad and long rows too."""
    found = {}
    for kind in ("single_label_classification", "multi_label_classification", "regression"):
        lines = ["text,label"]
        for n, (text, label) in enumerate(sentences(80)):
            target = {"single": label, "multi_": f'"{label},odd"' if n % 3 == 0 else label}.get(kind[:6], f"{n % 7}.5")
            lines.append(f"{text}{' and the film was nice' * 4 if n % 5 == 0 else ''},{target}")
        if kind.startswith("single"):
            lines.append("no label,")
        (place / f"{kind}.csv").write_text("\n".join(lines) + "\n")
        found[kind] = place / f"{kind}.yaml"
        found[kind].write_text(
            f"model: minilm\ndata: {{name: csv, train: {kind}.csv, bad_rows: skip}}\n"
            f"task: {{name: text_classification, problem_type: {kind}, max_length: 16}}\nmethod: full\ntrain: {{epochs: 1, learning_rate: 1e-3, device: cpu}}\n"
        )
    return found


def test_every_key_is_explained(
    place: Path, recipes: dict[str, Path], cli: Callable[..., Any], tiny_chat_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: object) -> Any:
        answer = cli(*arguments, "--json")
        assert answer.code == 0, answer.err
        return answer.json()

    hold("weitiao init FILE --json", [run("init", "single_label_classification.csv", "--out", "guessed.yaml")])
    plans = [json.loads((tiny_chat_artifact.parent / "plan.json").read_text())]
    plans += [run("train", recipes["single_label_classification"], "train.dtype=fp32", "--plan"), run("train", recipes["regression"], "--plan")]
    hold("weitiao train RECIPE --plan --json", plans)
    reports = [run("train", path, "--out", kind) for kind, path in recipes.items()]
    talk = tiny_chat_artifact.parent
    reports.append(json.loads((talk / "report.json").read_text()))
    hold("weitiao train RECIPE --json", [*reports, run("train", recipes["regression"], "--out", "regression")])
    hold("weitiao compare methods RECIPE --json", [_compared(recipes["single_label_classification"], cli, monkeypatch)])
    hold("weitiao evaluate ARTIFACT [FILE] --json", [run("evaluate", kind) for kind in (*recipes, talk)])
    hold(
        "weitiao predict ARTIFACT [FILE]",
        [run("predict", kind, f"{kind}.csv") for kind in list(recipes)[1:]] + [run("predict", talk, talk.parent / "chat.json")],
    )
    hold("weitiao show METHODS --json", [run("show", what) for what in ("tasks", "methods", "sources", "regularizers")])
    hold("weitiao show METHOD NAME --json", [run("show", "method", "layers"), run("show", "task", "text_classification")])
    hold("weitiao show rows RECIPE --json", [run("show", "rows", path) for path in recipes.values()])
    hold("weitiao doctor data RECIPE --json", [_examined(recipes, cli)])
    hold("weitiao doctor --json", [json.loads(cli("doctor", "--json").out)])
    folder = place / "single_label_classification"
    hold("log.jsonl", _lines(folder / "log.jsonl"))
    hold(
        "predictions/before.jsonl and predictions/after.jsonl",
        [line for side in ("before", "after") for run_ in (folder, talk) for line in _lines(run_ / "predictions" / f"{side}.jsonl")],
    )
    hold("artifact/manifest.json", [json.loads((folder / "artifact" / "manifest.json").read_text())])
    hold("failure.json", [_failure(place, recipes["single_label_classification"], cli)])


def _compared(recipe: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    from weitiao.comparison import bakeoff

    def here(command: list[str], *, ended: int) -> Any:
        answer = cli(*command[3:])
        return subprocess.CompletedProcess(command, answer.code, answer.out, answer.err)

    monkeypatch.setattr(bakeoff, "_run", here)
    return bakeoff.compare(bakeoff.Asked(recipe, names=("bitfit", "norm"), budget=3600, seeds=2))


def _failure(place: Path, recipe: Path, cli: Callable[..., Any]) -> Any:
    answer = cli("train", recipe, "train.learning_rate=1e30", "train.epochs=5", "--out", "diverged")
    assert answer.code == 6, answer.err
    return json.loads((place / "diverged" / "failure.json").read_text())


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _examined(recipes: dict[str, Path], cli: Callable[..., Any]) -> dict[str, Any]:
    rows = Path("single_label_classification.csv").read_text(encoding="utf-8")
    Path("repeated.csv").write_text(f"{rows}{rows.splitlines()[1]}\n", encoding="utf-8")
    path = recipes["single_label_classification"]
    found: dict[str, Any] = json.loads(cli("doctor", "data", path, "data.train=repeated.csv", "--fix", "mended", "--page", "found.html", "--json").out)
    return found
