"""From a name and settings, as a recipe has them, to a component: every problem is reported under its key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from weitiao.core import registry
from weitiao.core.component import Component, Settings, type_in_words
from weitiao.errors import BadValue, Conflict, RecipeError, UnknownSetting

S = TypeVar("S", bound=Settings)


class Report(Protocol):
    """Takes one problem: the error it would be, the key it stands under, what is wrong, and what to do."""

    def __call__(self, kind: type[RecipeError], key: str, message: str, hint: str) -> None:
        """Take one problem."""


class Problems:
    """Collects problems of the components that a component holds, and raises them together."""

    def __init__(self) -> None:
        self.found: list[RecipeError] = []

    def __call__(self, kind: type[RecipeError], key: str, message: str, hint: str) -> None:
        """Take one problem."""
        self.found.append(kind(message, hint=hint, key=key))

    def end(self) -> None:
        """Raise RecipeError where there is a problem."""
        if self.found:
            raise RecipeError("; ".join(problem.message for problem in self.found), hint=self.found[0].hint, problems=self.found)


def each(value: Any, make: Callable[[int, Any, Report], Any]) -> Any:
    """Return what is made of each item of a list, for a validator; what is no list as it is. Raises RecipeError with the problems of all items."""
    if not isinstance(value, list | tuple):
        return value
    problems = Problems()
    found = [make(n, item, problems) for n, item in enumerate(value)]
    problems.end()
    return found


def component(kind: str, key: str, value: Any, report: Report) -> Component | None:
    """Return the component that a name, or a name with settings, stands for; None where there was something to report."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        report(BadValue, key, f"{key}: expected a name and settings, got {value!r}.", f"Known: {', '.join(registry.names(kind))}.")
        return None
    try:
        found = registry.find(kind, value["name"])
    except RecipeError as error:
        report(type(error), f"{key}.name", f"{key}.name: {error.message}", error.hint)
        return None
    return settings(found, key, {k: v for k, v in value.items() if k != "name"}, report)


def settings(kind: type[S], key: str, value: Any, report: Report) -> S | None:
    """Return validated settings; None where there was something to report."""
    if not isinstance(value, dict):
        report(BadValue, key, f"{key}: expected settings, got {value!r}.", f"Known: {', '.join(kind.model_fields)}.")
        return None
    try:
        return kind.model_validate(value)
    except RecipeError as error:  # of the components that this one holds
        for problem in error.problems:
            place = f"{key}.{problem.key}" if problem.key else key
            report(type(problem), place, f"{place}{problem.message.removeprefix(problem.key)}", problem.hint)
        return None
    except ValidationError as error:
        explained = set()
        for details in error.errors(include_url=False):
            if details["loc"][:1] not in explained or not details["loc"]:  # a setting of several types has an error for each: the first says enough
                explained.add(details["loc"][:1])
                _explain(kind, key, details, report)
        return None


def _explain(kind: type[Settings], key: str, details: ErrorDetails, report: Report) -> None:
    path = [str(part) for part in details["loc"]]
    title = getattr(kind, "name", key)
    if details["type"] == "extra_forbidden":
        known = list(kind.model_fields)
        message = f"{key}.{path[0]}: {title} has no setting '{path[0]}'.{registry.did_you_mean(path[0], known)}"
        report(UnknownSetting, f"{key}.{path[0]}", message, f"{title} knows: {', '.join(known)}.")
        return
    if not path:
        report(Conflict, key, f"{key}: {details['msg'].removeprefix('Value error, ')}.", f"`weitiao show` tells what {title} takes.")
        return
    field = kind.model_fields.get(path[0])
    expected = details["msg"][0].lower() + details["msg"][1:]
    if field is not None and details["type"] not in ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "value_error"):
        expected = f"expected {type_in_words(field.annotation)}"
    dotted = f"{key}.{path[0]}"
    message = f"{dotted}: {expected.removeprefix('value error, ')}, got {details['input']!r}."
    report(BadValue, dotted, message, " ".join((field.description if field and field.description else "").split()) or f"Mend {dotted}.")
