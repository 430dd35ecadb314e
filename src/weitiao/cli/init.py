"""`weitiao init FILE`: a first recipe for a data file or folder, every line with the reason it was guessed for."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.text import Text

from weitiao.cli.output import print_json, stdout
from weitiao.core import document, files
from weitiao.core.recipe import Recipe
from weitiao.errors import BadValue
from weitiao.inspect.guess import Guess, guess
from weitiao.inspect.reading import Reason
from weitiao.models.locate import locate

ENCODER = (
    "minilm",
    "a small English encoder",
    "a small encoder that knows English, and most of the text is not: better name one of its language here",
)
MODELS = {
    **dict.fromkeys(
        ("chat", "math_reasoning", "code_generation"),
        (
            "smollm2-135m",
            "a small English chat model",
            "a small chat model that knows little but English, and most of the text is not: gemma3-270m knows more languages",
        ),
    ),
    "language_modeling": (
        "smollm2-135m",
        "a small English decoder",
        "a small decoder that knows little but English, and most of the text is not: gemma3-270m knows more languages",
    ),
}
"""Task -> model, what it is, and what to say of it where the text is in another script. Other tasks: ENCODER."""
METHODS = {"full": "every parameter trains", "lora": "a low-rank update of every layer trains: quick, and the files are small"}
WIDTH = 120
"""Columns up to which a comment stands behind its line; longer ones stand above it."""


def init(file: Path, out: Path | None, model: str | None, force: bool, as_json: bool) -> int:
    """Write a commented recipe for a data file or folder, print what was guessed and the next command, and return 0.

    Raises BadValue where the recipe is there already (without `force`), and what `guess` raises where the file
    cannot be understood.
    """
    target = _target(file, out, force=force)
    found = guess(file)
    folder = target.parent.resolve()
    data = {**found.data, **{key: _relative(found.data[key], folder) for key in found.paths if key in found.data}}
    paths = {f"data.{key}" for key in found.paths}
    chosen, why_model = _model(model, folder, found)
    reasons = [
        Reason("model", chosen, why_model),
        *(Reason(r.what, _relative(r.value, folder) if r.what in paths and r.value else r.value, r.why) for r in found.reasons),
    ]
    following = f"weitiao train {shlex.quote(str(target))}"
    text = render(found, data, reasons, file=file, following=following)
    Recipe.load(document.parse(text, where=str(target))[0])
    try:
        files.write_text(target, text)
    except OSError as error:
        raise BadValue(f"cannot write {target}: {error.strerror or error}.", hint="Name another place with --out FILE.") from None
    if as_json:
        guesses = [{"what": r.what, "value": r.value, "why": r.why} for r in reasons]
        report = {
            "recipe": str(target),
            "model": chosen,
            "task": dict(found.task),
            "data": data,
            "method": dict(found.method),
            "train": dict(found.train),
            "guesses": guesses,
            "next": following,
        }
        print_json(report)
    else:
        _show(target, found, reasons, following)
    return 0


def render(found: Guess, data: Mapping[str, Any], reasons: Iterable[Reason], *, file: Path, following: str) -> str:
    """Return the recipe as YAML, each line with its reason as a comment."""
    why = {reason.what: reason.why for reason in reasons}
    value = {reason.what: reason.value for reason in reasons}
    lines = [
        _comment(f"Written by `weitiao init` from {file.name} ({found.size})."),
        _comment(f"Each comment says why a line was guessed; change what is wrong, then: {following}"),
        *_line("", "model", value["model"], why["model"]),
        "data:",
    ]
    last = ("text", "label")
    for key in [*(key for key in data if key not in last), *(key for key in last if key in data)]:
        lines += _line("  ", key, data[key], why.get(f"data.{key}", ""))
    lines += [f"  {_comment(text)}" for text in _absent(data, why, found.given)]
    lines.append("task:")
    for key, setting in found.task.items():
        lines += _line("  ", key, setting, why.get(f"task.{key}", ""))
    lines += _line("", "method", found.method, METHODS[found.method["name"]])
    lines += _line("", "train", found.train, f"epochs: {why['train.epochs']}; training stops early where dev no longer improves")
    return "\n".join(lines) + "\n"


def _absent(data: Mapping[str, Any], why: Mapping[str, str], given: Collection[str]) -> Iterable[str]:
    """Yield what to say about the lines that are not there."""
    for split in ("dev", "test"):
        if split not in data and f"data.{split}" in why:
            yield f"no {split}: {why[f'data.{split}']}"
    if "dev" not in given:
        yield "dev: a tenth of train is split off for choosing the best weights; name a file, or set dev_share"
    if "test" not in given:
        yield f"test: {'half of dev is held back' if 'dev' in data else 'a tenth of train is split off'} to prove the result on; name a file, or set test_share"
    if "data.bad_rows" in why:
        yield f"bad_rows: {why['data.bad_rows']}"


def _target(file: Path, out: Path | None, *, force: bool) -> Path:
    name = f"{file.resolve().name if file.is_dir() else file.stem}.yaml"
    target = Path(name) if out is None else out / name if out.is_dir() else out
    if target.exists() and file.exists() and target.samefile(file):
        raise BadValue(f"{target} is the data file itself.", hint="Name another place for the recipe with --out FILE.")
    if target.is_dir():
        raise BadValue(f"{target} is a folder.", hint="Name a file with --out FILE.")
    if target.exists() and not force:
        raise BadValue(f"{target} is already there.", hint="Replace it with --force, or name another place with --out FILE.")
    return target


def _model(asked: str | None, folder: Path, found: Guess) -> tuple[str, str]:
    """Return the model as the recipe names it, and why."""
    usual, what, warning = MODELS.get(found.task["name"], ENCODER)
    if asked is not None:
        if not asked.strip():
            raise BadValue("--model: expected a name.", hint=f"Use a hub id, a folder, package:NAME, or {usual}.")
        located = locate(asked)
        if not located.local or located.place != str(Path(asked).expanduser().resolve()):
            return asked, "as asked for"
        relative = _relative(located.place, folder)
        return (relative if relative.startswith((".", "/", "~")) or Path(relative).is_absolute() else f"./{relative}"), "as asked for"
    if found.foreign:
        return usual, f"{warning}, as a hub id or a folder" if usual == "minilm" else warning
    return usual, f"{what}, quick on any machine; a hub id, a folder or package:NAME may stand here"


def _relative(path: Any, folder: Path) -> str:
    """Return a path relative to the recipe's folder, or as it is where there is no way (another drive)."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return str(path)


# ---------------------------------------------------------------- YAML


def _line(indent: str, key: str, value: Any, why: str) -> list[str]:
    line, comment = f"{indent}{key}: {_yaml(value)}", _comment(why) if why else ""
    if not comment:
        return [line]
    return [f"{line}  {comment}"] if len(line) + len(comment) + 2 <= WIDTH else [f"{indent}{comment}", line]


def _comment(text: str) -> str:
    """Return a one-line comment; whatever YAML would not read is escaped."""
    return "# " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _yaml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-")
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[\w./]([\w./ -]*[\w./])?", value) and document.value_of(value, where="recipe") == value:
        return value
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9).strip()


# ---------------------------------------------------------------- for people


def _show(target: Path, found: Guess, reasons: Iterable[Reason], following: str) -> None:
    for reason in reasons:
        value = "-" if reason.value is None else ", ".join(map(str, reason.value)) if isinstance(reason.value, list) else str(reason.value)
        stdout.print(Text.assemble((f"{reason.what:<21}", "bold"), value, (f"  {reason.why}", "dim")))
    stdout.print()
    stdout.print(Text(f"{target} written, guessed from {found.size}."))
    stdout.print(Text(f"next: {following}"))
