"""The documents are true: what they show runs, what is generated is up to date, both languages say the same.

Commands that are plain `weitiao ...` are run inside this process, which saves the seconds it takes to import torch;
everything else is run by bash. Tiny random models stand where `minilm` and `smollm2-135m` are looked for.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import documents
import pytest
from documents import ROOT, Block, Command

ALL = [str(path.relative_to(ROOT)) for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))]
TRANSLATED = [("README.md", "README.zh.md"), ("docs/guide.md", "docs/guide.zh.md")]
ENGLISH = [name for name in ALL if not name.endswith(".zh.md")]
"""The blocks of a translation are those of the English text, which is tested; so they are run once."""
WITH_COMMANDS = [name for name in ENGLISH if any(block.language == "console" for block in documents.blocks(documents.read(name)))]
PYTHON_IS_RUN = ("README.md", "docs/guide.md")


# ---------------------------------------------------------------- what is generated


def test_generated_parts_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.main(["--check"]) == 0, capsys.readouterr().out + "run `make docs`"


# ---------------------------------------------------------------- what is shown runs


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_what_a_document_shows_runs(name: str, place: Path, cli: Callable[..., Any], bash: Callable[[str], tuple[int, str]]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in documents.blocks(documents.read(name)):
        where = f"{name}:{block.line}"
        if block.mark("not run") is not None:
            assert block.mark("not run"), f"{where}: say why it is not run"
        elif block.file is not None:
            (place / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            _type(block, where, cli, bash)
        elif block.language == "python" and name in PYTHON_IS_RUN:
            exec(compile("\n" * block.line + block.text, name, "exec"), names)
    if name == "README.md":
        _the_tree_is_that_of(place / "first", documents.read(name))


def _type(block: Block, where: str, cli: Callable[..., Any], bash: Callable[[str], tuple[int, str]]) -> None:
    commands = block.commands()
    for command in commands:
        code, said = _run(command.line, cli, bash)
        wanted = block.codes() if command is commands[-1] else {0}
        assert code in wanted, f"{where}: `{command.line}` exits with {code}, not {wanted}:\n{said}"
        if block.mark("output not compared") is None:
            _compare(command, said, where, numbers=block.mark("numbers not compared") is None)


def _run(line: str, cli: Callable[..., Any], bash: Callable[[str], tuple[int, str]]) -> tuple[int, str]:
    before, pipe, after = line.partition(" | ")
    given = None
    if pipe and after.startswith("weitiao "):
        code, given = bash(before)
        assert code == 0, given
        line = after
    if not line.startswith("weitiao ") or any(sign in line for sign in "|<>&;$`*"):
        return bash(line)
    answer = cli(*shlex.split(line)[1:], stdin=given)
    return answer.code, f"{answer.out}\n{answer.err}"


def _compare(command: Command, said: str, where: str, *, numbers: bool) -> None:
    """Find the shown lines among those printed, in their order; `...` stands for anything."""
    printed = iter([_plain(line, numbers=numbers) for line in said.splitlines()])
    for shown in command.shown:
        pattern = re.escape(_plain(shown, numbers=numbers)).replace(r"\.\.\.", ".*")
        assert any(re.fullmatch(pattern, line) for line in printed), f"{where}: `{command.line}` does not print {shown!r}, but:\n{said}"


def _plain(line: str, *, numbers: bool) -> str:
    line = " ".join(line.split())
    return line if numbers else re.sub(r"\d+([.,]\d+)*(e[-+]?\d+)?", "#", line)


def _the_tree_is_that_of(run: Path, text: str) -> None:
    """Hold the tree in the README to the folder of the run that the README made."""
    tree = next(block.text for block in documents.blocks(text) if block.text.startswith("first/\n"))
    drawn = {line.split()[0].rstrip("/") for line in tree.splitlines()[1:]}
    top, artifact = ({path.name for path in folder.iterdir()} for folder in (run, run / "artifact"))
    assert drawn == (top | artifact) - {".lock"}


def test_every_shown_recipe_is_a_recipe(tmp_path: Path) -> None:
    from weitiao.core.recipe import Recipe

    base = {"model": "minilm", "data": {"name": "csv", "train": "t.csv"}, "task": "text_classification", "method": "full"}
    seen = 0
    for name in ("README.md", "docs/guide.md"):
        for block in documents.blocks(documents.read(name)):
            if block.language == "yaml" and block.file is None:
                import yaml

                Recipe.load({**base, **yaml.safe_load(block.text)})
                seen += 1
    assert seen > 5


def test_the_recipe_of_eight_lines_has_eight_lines() -> None:
    (short,) = [block for block in documents.blocks(documents.read("README.md")) if block.file == "short.yaml"]
    assert len(short.text.splitlines()) == 8


# ---------------------------------------------------------------- the examples for contributors


def test_the_method_and_the_source_that_contributors_are_shown_work(place: Path, tiny: Callable[[str], Path]) -> None:
    from transformers import AutoModel

    from weitiao.core.component import describe

    shown = [block.text for block in documents.blocks(documents.read("CONTRIBUTING.md")) if block.language == "python"]
    for text in shown:
        compile(text, "CONTRIBUTING.md", "exec")
    method, source = (_module(text, name) for text, name in ((_with(shown, "class Biases"), "biases"), (_with(shown, "class FastText"), "fasttext")))
    biases = method["Biases"]()
    assert biases.name == "biases" and describe(method["Biases"])
    model = biases.apply(AutoModel.from_pretrained(tiny("bert")))
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {"encoder.layer.0.attention.self.query.bias", "pooler.dense.weight"} <= trains and "encoder.layer.0.attention.self.query.weight" not in trains
    (place / "rows.txt").write_text("__label__good The soup was hot.\nno label here\n")
    bad: list[str] = []
    records = list(source["FastText"](train="rows.txt").records("train", bad.append))
    assert [(record.values, record.line) for record in records] == [({"text": "The soup was hot.", "label": "good"}, 1)]
    assert bad == ["rows.txt:2: expected __label__LABEL and a text"]


def _with(texts: list[str], word: str) -> str:
    return next(text for text in texts if word in text)


def _module(text: str, name: str) -> dict[str, Any]:
    import sys

    module = types.ModuleType(f"shown.{name}")
    sys.modules[module.__name__] = module  # pydantic looks up annotations there
    exec(compile(text, name, "exec"), vars(module))
    return vars(module)


# ---------------------------------------------------------------- languages, links, words


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED)
def test_both_languages_are_in_step(english: str, chinese: str) -> None:
    first, second = documents.read(english), documents.read(chinese)
    assert [level for level, _ in documents.headings(first)] == [level for level, _ in documents.headings(second)]
    for one, other in zip(documents.blocks(first), documents.blocks(second), strict=True):
        assert (one.language, one.text, one.file) == (other.language, other.text, other.file), f"{chinese}:{other.line}"
        assert [mark.partition(":")[0] for mark in one.marks] == [mark.partition(":")[0] for mark in other.marks], f"{chinese}:{other.line}"
    code = [[[re.findall(r"`[^`]+`", cell) for cell in row] for row in table] for table in documents.tables(first)]
    assert [[[re.findall(r"`[^`]+`", cell) for cell in row] for row in table] for table in documents.tables(second)] == code
    assert sorted(set(re.findall(r"`[^`\n]+`", documents.prose(first)))) == sorted(set(re.findall(r"`[^`\n]+`", documents.prose(second))))


@pytest.mark.parametrize("name", ALL)
def test_relative_links_lead_somewhere(name: str) -> None:
    for target in documents.links(documents.read(name)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name}: {target}"
        assert not anchor or anchor in documents.anchors(file.read_text(encoding="utf-8")), f"{name}: {target}"


@pytest.mark.parametrize("name", ALL)
def test_a_document_names_nothing_of_the_machine_it_was_written_on(name: str) -> None:
    found = re.search(r"/(work|root|tmp|opt|usr|var)/|DESIGN\.md|FIELD\.md", documents.read(name))
    assert found is None, f"{name}: {found}"


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    from weitiao.core import report
    from weitiao.evaluation import baseline, score
    from weitiao.inspect import rows
    from weitiao.models import apart, attention, precision, readout
    from weitiao.training import loader, seal

    design, guide, json_keys = (documents.read(f"docs/{name}.md") for name in ("design", "guide", "json"))
    assert f"with {score.RESAMPLES:,} resamples" in design and f"with {score.PERMUTATIONS:,} permutations" in design
    assert f"at most {baseline.MOST_ROWS:,} training rows" in design
    assert f"at least {precision.WORTH_IT} times as fast" in design
    assert f"at most 2^{readout.CHUNK.bit_length() - 1} logits" in design and f"on {readout.CHECKED_TOKENS} tokens" in design
    assert f"more than {readout.TOLERANCE:g} of the largest logit".replace("1e-05", "1e-5") in design and readout.CHUNK == 2**23
    assert f"windows of more than {apart.CHECKED_WINDOW:,} tokens" in design and f"of up to {attention.KEPT_UP_TO} tokens" in design
    assert f"come out of the body the same, to {attention.TOLERANCE:g}".replace("0.0001", "1e-4") in design
    assert f"({loader.FORWARD_COST} tokens of padding on a CPU)" in design
    assert f"on {_runs()} proof rows" in design and f"to {seal.TOLERANCE:g}".replace("0.0001", "1e-4") in design
    assert f"{rows.FEWEST_TO_HALVE} rows or more" in guide and f"below {rows.FEWEST_TO_HALVE} rows" in design
    assert rows.DEV_SHARE == rows.TEST_SHARE and f"Both shares are {rows.DEV_SHARE}" in guide
    assert f"below {report.SIGNIFICANT}" in guide and f"p-value {report.SIGNIFICANT} or more" in json_keys


def _runs() -> int:
    from weitiao.training import run

    return run.CHECKED_ROWS
