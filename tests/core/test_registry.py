from __future__ import annotations

import importlib.metadata

import pytest

from weitiao.core import registry
from weitiao.core.component import Component, describe
from weitiao.core.contracts import Regularizer
from weitiao.errors import UnknownComponent


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_file_holds_one_documented_component_of_its_name(kind: str) -> None:
    assert registry.names(kind)
    summaries = {entry["name"]: entry["summary"] for entry in registry.summaries(kind)}
    for name in registry.names(kind):
        found = registry.find(kind, name)
        assert found.name == name
        assert summaries[name].endswith(".") and summaries[name] == registry.summary_of(found)
        for field in describe(found):
            assert field["meaning"].endswith("."), f"{kind} {name}.{field['name']} says nothing of itself"


class Theirs(Regularizer):
    """Do nothing, from elsewhere."""


def test_third_parties_add_components_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("theirs", f"{__name__}:Theirs", "weitiao.regularize")
    monkeypatch.setattr(point.__class__, "load", lambda self: Theirs)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == "weitiao.regularize" else [])
    assert "theirs" in registry.names("regularizer")
    assert registry.find("regularizer", "theirs") is Theirs and Theirs.name == "theirs"
    assert {"name": "theirs", "summary": "Do nothing, from elsewhere."} in registry.summaries("regularizer")


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UnknownComponent) as caught:
        registry.find("source", "cvs")
    assert "Did you mean 'csv'?" in caught.value.message and "json" in caught.value.hint


def test_components_are_frozen() -> None:
    component = registry.find("method", "layers")()
    assert isinstance(component, Component)
    with pytest.raises(ValueError, match="frozen"):
        component.last = 3  # type: ignore[attr-defined]
