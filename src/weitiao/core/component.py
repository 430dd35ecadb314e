"""A component: one frozen class whose fields are the keys a recipe may set."""

from __future__ import annotations

import types
import typing
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticUndefined


class Settings(BaseModel):
    """Frozen, fully validated settings; the string under a field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    def settings(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, in the order they are declared."""
        return self.model_dump(mode="json")

    def revised(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        return type(self).model_validate({**dict(self), **changes})


class Component(Settings):
    """A task, method, source or regularizer: the name typed in a recipe is the name of the file it lives in."""

    name: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__module__.rpartition(".")[2]

    def settings(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, `name` first: what a recipe would say."""
        return {"name": self.name, **super().settings()}


def describe(kind: type[Settings]) -> list[dict[str, Any]]:
    """Return one entry per field: name, type in words, default, and its documentation."""
    entries = []
    for name, field in kind.model_fields.items():
        default = None if field.default is PydanticUndefined else field.default
        if field.default_factory is not None:
            default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = default.model_dump(mode="json")
        entries.append(
            {
                "name": name,
                "type": type_in_words(field.annotation),
                "default": default,
                "required": field.is_required(),
                "meaning": " ".join((field.description or "").split()),
            }
        )
    return entries


def type_in_words(annotation: Any) -> str:
    """Return a type as a person would say it: `number or null`, `one of linear, cosine`."""
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", Any: "anything"}
    if annotation in plain:
        return plain[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        words = ["false" if a is False else "true" if a is True else str(a) for a in arguments]
        return words[0] if len(words) == 1 else "one of " + ", ".join(words)
    if origin is typing.Annotated:
        return type_in_words(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_in_words(a) for a in arguments)
    if origin in (list, tuple, set, frozenset):
        inner = [a for a in arguments if a is not Ellipsis]
        return "list" if not inner else f"list of {type_in_words(inner[0])}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, Settings)):
        return "mapping"
    return getattr(annotation, "__name__", str(annotation))
