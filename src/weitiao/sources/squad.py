"""Questions about passages, in the JSON of SQuAD."""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from weitiao.core import textfile
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record
from weitiao.core.textfile import shown
from weitiao.errors import BadRow

_HINT = 'Expected {"data": [{"paragraphs": [{"context": ..., "qas": [{"id": ..., "question": ..., "answers": [...]}]}]}]}.'

_ID = re.compile(r'"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+)')


class Squad(Source):
    """Read questions about passages in the JSON of SQuAD 1.1 and 2.0 (arXiv:1606.05250, arXiv:1806.03822), as CMRC and XQuAD have it too."""

    encoding: str = "utf-8"
    """Encoding of the file."""

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per question: `question`, `context`, `answers` (`text` and `answer_start`, two lists), and `title` where there is one.

        The lists are empty for a question that has no answer in the passage, and `answers` is absent where the file
        holds none. Answers come as they are written, even where they do not stand at their `answer_start`.
        """
        path = Path(getattr(self, split))
        text = "".join(line for _, line in textfile.lines(path, self.encoding))
        articles = _parsed(text, path)
        lines = _lines_of_ids(text)
        for title, context, question, where in _questions(articles, path, bad):
            id = question.get("id")
            id = str(id) if isinstance(id, str | int) else ""
            line = lines[id].popleft() if id and lines.get(id) else None
            file = str(path) if line is not None or not id else f"{path} (question {id})"
            place = f"{file}: {where}" if line is None else f"{file}:{line}: {where}"
            if not isinstance(asked := question.get("question"), str):
                bad(f"{place}.question: expected text, got {shown(asked)}")
                continue
            values: dict[str, Any] = {"question": asked, "context": context}
            if title:
                values["title"] = title
            if "answers" in question or question.get("is_impossible") is True:
                try:
                    values["answers"] = _answers(question)
                except ValueError as error:
                    bad(f"{place}: {error}")
                    continue
            yield Record(values, file, line, id)


def _parsed(text: str, path: Path) -> list[Any]:
    """Return the list of articles. Raises BadRow."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadRow(f"{path}:{error.lineno}: broken JSON: {error.msg}.", hint="Check commas, quotes and brackets on that line and the one before.") from None
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{path}: broken JSON: {error}.", hint=_HINT) from None
    articles = document.get("data") if isinstance(document, dict) else None
    if not isinstance(articles, list):
        found = f"an object with the keys {', '.join(map(shown, [*document][:5]))}" if isinstance(document, dict) else f"a {type(document).__name__}"
        raise BadRow(f"{path}: expected an object with a list `data`, as SQuAD has it, got {found}.", hint=_HINT + " Flat JSON is read by data.name=json.")
    return articles


def _questions(articles: list[Any], path: Path, bad: Callable[[str], None]) -> Iterator[tuple[str, str, Mapping[str, Any], str]]:
    """Yield title, passage, question, and where in the file it stands."""
    for a, article in enumerate(articles):
        where = f"data[{a}]"
        if not isinstance(article, dict) or not isinstance(article.get("paragraphs"), list):
            bad(f"{path}: {where}: expected an article with a list `paragraphs`, got {shown(article)}")
            continue
        title = article.get("title")
        for p, paragraph in enumerate(article["paragraphs"]):
            inside = f"{where}.paragraphs[{p}]"
            if not isinstance(paragraph, dict) or not isinstance(paragraph.get("qas"), list):
                bad(f"{path}: {inside}: expected a passage with a list `qas`, got {shown(paragraph)}")
                continue
            if not isinstance(context := paragraph.get("context"), str):
                bad(f"{path}: {inside}.context: expected text, got {shown(context)}")
                continue
            for q, question in enumerate(paragraph["qas"]):
                if isinstance(question, dict):
                    yield title if isinstance(title, str) else "", context, question, f"{inside}.qas[{q}]"
                else:
                    bad(f"{path}: {inside}.qas[{q}]: expected a question, got {shown(question)}")


def _answers(question: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the answers as two lists. Raises ValueError saying what is wrong with them."""
    answers = [] if question.get("is_impossible") is True else question["answers"]
    if not isinstance(answers, list):
        raise ValueError(f"answers: expected a list, got {shown(answers)}")
    for n, answer in enumerate(answers):
        if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
            raise ValueError(f"answers[{n}]: expected an answer with a `text`, got {shown(answer)}")
        if not isinstance(start := answer.get("answer_start"), int) or isinstance(start, bool):
            raise ValueError(f"answers[{n}].answer_start: expected a character of the passage, counted from 0, got {shown(start)}")
    return {"text": [answer["text"] for answer in answers], "answer_start": [answer["answer_start"] for answer in answers]}


def _lines_of_ids(text: str) -> dict[str, deque[int]]:
    """Return on which lines each id stands, in the order of the file; nothing where questions share lines, and their numbers say little."""
    found: dict[str, deque[int]] = defaultdict(deque)
    if text.count("\n") <= text.count('"question"'):
        return found
    line, at = 1, 0
    for id in _ID.finditer(text):
        line += text.count("\n", at, id.start())
        at = id.start()
        found[str(json.loads(id[1]))].append(line)
    return found
