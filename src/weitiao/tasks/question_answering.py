"""Questions whose answer stands in a text: extractive question answering."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt

from weitiao.core.contracts import Batch, Features, Head, Layout, Metric, Objective, Outputs, Prediction, Source, Task, Tokens
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, EmptySplit, MissingColumn
from weitiao.labels.answers import answers_in
from weitiao.labels.reading import MEND

if TYPE_CHECKING:
    import numpy
    from torch import Tensor
    from torch.nn import Module

_SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|[。！？]|\n|$)", re.DOTALL)
_SCORED = 3
"""Answers whose probability is told, at most."""
_TRIED = 2000
"""Training rows on which the trivial answers are tried, at most."""


class QuestionAnswering(Task):
    """Find the answer to a question in a text: SQuAD, CMRC 2018 and the like, with or without unanswerable questions."""

    max_length: int = Field(default=384, ge=16)
    """Longest input in tokens: question, special tokens and a window of the text. A longer text is read in several windows."""
    doc_stride: NonNegativeInt = 128
    """Tokens of the text that two neighbouring windows share, as in run_qa of transformers; at most half of a window's text."""
    max_question_tokens: PositiveInt = 64
    """Longest question in tokens; the rest is cut at its end, counted and reported. It never takes more than half of max_length."""
    max_answer_tokens: PositiveInt = 30
    """Longest answer in tokens that is given."""
    n_best: PositiveInt = 20
    """Best starts and ends of a window that are combined to answers."""
    no_answer: bool | None = None
    """Whether a question may have no answer in its text: then the empty text is predicted. Default: whether a training row has none."""
    no_answer_threshold: float | None = None
    """No answer is given where its score exceeds that of the best span by more than this. Default: chosen on dev after training, so that
    most answers match exactly; 0 where nothing may be chosen on dev."""
    units: Literal["auto", "words", "characters"] = "auto"
    """What answers are compared by: words, as SQuAD does; characters, as CMRC 2018 does for Chinese; or what most training answers are written in."""
    question: str = "question"
    """Column or key that holds the question."""
    context: str = "context"
    """Column or key that holds the text."""
    answers: str = "answers"
    """Column or key that holds the answers: {text: [...], answer_start: [...]}, a list of {text, answer_start}, or a text or a list of
    texts that stand once in the context; empty where there is no answer. Training learns the first."""

    keeps_features: ClassVar[bool] = True
    joins_texts: ClassVar[bool] = True
    trivial_is: ClassVar[str] = "first_sentence"

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return question and context as parts, and text and stated start of every answer. Raises MissingColumn, or BadRow naming file, line and field.

        An answer that does not stand where it is stated is found by its text where that stands once. A row is bad where no
        answer of it can be found; a reference that cannot be found beside others only scores.
        """
        question, context = (self._text(record, column) for column in (self.question, self.context))
        target = self._target(record, context) if labelled else None
        return Row(record.id, f"{question.strip()}\n{context}", target, record.place, parts=(question.strip(), context))

    def _text(self, record: Record, column: str) -> str:
        if column not in record.values:
            known = list(map(str, record.values))
            if known == ["text"]:  # a bare text where rows are predicted
                raise BadRow(
                    f"{record.place}: expected a question and a context, got a text only.",
                    hint=f'Give a mapping: {{"{self.question}": "...", "{self.context}": "..."}}.',
                )
            raise MissingColumn(
                f"{record.place}: there is no column '{column}'.{did_you_mean(column, known)}",
                hint=f"The columns are: {', '.join(known[:12])}. Set task.question, task.context and task.answers to three of them.",
            )
        value = record.values[column]
        if not isinstance(value, str) or not value.strip():
            what = "is empty" if value is None or isinstance(value, str) else f"is {shown(value)}, expected text"
            raise BadRow(f"{record.place}: {column}: the {'question' if column == self.question else 'context'} {what}.", hint=MEND)
        return value

    def _target(self, record: Record, context: str) -> tuple[tuple[str, int | None], ...]:
        if record.values.get("is_impossible") is True:
            return ()
        if self.answers not in record.values:
            self._text(record, self.answers)  # raises MissingColumn
        where = f"{record.place}: {self.answers}:"
        target = tuple(answers_in(record.values[self.answers], record.values.get("answer_start"), where))
        if target and all(_found(context, text, start) is None for text, start in target):
            text, start = target[0]
            times = context.count(text)
            stands = f"stands in the context {times} times" if times else "does not stand in the context"
            if start is not None:
                inside = 0 <= start < len(context)
                stands += f", and not at answer_start {start}" if inside else f", and answer_start {start} is outside of it ({len(context)} characters)"
            raise BadRow(f"{where} the answer {shown(text)} {stands}.", hint="An answer is a piece of its context, word for word. " + MEND)
        return target

    def remarks(self, rows: Sequence[Row], split: str) -> Iterator[str]:
        """Yield how many answers stood elsewhere than stated, and how many references stand nowhere."""
        moved = lost = 0
        for row in rows:
            for text, start in row.target or ():
                at = _found(row.parts[1], text, start)
                moved += None not in (at, start) and at != start
                lost += at is None
        if moved:
            yield f"{moved} answer{'s' * (moved > 1)} of {split} did not stand at answer_start: found by the text, which stands once in the context."
        if lost:
            yield f"{lost} of the references of {split} stand nowhere in their context, or more than once: they score answers and are not learnt."

    def stratum(self, row: Row) -> str:
        """Return whether there is an answer: the share is kept the same in every split."""
        return "answer" if row.target else "no answer"

    def group(self, row: Row) -> str:
        """Return the context: all questions about a text stand on the same side of every split."""
        return row.parts[1]

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy that knows whether questions may go unanswered, and what answers are compared by. Raises EmptySplit without any answer."""
        from weitiao.metrics.answer import is_chinese

        answers = [row.target[0][0] for row in rows if row.target]
        if not answers:
            raise EmptySplit(
                f"no training row has an answer ({len(rows)} rows).", hint=f"Check task.answers={self.answers}: there is nothing to learn from empty answers."
            )
        none = len(answers) < len(rows) if self.no_answer is None else self.no_answer
        return self.revised(no_answer=none, units=("characters" if is_chinese(answers) else "words") if self.units == "auto" else self.units)

    def check(self, rows: Sequence[Row], split: str) -> None:
        """Raise BadRow where a row has no answer and the task must always give one."""
        for row in rows:
            if not row.target and self.no_answer is False:
                raise BadRow(
                    f"{row.place}: the {split} row has no answer, and every training row has one.",
                    hint="Set task.no_answer=true, add such rows to train, or remove the row.",
                )

    # ------------------------------------------------------------ features and batches

    @property
    def head(self) -> Head:
        """Two outputs per token: first and last of the answer."""
        return Head("AutoModelForQuestionAnswering", {"num_labels": 2}, instead="AutoModelForSequenceClassification")

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return a feature per window: question, window, and the characters of each token.

        The target is first and last token of the answer. Where it does not lie in the window whole, both are the token that
        stands for no answer: the first, [CLS], of encoders; the last, which alone has seen everything, where the tokenizer
        puts no such token first and last, as decoders' do not.
        """
        from weitiao.models import spans

        frame = tokens.frame(two=True)
        after = frame.closing(tokens.end_id)
        framed = len(frame.before) + len(frame.between) + len(after)
        at_start = bool(frame.before and frame.after) or not after
        contexts = list(dict.fromkeys(row.parts[1] for row in rows))
        placed = dict(zip(contexts, tokens.placed(contexts), strict=True))
        places_of = {context: spans.without_spaces(context, found) for context, (_, found) in placed.items()}
        features = []
        for row, asked in zip(rows, tokens.plain([row.parts[0] for row in rows]), strict=True):
            ids, places = placed[row.parts[1]][0], places_of[row.parts[1]]
            kept = asked[: min(self.max_question_tokens, (self.max_length - framed) // 2)]
            cut = len(asked) - len(kept)
            room = self.max_length - framed - len(kept)
            ahead = [*frame.before, *kept, *frame.between]
            answer = next((span for text, start in row.target or () if (span := _span(row.parts[1], text, start))), None)
            for window in spans.windows(len(ids), room=room, overlap=min(self.doc_stride, room // 2)):
                length = len(ahead) + window.stop - window.start + len(after)
                nothing = 0 if at_start else length - 1
                own = places[window]
                flat = [spans.OUTSIDE] * (2 * len(ahead)) + [edge for place in own for edge in place] + [spans.OUTSIDE] * (2 * len(after))
                flat[2 * nothing : 2 * nothing + 2] = [spans.NONE, spans.NONE]
                found = spans.tokens_of(own, *answer) if answer else None
                target = None if row.target is None else [len(ahead) + n for n in found] if found else [nothing, nothing]
                second = len(frame.before) + len(kept) + frame.second
                features.append(Features(row.id, [*ahead, *ids[window], *after], target, cut, second=second, places=flat))
                cut = 0
        return features

    def collate(self, items: Sequence[Features], layout: Layout) -> Batch:
        """Return input_ids and attention_mask (n, longest), and first and last token of the answers (n, 2)."""
        import torch

        from weitiao.models.layout import padded

        asked = all(item.target is not None for item in items)
        targets = torch.tensor([item.target for item in items]) if asked else None
        return Batch(padded(items, layout), targets, tuple(item.row for item in items), sum(map(len, items)))

    # ------------------------------------------------------------ objective and predictions

    def objective(self) -> Objective:
        """Return cross-entropy over where answers start and end."""
        from weitiao.models import every_token
        from weitiao.objectives.span import SpanCrossEntropy

        return SpanCrossEntropy(every_token.logits)

    def predict(self, model: Module, batch: Batch) -> Outputs:
        """Return for each window logits (tokens, 2) of being the answer's first and last token."""
        from weitiao.models import every_token
        from weitiao.objectives.span import SpanCrossEntropy

        logits = every_token.logits(model, batch)
        loss = None if batch.targets is None else SpanCrossEntropy(every_token.logits).loss(logits, batch)
        lengths = batch.inputs["attention_mask"].sum(1).tolist()
        return Outputs([row[:length].clone() for row, length in zip(logits.float().cpu(), lengths, strict=True)], loss)

    def decode(self, values: Sequence[Tensor], features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return the best answer over all windows of each row, with the probabilities of the best few.

        Where questions may go unanswered, `no_answer` measures by how much the score of no answer exceeds the best span's,
        and the value is empty where that is more than the threshold.
        """
        found = []
        for row, (candidates, none) in zip(rows, self._candidates(values, features, rows), strict=True):
            best = candidates[0][0] if candidates else ""
            scores = _probabilities([*candidates, *([("", none)] if self.no_answer else [])])
            measures = {}
            if self.no_answer and candidates:
                measures["no_answer"] = none - candidates[0][1]
                best = "" if measures["no_answer"] > (self.no_answer_threshold or 0.0) else best
            told = sorted(scores, key=lambda text: -scores[text])[:_SCORED]
            found.append(Prediction(row.id, best, {text: scores[text] for text in dict.fromkeys([best, *told]) if text in scores}, measures))
        return found

    def _candidates(self, values: Sequence[Tensor], features: Sequence[Features], rows: Sequence[Row]) -> list[tuple[list[tuple[str, float]], float]]:
        """Return for each row its best answers with their scores, best first, and the score of no answer: its lowest over the windows."""
        import numpy as np

        from weitiao.models import spans

        of_row: dict[str, list[tuple[numpy.ndarray, numpy.ndarray]]] = {}
        for feature, said in zip(features, values, strict=True):
            of_row.setdefault(feature.row, []).append((said.numpy(), np.asarray(feature.places).reshape(-1, 2)))
        found = []
        for row in rows:
            seen = of_row.get(row.id, [])
            every = [span for window in seen for span in spans.best(*window, most_tokens=self.max_answer_tokens, count=self.n_best)]
            every = sorted(every, key=lambda span: -span.score)[: self.n_best]
            none = min((spans.none_score(*window) for window in seen), default=0.0)
            found.append(([(row.parts[1][span.start : span.stop], span.score) for span in every], none))
        return found

    @property
    def tunes(self) -> bool:
        """Whether the threshold of no answer is left open."""
        return bool(self.no_answer) and self.no_answer_threshold is None

    def tuned(self, values: Sequence[Tensor], features: Sequence[Features], rows: Sequence[Row]) -> Self:
        """Return a copy with the threshold at which most answers match exactly; of equals the one next to 0."""
        import numpy as np

        from weitiao.metrics.answer import agreement, exact

        answered, silent, margins = [], [], []
        for row, (candidates, none) in zip(rows, self._candidates(values, features, rows), strict=True):
            references = [text for text, _ in row.target]
            if candidates:
                answered.append(agreement(exact, candidates[0][0], references, self._units))
                silent.append(agreement(exact, "", references, self._units))
                margins.append(none - candidates[0][1])
        if not margins:
            return self
        order = np.argsort(margins, kind="stable")
        margin, gain = np.asarray(margins)[order], np.asarray(answered)[order] - np.asarray(silent)[order]
        edges = np.concatenate([[margin[0] - 1], (margin[1:] + margin[:-1]) / 2, [margin[-1] + 1]])
        right = np.concatenate([[0.0], np.cumsum(gain)])
        right[1:-1][margin[1:] == margin[:-1]] = -np.inf  # rows with equal margins cannot be told apart
        edges, right = np.append(edges, 0.0), np.append(right, gain[margin <= 0].sum())
        best = edges[right >= right.max() - 1e-9]
        return self.revised(no_answer_threshold=round(float(best[np.argmin(np.abs(best))]), 4))

    # ------------------------------------------------------------ scores

    @property
    def _units(self) -> Literal["words", "characters"]:
        return "characters" if self.units == "characters" else "words"

    def metrics(self) -> tuple[Metric, ...]:
        """Return exact match and F1; where questions may go unanswered also of those that have an answer and of those that have none."""
        from weitiao.metrics.answer import AnswerF1, ExactMatch

        units = self._units
        whole = ExactMatch(units), AnswerF1(units)
        if not self.no_answer:
            return whole
        return *whole, ExactMatch(units, "answered"), AnswerF1(units, "answered"), ExactMatch(units, "unanswerable")

    def trivial(self, train: Sequence[Row], rows: Sequence[Row]) -> list[str]:
        """Return the first sentence of each context; or no answer, where training rows are right with that more often."""
        if self.no_answer:
            few = train[:_TRIED]
            first, none = (sum(self._agrees(value(row), row.target) for row in few) for value in (_first_sentence, lambda row: ""))
            if none > first:
                return [""] * len(rows)
        return [_first_sentence(row) for row in rows]

    def wanted(self, row: Row) -> Any:
        """Return the texts of the answers, each once."""
        return None if row.target is None else list(dict.fromkeys(text for text, _ in row.target))

    def closeness(self, prediction: Prediction, row: Row) -> float:
        """Return 1 for an exact match, else the F1."""
        return self._agrees(prediction.value, row.target)

    def _agrees(self, said: str, target: Sequence[tuple[str, int | None]]) -> float:
        from weitiao.metrics.answer import agreement, exact, overlap

        references = [text for text, _ in target]
        return max(agreement(measure, said, references, self._units) for measure in (exact, overlap))


def _found(context: str, text: str, start: int | None) -> int | None:
    """Return where an answer stands: where it is said to, else where its text stands if it stands once; None where neither is so."""
    if start is not None and start >= 0 and context.startswith(text, start):
        return start
    return context.index(text) if context.count(text) == 1 else None


def _span(context: str, text: str, start: int | None) -> tuple[int, int] | None:
    """Return the characters of an answer without white space at its ends: from, to."""
    at = _found(context, text, start)
    if at is None:
        return None
    left = at + len(text) - len(text.lstrip())
    return left, left + len(text.strip())


def _probabilities(candidates: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Return the probability of each text among candidates with scores: a softmax, equal texts added up."""
    import math

    highest = max((score for _, score in candidates), default=0.0)
    found: dict[str, float] = {}
    for text, score in candidates:
        found[text] = found.get(text, 0.0) + math.exp(score - highest)
    total = sum(found.values())
    return {text: share / total for text, share in found.items()}


def _first_sentence(row: Row) -> str:
    said = _SENTENCE.match(row.parts[1].strip())
    return said.group().strip() if said else ""
