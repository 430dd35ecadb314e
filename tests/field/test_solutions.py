"""HumanEval's own solutions pass its tests and broken ones fail them; the numbers of GSM8K are those that its authors read."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from weitiao.answers import sandbox
from weitiao.core.rows import Row, with_ids
from weitiao.metrics.final_number import final_number
from weitiao.sources.json import Json
from weitiao.tasks.code_generation import CodeGeneration, program
from weitiao.tasks.math_reasoning import MathReasoning

pytestmark = pytest.mark.field
SAMPLE = 11
"""Every so many functions are tried in the short half of the tests."""


def rows(task: Any, path: Path) -> list[Row]:
    source = Json(test=str(path))
    records = with_ids(source.records("test", pytest.fail), lambda record: None)
    return [task.read(record, source, labelled=True) for record in records]


@pytest.fixture
def functions(shared_data: Path) -> list[Row]:
    found = rows(CodeGeneration(), shared_data / "humaneval" / "HumanEval.jsonl.gz")
    assert len(found) == 164 and all(row.parts for row in found)
    return found


class _Broken(ast.NodeTransformer):
    """Turns the first thing that it knows to turn: a comparison, a truth value, an operation, or a number."""

    turned = False

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if self.turned:
            return node
        swapped = {
            ast.Lt: ast.GtE,
            ast.Gt: ast.LtE,
            ast.LtE: ast.Gt,
            ast.GtE: ast.Lt,
            ast.Eq: ast.NotEq,
            ast.NotEq: ast.Eq,
            ast.Add: ast.Sub,
            ast.Mult: ast.Add,
        }
        if type(node) in swapped:
            self.turned = True
            return swapped[type(node)]()
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int):
            self.turned = True
            return ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)
        return super().generic_visit(node)


def broken(code: str) -> str:
    """Return the code with one thing turned in the body of its last function."""
    tree = ast.parse(code)
    function = [node for node in tree.body if isinstance(node, ast.FunctionDef)][-1]
    turn = _Broken()
    function.body = [turn.visit(node) for node in function.body]
    return ast.unparse(ast.fix_missing_locations(tree))


def kinds(functions: list[Row], code: Any) -> Counter[str]:
    # a mutant may never end
    return Counter(outcome.kind for outcome in sandbox.run_all([(code(row), row.parts[0]) for row in functions], sandbox.Limits(seconds=2)))


def whole(row: Row) -> str:
    return program(row.text, row.target)


def emptied(row: Row) -> str:
    return program(row.text, "\n    return None")


def test_a_sample_of_humaneval_passes_with_its_own_solutions_and_fails_with_none(functions: list[Row]) -> None:
    few = functions[::SAMPLE]
    assert kinds(few, whole) == {"passed": len(few)}
    assert kinds(few, emptied)["passed"] == 0


@pytest.mark.soak
def test_all_of_humaneval_passes_with_its_own_solutions_and_fails_with_broken_ones(functions: list[Row]) -> None:
    assert kinds(functions, whole) == {"passed": 164}
    assert kinds(functions, emptied)["passed"] == 0
    mutants = [row for row in functions if ast.unparse(ast.parse(whole(row))) != broken(whole(row))]
    assert len(mutants) > 140
    found = kinds(mutants, lambda row: broken(whole(row)))
    assert found["passed"] <= 0.1 * len(mutants), found  # some changes change nothing that is asked


def test_the_numbers_of_gsm8k_are_those_that_its_authors_read(shared_data: Path) -> None:
    official = re.compile(r"#### (\-?[0-9\.\,]+)")  # grade_school_math/dataset.py
    for split in ("train", "dev", "test"):
        found = rows(MathReasoning(), shared_data / "gsm8k" / f"{split}.jsonl")
        assert len(found) > 400
        for row in found:
            (number,) = official.findall(row.target)
            assert float(final_number(row.target) or "nan") == float(number.replace(",", "")), row
            assert "<<" not in row.target
        assert list(MathReasoning().remarks(found, split)) == []
