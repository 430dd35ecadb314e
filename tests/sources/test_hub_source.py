"""The hub source, against a small hub on loopback, in one fresh process: the libraries read HF_ENDPOINT when imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub_server import Hub, serving
from weitiao.core import registry
from weitiao.core.contracts import Source
from weitiao.errors import MissingExtra
from weitiao.sources import hub as hub_source

pytest.importorskip("datasets", reason="data sets of the hub are read with the package datasets: pip install 'weitiao[hub]'")

CARD = """---
configs:
- config_name: plain
  data_files:
  - {split: train, path: plain/train.jsonl}
  - {split: validation, path: plain/dev.jsonl}
- config_name: tags
  data_files:
  - {split: train, path: tags/train.jsonl}
dataset_info:
- config_name: plain
  features:
  - {name: text, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': neg, '1': pos}}}}
- config_name: tags
  features:
  - {name: words, list: string}
  - {name: tags, list: {class_label: {names: {'0': O, '1': B-PER}}}}
  - {name: when, dtype: 'timestamp[s]'}
  - {name: more, struct: [{name: kind, dtype: {class_label: {names: {'0': a, '1': b}}}}, {name: share, dtype: float64}]}
---
"""

READ = """
import json, sys
from weitiao.core import registry
from weitiao.errors import WeitiaoError
answers = []
for settings in json.loads(sys.argv[1]):
    try:
        found = [(dict(r.values), r.place) for r in registry.find("source", "hub").model_validate(settings).records("train", print)]
        answers.append({"records": found})
    except WeitiaoError as error:
        answers.append({"error": type(error).__name__, "code": error.exit_code, "message": error.message, "hint": error.hint})
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Return a function from settings to what the source answers; every case is read in one process, once."""
    root = tmp_path_factory.mktemp("hub")

    def write(name: str, text: str) -> Path:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
        return root / name.split("/")[0]

    write("labelled/README.md", CARD)
    write("labelled/plain/train.jsonl", '{"text": "a", "label": 0}\n{"text": "中文 😀", "label": 1}\n{"text": "c", "label": -1}\n')
    write("labelled/plain/dev.jsonl", '{"text": "d", "label": 0}\n')
    labelled = write(
        "labelled/tags/train.jsonl",
        '{"words": ["Ann", "ran"], "tags": [1, 0], "when": "2024-03-01T10:00:00", "more": {"kind": 1, "share": 0.5}}\n',
    )
    sets = {
        "owner/labelled": labelled,
        "owner/script": write("script/script.py", "raise RuntimeError('code from the hub ran')"),
        "owner/empty": write("empty/README.md", "nothing here\n"),
        "owner/broken": write("broken/train.jsonl", '{"text": "a"}\n{"text": \n'),
        "owner/closed": labelled,
        "owner/folder": labelled,
    }
    (root / "work" / "owner" / "folder").mkdir(parents=True)
    with serving(Hub({}, sets, frozenset({"owner/closed"}))) as hub:
        kept = {key: value for key, value in os.environ.items() if "proxy" not in key.lower() and not key.startswith("HF_")}
        done = subprocess.run(
            [sys.executable, "-c", READ, json.dumps([settings for settings, *_ in [*RECORDS, *ERRORS]])],
            env={**kept, **hub.variables(root / "home")},
            cwd=root / "work",
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stderr == "", "bars and warnings of the libraries are off"
    answers = dict(zip([key(settings) for settings, *_ in [*RECORDS, *ERRORS]], json.loads(done.stdout), strict=True))
    return lambda settings: answers[key(settings)]


def key(settings: dict[str, str]) -> str:
    return json.dumps(settings)


RECORDS: list[tuple[dict[str, str], Any]] = [
    (
        {"dataset": "owner/labelled", "config": "plain", "train": "train"},
        [({"text": "a", "label": "neg"}, 1), ({"text": "中文 😀", "label": "pos"}, 2), ({"text": "c", "label": None}, 3)],
    ),
    ({"dataset": "owner/labelled", "config": "plain", "train": "validation"}, [({"text": "d", "label": "neg"}, 1)]),
    ({"dataset": "owner/labelled", "config": "plain", "train": "train[:1]"}, [({"text": "a", "label": "neg"}, 1)]),
    (
        {"dataset": "owner/labelled", "config": "tags", "train": "train"},
        [({"words": ["Ann", "ran"], "tags": ["B-PER", "O"], "when": "2024-03-01T10:00:00", "more": {"kind": "b", "share": 0.5}}, 1)],
    ),
]

ERRORS: list[tuple[dict[str, str], str, str, str]] = [
    ({"dataset": "owner/labelled", "train": "train"}, "BadValue", "data.config: missing; owner/labelled has several configurations.", "Known: plain, tags."),
    (
        {"dataset": "owner/labelled", "config": "plian", "train": "train"},
        "BadValue",
        "data.config: owner/labelled has no 'plian'. Did you mean 'plain'?",
        "plain, t",
    ),
    (
        {"dataset": "owner/labelled", "config": "plain", "train": "trian"},
        "BadValue",
        "data.train: owner/labelled has no split 'trian'. Did you mean 'train'?",
        "Known: train, validation.",
    ),
    (
        {"dataset": "owner/labelled", "config": "plain", "train": "train", "revision": "v9"},
        "BadValue",
        "data.revision: owner/labelled has no revision 'v9'",
        "tag",
    ),
    ({"dataset": "owner/nothing", "train": "train"}, "MissingFile", "there is no data set 'owner/nothing': the hub does not know it", "Check the id"),
    ({"dataset": "owner/closed", "train": "train"}, "MissingFile", "the data set 'owner/closed' is gated", "hf auth login"),
    ({"dataset": "owner/script", "train": "train"}, "BadValue", "owner/script is read by code of its own, which is never run", "parquet"),
    ({"dataset": "owner/empty", "train": "train"}, "BadRow", "the data set 'owner/empty' cannot be read: ", "on the hub"),
    ({"dataset": "owner/broken", "train": "train"}, "BadRow", "the data set 'owner/broken' cannot be read: ", "on the hub"),
    ({"dataset": "owner/folder", "train": "train"}, "BadValue", "'owner/folder' is a folder here, which would be read instead", "csv"),
    ({"dataset": "csv", "train": "train"}, "BadValue", "'csv' is not owner/name", "stanfordnlp/imdb"),
    ({"dataset": "../x", "train": "train"}, "BadValue", "'../x' is not owner/name", "stanfordnlp/imdb"),
]


@pytest.mark.parametrize(("settings", "expected"), RECORDS, ids=lambda value: value.get("train") if isinstance(value, dict) else "")
def test_rows_come_as_plain_values_with_labels_by_name_and_a_place(read: Callable[..., dict[str, Any]], settings: dict[str, str], expected: Any) -> None:
    answer = read(settings)
    place = f"hub:{settings['dataset']}[{settings['train']}]"
    assert answer.get("records") == [[values, f"{place}:{line}"] for values, line in expected], answer


@pytest.mark.parametrize(("settings", "error", "message", "hint"), ERRORS)
def test_what_cannot_be_read_is_one_sentence(read: Callable[..., dict[str, Any]], settings: dict[str, str], error: str, message: str, hint: str) -> None:
    answer = read(settings)
    assert answer.get("error") == error and message in answer["message"] and hint in answer["hint"], answer
    assert "\n" not in answer["message"]


def test_without_the_package_datasets_the_way_to_get_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    source = registry.find("source", "hub").model_validate({"dataset": "owner/any", "train": "train"})
    assert isinstance(source, Source) and source.paths == ()
    monkeypatch.setattr(hub_source.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        next(source.records("train", print))
    assert caught.value.hint == "pip install 'weitiao[hub]'"
