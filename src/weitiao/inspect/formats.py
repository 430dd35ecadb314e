"""Files whose format says what they are for: tagged tokens, SQuAD's JSON, SemEval's blocks, folders of texts per label, ratings, multiple choice."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from weitiao.core import endings, registry
from weitiao.core.contracts import Source
from weitiao.core.rows import Record
from weitiao.errors import DataError, MissingColumn, MissingFile
from weitiao.inspect.beside import fault_of
from weitiao.inspect.columns import columns_of, texts_of
from weitiao.inspect.reading import KEEP, OTHER_FORMATS, Reason, Sample, encoding_of, readings, sampled
from weitiao.inspect.understood import Understood, as_task
from weitiao.sources.conll import Conll
from weitiao.sources.csv import Csv
from weitiao.sources.folder import SPLITS, Folder, named_like_splits, splits_in
from weitiao.sources.ratings import Ratings, column_of, text_column
from weitiao.sources.semeval import Semeval
from weitiao.sources.squad import Squad

_HEAD = 2**20
"""Bytes from the beginning of a file that are looked at."""
_SQUAD = re.compile(r'"paragraphs"\s*:\s*\[')
_SEMEVAL = re.compile(r"^\d+[\t ].*<e1>.*</e1>.*<e2>|^\d+[\t ].*<e2>.*</e2>.*<e1>", re.MULTILINE)
_NO_LABELS = ("unsup",)
"""Folders beside the labels that are none: the unlabelled texts of the IMDB reviews."""
_FLAT = {
    "question_answering": ("question", "context", "answers"),
    "token_classification": ("tokens", "tags"),
    "relation_extraction": ("text", "head", "tail", "label"),
    "embedding": ("query", "positive"),
}
"""Task -> the keys that make an object one of its rows."""
_QUESTIONS = ("question", "prompt", "stem", "query", "context", "ctx", "premise", "问题")
_OPTIONS = ("choices", "options", "endings", "candidates", "选项")
_ANSWERS = ("answerkey", "answer", "label", "answer_idx", "correct", "gold", "target", "答案")
_LETTERED = ("a", "b", "c")
_WORKED = (("question", "answer"), ("problem", "solution"), ("query", "response"), ("instruction", "output"))
_ENDS_IN_NUMBER = re.compile(r"####\s*\$?-?[\d.]|\\boxed\s*\{")
_CODED = (("prompt", "canonical_solution"), ("prompt", "completion"), ("text", "code"), ("prompt", "code"))
_TESTS = ("test", "tests", "test_list")
"""Keys of worked answers and of code, and what tells them from other questions and answers."""


def by_format(path: Path) -> Understood | None:
    """Return a file whose format is one of a kind, None where it is another. Raises DataError where it is damaged."""
    if path.suffix.lower() in OTHER_FORMATS or path.suffix.lower() == ".parquet":
        return None
    with path.open("rb") as file:
        raw = file.read(_HEAD)
    encoding, why = encoding_of(raw)
    head = raw.decode(encoding, "ignore").lstrip("\ufeff \t\r\n")
    reasons = [] if encoding == "utf-8" else [Reason("data.encoding", encoding, why)]
    if head.startswith("{"):
        return _squad(path, encoding, reasons) if _SQUAD.search(head) else None
    if _SEMEVAL.search(head[:20_000]):
        return _semeval(path, encoding, reasons)
    return None if head.startswith("[") and path.suffix.lower() in (".json", ".jsonl") else _conll(path, encoding, reasons)


def _squad(path: Path, encoding: str, reasons: Sequence[Reason]) -> Understood:
    source = Squad(train=str(path), encoding=encoding)
    sample = sampled(source)
    texts = [f"{record.values['question']} {record.values['context']}" for record in sample.records]
    said = [Reason("data.name", "squad", "articles, paragraphs, questions and answers, as SQuAD has them"), *reasons]
    return _questions(source, sample, texts, said, unit="questions")


def _questions(source: Source, sample: Sample, texts: Sequence[str], reasons: Sequence[Reason], *, unit: str = "records") -> Understood:
    length = (384, "usual for questions about passages; longer passages are read in several windows")
    why = "questions whose answers stand in a passage"
    return as_task("question_answering", source, sample, texts, reasons, why, length=length, epochs=((5_000, 4), (20_000, 3), (100_000, 2)), unit=unit)


def _semeval(path: Path, encoding: str, reasons: Sequence[Reason]) -> Understood:
    source = Semeval(train=str(path), encoding=encoding)
    sample = sampled(source)
    texts = [record.values["text"] for record in sample.records]
    said = [Reason("data.name", "semeval", "numbered sentences with <e1> and <e2>, the relation below each"), *reasons]
    return as_task("relation_extraction", source, sample, texts, said, "two marked entities and their relation", unit="sentences")


def _conll(path: Path, encoding: str, reasons: Sequence[Reason]) -> Understood | None:
    source = Conll(train=str(path), encoding=encoding)
    try:
        layout = source.layout(path)
    except DataError:
        return None  # no text at all: whoever comes next says where
    if layout.tag is None:
        return None
    sample = sampled(source)
    tags = {tag for record in sample.records for tag in record.values["tags"]} - {"O"}
    if len(sample.records) < 2 or not tags:
        return None
    words = [" ".join(record.values["tokens"]) for record in sample.records]
    said = [
        Reason("data.name", "conll", "one token a line with its tag, an empty line between sentences"),
        Reason("data.tag_column", layout.tag + 1, f"the last column with tags, such as {min(tags)}"),
        *([Reason("data.strip_digit", True, "behind every character stands its place in a word")] if layout.numbered else []),
        *reasons,
    ]
    return as_task("token_classification", source, sample, words, said, f"tokens with {len(tags)} different tags besides O", unit="sentences")


# ---------------------------------------------------------------- folders


def folder(path: Path) -> Understood:
    """Return a folder of texts per label, or one that holds such folders for train, dev and test. Raises DataError where it is none."""
    splits = splits_in(path) or (named_like_splits(path.parent) if path.name.lower() in SPLITS["train"] else {})
    train = splits.get("train", path)
    left_out = [name for name in _NO_LABELS if (train / name).is_dir()]
    source = Folder(train=str(train), leave_out=left_out or None)
    try:
        folders, files = source.labels(train)
    except DataError:
        folders, files = [], []
    first = [text for label in folders for text in itertools.islice((p for p in sorted(label.rglob("*")) if p.is_file()), 20)] if folders else files
    if len(folders or files) < 2 or not first:
        raise MissingFile(
            f"{path} is a folder, and holds no folders of texts, one per label.", hint="Name a file; or expected LABEL/anything.txt for two labels or more."
        )
    encoding, why = encoding_of(b"\n".join(_beginning(file) for file in first))
    reasons = [Reason("data.name", "folder", f"{len(folders)} folders of texts" if folders else f"{len(files)} files of lines")]
    if encoding != "utf-8":
        source = source.revised(encoding=encoding)
        reasons.append(Reason("data.encoding", encoding, why))
    if left_out:
        reasons.append(Reason("data.leave_out", left_out, "texts without a label"))
    sample = sampled(source)
    texts = [record.values["text"] for record in sample.records]
    labels = [label.name for label in folders] or [file.stem for file in files]
    why = f"one of {len(labels)} labels a text: {', '.join(labels[:6])}{' ...' if len(labels) > 6 else ''}"
    found = as_task("text_classification", source, sample, texts, reasons, why, unit="texts")
    return replace(found, beside=tuple(_other_splits(splits, found)))


def _beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_HEAD // 100)


def _other_splits(splits: Mapping[Any, Path], found: Understood) -> Iterator[Reason]:
    for split, path in splits.items():
        if split != "train":
            fault = fault_of(str(path), found.source, found.task, found.rows, complete=found.sample.count <= KEEP)
            what = "lies beside it, with the same labels" if fault is None else f"{path.name} lies beside it, but {fault}"
            yield Reason(f"data.{split}", str(path) if fault is None else None, what)


# ---------------------------------------------------------------- tables and objects


def by_keys(source: Source, sample: Sample, reasons: Sequence[Reason]) -> Understood | None:
    """Return objects whose keys say what they are, None where they do not. A task that is not there, or cannot use most of them, is passed over."""
    keys = {name for record in sample.records for name in record.values}
    for task, needed in _FLAT.items():
        if keys >= {*needed} and all(_nested(task, record) for record in sample.records):
            texts = [" ".join(str(record.values[key]) for key in needed[:2]) for record in sample.records]
            why = f"each holds {', '.join(needed[:-1])} and {needed[-1]}"
            if found := _tried(task, source, sample, texts, reasons, why):
                return found
    return multiple_choice(source, sample, reasons)


def solutions(source: Source, sample: Sample, reasons: Sequence[Reason]) -> Understood | None:
    """Return questions with worked answers that end in a number, or prompts with code and tests; None where they are neither."""
    keys = {name for record in sample.records for name in record.values}
    for question, answer in _WORKED:
        held = [record.values.get(answer) for record in sample.records]
        if {question, answer} <= keys and sum(bool(isinstance(text, str) and _ENDS_IN_NUMBER.search(text)) for text in held) > 0.9 * len(held):
            texts = [f"{record.values.get(question)} {record.values.get(answer)}" for record in sample.records]
            why = f"each holds {question} and {answer}, which ends with a number behind #### or in a box"
            return _generated("math_reasoning", source, sample, texts, reasons, why)
    for prompt, code in _CODED:
        if {prompt, code} <= keys and (tests := next((name for name in _TESTS if name in keys), None)):
            texts = [f"{record.values.get(prompt)} {record.values.get(code)}" for record in sample.records]
            why = f"each holds {prompt}, {code} and {tests}, which is run on this machine"
            return _generated("code_generation", source, sample, texts, reasons, why, length=(1024, "long enough for most functions; longer ones are left out"))
    return None


def _generated(
    task: str, source: Source, sample: Sample, texts: Sequence[str], reasons: Sequence[Reason], why: str, *, length: tuple[int, str] | None = None
) -> Understood:
    return replace(as_task(task, source, sample, texts, reasons, why, length=length, epochs=((5_000, 3), (20_000, 2)), batch_size=16), method="lora")


def multiple_choice(source: Source, sample: Sample, reasons: Sequence[Reason]) -> Understood | None:
    """Return questions with options and an answer, None where they are none."""
    names = {str(name).lower(): name for record in sample.records for name in record.values}
    question = next((names[name] for name in _QUESTIONS if name in names), None)
    answer = next((names[name] for name in _ANSWERS if name in names), None)
    listed = next((names[name] for name in _OPTIONS if name in names), None)
    if question is None or answer is None:
        return None
    if listed is not None and all(isinstance(record.values.get(listed), list | dict) for record in sample.records):
        options = [listed]
    elif all(letter in names for letter in _LETTERED):
        options = [names[letter] for letter in "abcdefgh" if letter in names]
    else:
        return None
    texts = [" ".join(str(record.values.get(key)) for key in (question, *options)) for record in sample.records]
    why = f"each holds {question}, {options[0] if len(options) == 1 else f'{options[0]} to {options[-1]}'} and {answer}"
    settings: dict[str, Any] = {} if question == "question" else {"question": question}
    settings |= {"options": options} if listed is None else {}
    settings |= {} if answer in ("answerKey", "answer", "label") else {"answer": answer}
    return _tried("multiple_choice", source, sample, texts, reasons, why, batch_size=16, settings=settings)


def _nested(task: str, record: Record) -> bool:
    """Tell whether the values are of the kind that the task's rows have, so that a text in a column called tags is not taken for a list of tags."""
    values = record.values
    if task == "token_classification":
        return isinstance(values.get("tokens"), list) and isinstance(values.get("tags"), list)
    return task != "relation_extraction" or isinstance(values.get("head"), list | dict)


def _tried(
    task: str,
    source: Source,
    sample: Sample,
    texts: Sequence[str],
    reasons: Sequence[Reason],
    why: str,
    *,
    batch_size: int = 32,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Understood | None:
    if task not in registry.names("task"):
        return None
    try:
        if task == "question_answering":
            found = _questions(source, sample, texts, reasons)
        else:
            found = as_task(task, source, sample, texts, reasons, why, batch_size=batch_size, settings=settings)
    except DataError:
        return None
    return found if len(found.rows) >= 0.5 * len(sample.records) else None


def ratings(path: Path) -> Understood | None:
    """Return a table of users, items, and times without a text of its own, with the table of items that lies beside it; None where it is none."""
    try:
        source, sample, reasons = next(readings(path))
    except DataError:
        return None  # whoever comes next says why
    if not sample.records or (isinstance(source, Csv) and not source.header):
        return None
    named = {role: column_of(role, sample.records[0].values) for role in ("user", "item", "time")}
    if None in named.values() or _has_texts(sample, path):
        return None
    settings = {name: getattr(source, name) for name in ("encoding", "delimiter") if getattr(source, name, None) is not None}
    items = _items_beside(path, str(named["item"]))
    pairs = Ratings.model_validate({"train": str(path), "items": None if items is None else str(items), **settings})
    sample = sampled(pairs)
    said = [
        Reason("data.name", "ratings", f"users, items and times: {', '.join(map(str, named.values()))}"),
        Reason("data.train", str(path), "of each user the last item is a test row and the one before it a dev row"),
        *(reason for reason in reasons if reason.what in ("data.encoding", "data.delimiter")),
        Reason("data.items", None if items is None else str(items), "no table with their texts lies beside it" if items is None else "lies beside it"),
    ]
    texts = [record.values["query"] for record in sample.records]
    why = "from what a user liked to what came next"
    return as_task("embedding", pairs, sample, texts, said, why, epochs=((20_000, 3),), batch_size=64, unit="next items", beside=())


def _has_texts(sample: Sample, path: Path) -> bool:
    try:
        texts_of(columns_of(sample.records), path, headed=True)
    except MissingColumn:
        return False
    return True


def _items_beside(path: Path, item: str) -> Path | None:
    """Return the table beside the ratings that names the same items and has their texts."""
    for other in sorted(path.parent.iterdir())[:50]:
        reader = endings.READERS.get(other.suffix.lower())
        if other == path or reader not in ("csv", "json", "parquet") or not other.is_file():
            continue
        source = registry.find("source", reader).model_validate({"train": str(other)})
        assert isinstance(source, Source)
        try:
            columns = next(iter(source.records("train", lambda sentence: None)), Record({}, "", None)).values
        except DataError:
            continue
        if item in columns and column_of("user", columns) is None and text_column([name for name in columns if name != item]) is not None:
            return other
    return None
