"""Reading a recipe's YAML so that every later message can name the line."""

from __future__ import annotations

import re
from typing import Any

import yaml

from weitiao.errors import BadValue


class _Loader(yaml.SafeLoader):
    """YAML as YAML 1.2 means it: only true/false are booleans (a label called `no` stays a word), 2e-4 is a number."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (a class variable of PyYAML, typed as one of instances)
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
    list("-+0123456789."),
)


def parse(text: str, *, where: str) -> tuple[Any, dict[str, int]]:
    """Return the value of a YAML text, and dotted key -> line (from 1). Raises BadValue naming the line."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        lines: dict[str, int] = {}
        if node is not None:
            _walk(node, "", lines, where)
        return yaml.load(text, Loader=_Loader), lines  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark is not None else where
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise BadValue(f"{place}: this is not valid YAML: {problem}.", hint="Check indentation, colons and quotes on that line and the one before.") from None
    except ValueError as error:
        raise BadValue(f"{where}: this is not valid YAML: {error}.", hint="Quote the value if it is meant as text.") from None


def value_of(text: str, *, where: str) -> Any:
    """Return the value of a single YAML scalar or flow collection, as typed after `key=`."""
    return parse(text, where=where)[0]


def as_yaml(value: Any) -> str:
    """Return a value as YAML, keys in their order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _walk(node: yaml.Node, path: str, lines: dict[str, int], where: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(getattr(key, "value", key))
            dotted = f"{path}.{name}" if path else name
            if dotted in lines:
                raise BadValue(
                    f"{where}:{key.start_mark.line + 1}: '{dotted}' stands twice (first on line {lines[dotted]}).", hint="Keep one of the two lines."
                )
            lines[dotted] = key.start_mark.line + 1
            _walk(value, dotted, lines, where)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[f"{path}.{index}"] = value.start_mark.line + 1
            _walk(value, f"{path}.{index}", lines, where)


def nested(dotted: str, value: Any) -> dict[str, Any]:
    """Return `{"a": {"b": value}}` for `a.b`."""
    for key in reversed(dotted.split(".")):
        value = {key: value}
    found: dict[str, Any] = value
    return found
