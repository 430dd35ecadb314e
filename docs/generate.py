"""Write the parts of the documents that follow from the code: `python docs/generate.py`, or `--check` to only compare.

Whole files: docs/recipe.md and docs/errors.md. In README.md, README.zh.md and CONTRIBUTING.md: what stands between
`<!-- generated: NAME -->` and `<!-- end -->`. Nothing here imports torch or transformers.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import itertools
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from weitiao import errors
from weitiao.core import registry
from weitiao.core.component import Settings, describe
from weitiao.core.contracts import Source, Task
from weitiao.core.recipe import Evaluate, NewModel, Recipe, Train
from weitiao.models.locate import SHORT_NAMES

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "weitiao"
CONFORMANCE = ROOT / "tests" / "conformance"
MARKED = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)
OPEN_FOLDERS = ("sources", "tasks", "methods", "regularize")
"""Folders whose files a recipe names: the short tree shows what is in them."""
SWITCHES = ("problem_type", "masked")
"""Settings of a task that change its metrics."""
GENERATED = "weitiao.metrics.generated"
LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


# ---------------------------------------------------------------- what to write, and where


def documents() -> dict[Path, str]:
    """Return every document with generated parts, as it should be."""
    found = {ROOT / "docs" / "recipe.md": recipe_reference(), ROOT / "docs" / "errors.md": error_reference()}
    for name in ("README.md", "README.zh.md", "CONTRIBUTING.md"):
        path = ROOT / name
        found[path] = MARKED.sub(lambda mark, path=path: mark[1] + part(mark["name"], chinese=".zh." in path.name) + mark[4], path.read_text(encoding="utf-8"))
    return found


def part(name: str, *, chinese: bool) -> str:
    """Return what stands between the marks of this name."""
    parts: dict[str, Callable[[], str]] = {
        "tasks-and-methods": lambda: tasks_and_methods(chinese=chinese),
        "tree": lambda: tree(whole=False),
        "whole-tree": lambda: tree(whole=True),
    }
    if name not in parts:
        raise SystemExit(f"there is no generated part '{name}'; known: {', '.join(parts)}")
    return parts[name]()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what differs, or with --check name it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a document is out of date")
    check = parser.parse_args(arguments).check
    stale = [(path, text) for path, text in documents().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path, text in stale:
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{path.relative_to(ROOT)} {'is out of date: run `make docs`' if check else 'written'}")
    return int(check and bool(stale))


# ---------------------------------------------------------------- README: tasks x methods


def tasks_and_methods(*, chinese: bool) -> str:
    """Return the table of pairs, `yes` where the conformance tests run the pair, and the families of models that each task is run on."""
    tested, methods = tested_pairs(), registry.names("method")
    pairs = {(task, method) for (task, _), found in tested.items() for method in found}
    matrix = CONFORMANCE / "test_methods_of_tasks.py"
    kinds, refused = constant(matrix, "KINDS"), constant(matrix, "REFUSED")
    yes, no, head = ("是", "否", "任务") if chinese else ("yes", "no", "task")

    def cell(task: str, method: str) -> str:
        of_task = {kind: family for kind, (family, settings) in kinds.items() if settings["name"] == task}
        whys = [f"{family}: {refused[method, kind]}" for kind, family in of_task.items() if (method, kind) in refused]
        if (task, method) in pairs or len(whys) < len(of_task):
            return yes
        return f"{no}: {'; '.join(whys)}" if whys else ""

    rows = [[f"`{task}`", *(cell(task, method) for method in methods)] for task in registry.names("task")]
    said = (
        "“是”表示 `tests/conformance` 会运行这一组合，所用的微型模型属于这些家族："
        if chinese
        else "“yes” means that `tests/conformance` runs the pair, on tiny models of these families:"
    )
    blocks = [table([head, *(f"`{method}`" for method in methods)], rows), said]
    blocks.append("\n".join(_families(task, setting, found, pairs, chinese=chinese) for (task, setting), found in sorted(tested.items())))
    return "\n\n".join(blocks) + "\n"


def _families(task: str, setting: str, found: dict[str, list[str]], pairs: set[tuple[str, str]], *, chinese: bool) -> str:
    """Return one line: the families that a task is run on, and the methods where they are not all of the task's."""
    comma, colon, within = ("、", "：", "（仅 {}）") if chinese else (", ", ": ", " ({} only)")
    families = comma.join(f"`{family}`" for family in dict.fromkeys(family for names in found.values() for family in names))
    fewer = {method for known, method in pairs if known == task} != set(found)
    only = within.format(comma.join(f"`{method}`" for method in found)) if fewer else ""
    return f"- `{task}`{f' `{setting}`' if setting else ''}{colon}{families}{only}"


def tested_pairs() -> dict[tuple[str, str], dict[str, list[str]]]:
    """Return what the conformance tests run, read from their source: (task, setting that makes it another) -> method -> families."""
    tasks, methods = set(registry.names("task")), set(registry.names("method"))
    shared, of_methods, of_tasks = (CONFORMANCE / name for name in ("conftest.py", "test_methods.py", "test_tasks.py"))
    every = methods if 'registry.names("method")' in of_methods.read_text(encoding="utf-8") else words(of_methods) & methods
    fixed = (words(shared) | words(of_methods)) & tasks
    pairs = {*itertools.product(fixed, every), *itertools.product(words(of_tasks) & tasks, words(of_tasks) & methods)}
    families = list(constant(ROOT / "tests" / "tiny.py", "FAMILIES"))
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for task, method in sorted(pairs):
        found.setdefault((task, ""), {})[method] = families
    for task, setting, method, family in sorted(_language_model_cases(), key=lambda case: case[:3]):
        names = found.setdefault((task, setting), {}).setdefault(method, [])
        names += [family] if family not in names else []
    return found


def _language_model_cases() -> list[tuple[str, str, str, str]]:
    """Return (task, setting, method, family) of every model that the tests of language models prepare with `case(family, task, method)`."""
    names = runpy.run_path(str(ROOT / "tests" / "tiny_language.py"))
    module = parsed(CONFORMANCE / "test_language_models.py")
    for node in module.body:
        made = node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else getattr(node, "name", "")
        if made in ("METHODS", "task_of"):
            exec(compile(ast.Module([node], []), "test_language_models.py", "exec"), names)
    found = []
    for node in module.body:
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        calls = [inner for inner in ast.walk(node) if isinstance(inner, ast.Call) and getattr(inner.func, "id", "") == "case"]
        for values in _parameters(node, names):
            for call in calls:
                try:
                    family, task, *method = (_value(argument, {**names, **values}) for argument in call.args)
                except NameError:
                    continue  # what the test itself computes
                chosen = (method or ["full"])[0]
                found.append((task["name"], "masked: true" if task.get("masked") else "", chosen if isinstance(chosen, str) else chosen["name"], family))
    return sorted(found, key=lambda case: names["EVERY"].index(case[3]))


def _parameters(test: ast.FunctionDef, names: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the values that pytest would give a test's parameters."""
    asked = [mark for mark in test.decorator_list if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "parametrize"]
    lists = [[(_value(mark.args[0], names), value) for value in _value(mark.args[1], names)] for mark in asked]
    yield from map(dict, itertools.product(*lists))


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(node), "conformance", "eval"), names)


def words(path: Path) -> set[str]:
    """Return every text constant of a Python file."""
    return {node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def constant(path: Path, name: str) -> Any:
    """Return the value of a module's constant without importing it."""
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
            return ast.literal_eval(node.value)
    raise SystemExit(f"{path} has no constant {name}")


def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------- README and CONTRIBUTING: the tree


def tree(*, whole: bool) -> str:
    """Return the folders of the package with the first line of their docstrings; with every file where `whole`."""
    lines = list(_branches(SOURCE, "", whole=whole))
    width = max(len(line) for line, _ in lines) + 2
    drawn = [f"{line:<{width}}{said}".rstrip() for line, said in lines]
    return "```text\nsrc/weitiao/\n" + "\n".join(drawn) + "\n```\n"


def _branches(folder: Path, indent: str, *, whole: bool) -> Iterator[tuple[str, str]]:
    folders = sorted(p for p in folder.iterdir() if (p / "__init__.py").is_file())
    files = sorted(p for p in folder.glob("*.py") if p.name not in ("__init__.py", "__main__.py"))
    opened = whole or indent == "" or folder.name in OPEN_FOLDERS
    for path in [*folders, *(files if opened else [])]:
        yield f"{indent or '  '}{path.name}{'/' if path.is_dir() else ''}", summary(path / "__init__.py" if path.is_dir() else path)
        if path.is_dir():
            yield from _branches(path, f"{indent or '  '}    ", whole=whole)


def summary(path: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(parsed(path)) or "").partition("\n")[0]


# ---------------------------------------------------------------- docs/recipe.md


def recipe_reference() -> str:
    """Return the reference of every field a recipe may have."""
    sections = [[f"`{name}`", one_line(field.description)] for name, field in Recipe.model_fields.items()]
    short = [[f"`{name}`", f"`{stands_for}`"] for name, stands_for in SHORT_NAMES.items()]
    blocks = [
        "# Every field of a recipe",
        "<!-- Written by docs/generate.py from the classes behind the fields. Change the docstrings there, then run `make docs`. -->",
        "A recipe is a YAML file with these sections. `model`, `data`, `task` and `method` must be there. "
        "Where a section has a `name`, the name is the name of the file in `src/weitiao` that reads the section; "
        "`task: text_classification` is short for `task: {name: text_classification}`. "
        "`weitiao show` prints the same on a terminal: `weitiao show method layers`.",
        table(["section", "meaning"], sections),
        "`null` in the column *default* means: not set. An unknown field is an error.",
        "## model",
        "A text: a hub id, a folder that `save_pretrained` wrote, a .gguf file, `package:NAME` for a model inside an installed Python package, "
        "or a short name:",
        table(["short name", "stands for"], short),
        "A folder or file in a recipe file is relative to that file. Weights must be safetensors; pickle files are not opened. "
        "A GGUF file is converted to safetensors once, in the cache.",
        "### model: a new one",
        one_line(NewModel.__doc__) + " The section then has these fields instead of a name:",
        fields_table(NewModel),
        "## data",
        "Every source has these fields.",
        fields_table(Source),
        *components("source", "data", Source),
        "## task",
        *components("task", "task", None),
        "## method",
        *components("method", "method", None),
        "## train",
        fields_table(Train),
        "## evaluate",
        fields_table(Evaluate),
        "## regularize",
        "A list of names, or of names with settings: `regularize: [{name: l2, weight: 1e-4}]`.",
        *components("regularizer", "regularize", None),
    ]
    return "\n\n".join(blocks) + "\n"


def components(kind: str, section: str, common: type[Settings] | None) -> Iterator[str]:
    """Yield the blocks on every component of a kind; fields that stand in `common` unchanged are left out."""
    for name in registry.names(kind):
        found: Any = registry.find(kind, name)
        yield f"### {section}: {name}"
        yield (inspect.getdoc(found) or "").partition("\n\n")[0].replace("\n", " ")
        if getattr(found, "paper", ""):
            yield f"Paper: {found.paper}."
        if hasattr(found, "learning_rate"):
            yield f"Learning rate where `train.learning_rate` is not set: {number(found.learning_rate)}."
        own = fields_table(found, apart_from=common)
        yield own or "No settings of its own."
        if isinstance(found, type) and issubclass(found, Task):
            generated = [f"`{metric.name}`" for metric in found.model_validate({}).metrics() if type(metric).__module__ == GENERATED]
            apart = f" but {', '.join(generated)}, which rest on generated answers: on dev none are generated" if generated else ""
            yield f"Metrics, the main one first; each may stand in `evaluate.best`{apart}:"
            yield table(*metrics(found))


def metrics(task: type[Task]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the metrics of a task, one row for each value of the setting that changes them."""
    switch = next((name for name in SWITCHES if name in task.model_fields), None)
    values = (get_args(task.model_fields[switch].annotation) or (False, True)) if switch else (None,)
    rows = []
    for value in values:
        made = task.model_validate({switch: value} if switch else {})
        names = dict.fromkeys([*(metric.name for metric in made.metrics()), "loss"])
        said = task.name if switch is None else value if isinstance(value, str) else json.dumps(value)
        rows.append([f"`{said}`", ", ".join(f"`{name}`" for name in names)])
    return [switch or "task", "metrics"], rows


def fields_table(kind: type[Settings], *, apart_from: type[Settings] | None = None) -> str:
    """Return the table of a class's fields, without those that another class has in the same words; empty where none is left."""
    known = {} if apart_from is None else {entry["name"]: entry for entry in describe(apart_from)}
    rows = []
    for entry in describe(kind):
        if known.get(entry["name"]) == entry:
            continue
        limits = limits_of(kind.model_fields[entry["name"]])
        said = entry["type"] + (f" ({', '.join(limits)})" if limits else "")
        default = "required" if entry["required"] else f"`{json.dumps(entry['default'], ensure_ascii=False)}`"
        rows.append([f"`{entry['name']}`", said, default, entry["meaning"]])
    return table(["field", "type", "default", "meaning"], rows) if rows else ""


def limits_of(field: FieldInfo) -> list[str]:
    """Return the limits of a field in words, such as `above 0`."""
    found: list[str] = []

    def look(constraints: Sequence[Any]) -> None:
        for constraint in constraints:
            if isinstance(constraint, FieldInfo):
                look(constraint.metadata)
            found.extend(f"{said} {number(getattr(constraint, name))}" for name, said in LIMITS.items() if hasattr(constraint, name))

    def walk(annotation: Any) -> None:
        look(getattr(annotation, "__metadata__", ()))
        if get_origin(annotation) is not Literal:
            for inner in get_args(annotation):
                walk(inner)

    look(field.metadata)
    walk(field.annotation)
    return list(dict.fromkeys(found))


def number(value: float) -> str:
    """Return a number as people write it: 5e-5, not 5e-05."""
    if value == 2**31:
        return "2^31"
    return f"{value:g}".replace("e-0", "e-")


# ---------------------------------------------------------------- docs/errors.md


def error_reference() -> str:
    """Return the tree of errors, the exit codes, and one line on every error."""
    drawn = [line for line in (errors.__doc__ or "").splitlines() if line.startswith(("WeitiaoError", "├", "└"))]
    branches = [kind for kind in vars(errors).values() if inspect.isclass(kind) and kind.__base__ is errors.WeitiaoError]
    codes = [
        ["0", "done; also where `weitiao train` finds that the recipe has been trained already"],
        ["1", "a fault of weitiao itself; the message names the file that holds the details"],
        *([str(kind.exit_code), f"`{kind.__name__}`: {first_line(kind)}"] for kind in branches),
        ["130", "stopped by Ctrl-C outside training (while training it is 6: the state is saved)"],
        ["141", "the reader of stdout went away"],
    ]
    blocks = [
        "# Errors and exit codes",
        "<!-- Written by docs/generate.py from src/weitiao/errors.py. Change the docstrings there, then run `make docs`. -->",
        "Every error is one sentence that says what is wrong and where, and a hint that says what to do. The command line prints both on stderr, "
        "and exits with the code of the error's branch. In Python the same errors are raised: `weitiao.errors.WeitiaoError` has `message` and `hint`.",
        "```text\nerror: SENTENCE\nhint: WHAT TO DO\n```",
        "Where several things are wrong with a recipe, or with rows, all of them are listed at once (of rows, the first five).",
        "## Exit codes",
        table(["code", "meaning"], codes),
        "A wrong command line (a missing argument, an unknown option) exits with 2 as well.",
        "## The tree",
        "```text\n" + "\n".join(drawn) + "\n```",
    ]
    for branch in branches:
        kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and kind.__base__ is branch]
        rows = [[f"`{kind.__name__}`", one_line(inspect.getdoc(kind)) + ("" if raised(kind) else " Nothing raises it yet.")] for kind in kinds]
        blocks += [f"## {branch.__name__}", one_line(inspect.getdoc(branch)), table(["error", "meaning"], rows)]
    return "\n\n".join(blocks) + "\n"


def raised(kind: type) -> bool:
    """Tell whether any file but errors.py speaks of this kind of error."""
    return any(re.search(rf"\b{kind.__name__}\b", path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py") if path.name != "errors.py")


def first_line(kind: type) -> str:
    """Return the first line of a docstring as it goes on after a colon."""
    line = (inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".")
    return line[:1].lower() + line[1:]


# ---------------------------------------------------------------- words


def one_line(text: str | None) -> str:
    """Return a text on one line."""
    return " ".join((text or "").split())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
