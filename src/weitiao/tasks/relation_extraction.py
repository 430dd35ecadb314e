"""Two entities in a text: how they are related."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import Annotated, ClassVar, Self

from pydantic import StringConstraints, model_validator

from weitiao.core.contracts import Features, Metric, Source, Tokens
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue, MissingColumn, TooLong, UnknownSetting
from weitiao.labels.entities import Entity, Sentence, sentence_of, tagged
from weitiao.labels.one_label import OneLabel
from weitiao.labels.reading import MEND

NEGATIVE = ("Other", "other", "no_relation", "NA", "None", "none", "无关系", "无", "其他")
"""What the label of two entities without a relation is usually called, in the order in which it is looked for."""
_AROUND_TYPES = {"head": "*", "tail": "^"}
_MARK, _ENTITY, _BETWEEN, _OUTSIDE = range(4)
"""Kinds of tokens. Of what does not fit, those of the last kind are cut first, the furthest from an entity before the others."""

Marker = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class RelationExtraction(OneLabel):
    """Say how two entities in a text are related: a head, a tail, and a label that may have a direction.

    The entities are written with plain symbols around them, `The @ pilot @ flew the # plane # .`, which need no new words in the vocabulary
    (arXiv:2102.01373). A text that is too long loses what stands furthest from its entities, never one of them.
    """

    entities: tuple[str, str] = ("head", "tail")
    """Columns that hold the entities, the head's first: [start, end] or {start, end}, in characters of the text, the end exclusive; in
    words where the text is a list of words (column `tokens`). Without these columns <e1> and <e2> in the text say where they stand."""
    markers: tuple[Marker, Marker, Marker, Marker] = ("@", "@", "#", "#")
    """What is written before and behind the head, and before and behind the tail."""
    entity_types: bool = False
    """Write what each entity is, too, as in `@ * person * Bill @`: the `type` beside its start and end, or the column head_type or tail_type."""
    negative_label: str | None = None
    """Label of entities without a relation: F1 leaves it out, and no triple is made of it; empty for none. Default: Other, no_relation, NA or
    the like, where training rows have it."""

    keeps_features: ClassVar[bool] = True
    takes: ClassVar[str] = "relations"

    @model_validator(mode="after")
    def _head_and_tail_differ(self) -> Self:
        if self.markers[:2] == self.markers[2:]:
            raise ValueError("markers are the same for head and tail")
        if self.entities[0] == self.entities[1]:
            raise ValueError("entities names one column twice")
        return self

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return the text with its entities marked, and the label. Raises MissingColumn, or BadRow naming file, line and field."""
        sentence = sentence_of(record, data)
        if not any(column in record.values for column in self.entities) and (found := tagged(sentence.text)):
            text, (head, tail) = found
            for name, entity in (("<e1>", head), ("<e2>", tail)):
                Sentence(text).entity([entity.start, entity.end], f"{record.place}: {name}:")
        else:
            text = sentence.text
            head, tail = (self._entity(record, column, sentence) for column in self.entities)
        target = self.target(record, data) if labelled else None
        return self.row(record.id, text, head, tail, place=record.place, target=target)

    def _entity(self, record: Record, column: str, sentence: Sentence) -> Entity:
        if column not in record.values:
            known = list(map(str, record.values))
            raise MissingColumn(
                f"{record.place}: there is no column '{column}' for an entity.{did_you_mean(column, known)}",
                hint=f"The columns are: {', '.join(known[:12])}. Expected spans in the columns that task.entities names, or <e1> and <e2> in the text.",
            )
        where = f"{record.place}: {column}:"
        entity = sentence.entity(record.values[column], where)
        kind = entity.type or str(record.values.get(f"{column}_type") or "")
        if self.entity_types and not kind:
            hint = f"Write {{start, end, type}} or a column {column}_type, or set task.entity_types=false."
            raise BadRow(f"{where} the type of the entity is missing.", hint=hint)
        return Entity(entity.start, entity.end, kind)

    def row(self, id: str, text: str, head: Entity, tail: Entity, *, place: str = "", target: str | None = None) -> Row:
        """Return the row that asks how two entities of a text are related. Raises BadRow where they overlap."""
        first, second = sorted((head, tail))
        if first.end > second.start:
            one, other = (shown(text[entity.start : entity.end]) for entity in (head, tail))
            raise BadRow(f"{place}: {' and '.join(self.entities)}: {one} and {other} overlap.", hint=MEND)
        pieces = (text[: first.start], text[first.start : first.end], text[first.end : second.start], text[second.start : second.end], text[second.end :])
        parts = (*pieces, "head" if first is head else "tail", first.type, second.type)
        return Row(id, "".join(piece for piece, _ in self._written(parts)), target, place, parts=parts)

    def _written(self, parts: Sequence[str]) -> list[tuple[str, int]]:
        """Return the pieces of a row as the model reads them, markers among them, and the kind of each."""
        before, first, between, second, after, role, *types = parts
        roles = (role, "tail" if role == "head" else "head")
        found = [(before, _OUTSIDE)]
        for entity, name, kind, (following, where) in zip((first, second), roles, types, ((between, _BETWEEN), (after, _OUTSIDE)), strict=True):
            opening, closing = self.markers[:2] if name == "head" else self.markers[2:]
            around = _AROUND_TYPES[name]
            typed = f"{around} {kind} {around} " if self.entity_types else ""
            said = "".join(piece for piece, _ in found)
            blank = [" " if text and not text.isspace() else "" for text in (said[-1:], following[:1])]
            found += [(f"{blank[0]}{opening} {typed}", _MARK), (entity, _ENTITY), (f" {closing}{blank[1]}", _MARK), (following, where)]
        return found

    def group(self, row: Row) -> str:
        """Return the text without markers: all pairs of entities of a text stand on the same side of a split."""
        return "".join(row.parts[:5])

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy that knows labels, class weights and which label is the negative one. Raises EmptySplit, UnknownSetting."""
        fitted = super().fitted(rows)
        labels = fitted.labels or []
        if fitted.negative_label is None:
            return fitted.revised(negative_label=next((label for label in NEGATIVE if label in labels), ""))
        if fitted.negative_label and fitted.negative_label not in labels:
            raise UnknownSetting(
                f"task.negative_label: no row has the label '{fitted.negative_label}'.{did_you_mean(fitted.negative_label, labels)}",
                hint=f"Labels: {', '.join(labels[:20])}. Empty for none.",
            )
        return fitted

    # ------------------------------------------------------------ features

    def settled(self, tokens: Tokens) -> Self:
        """Return the task. Raises BadValue where the tokenizer knows the markers so badly that head and tail look the same."""
        ids = tokens.plain(self.markers)
        if ids[:2] == ids[2:]:
            raise BadValue(
                f"task.markers: to the model's tokenizer {shown(self.markers[0])} is the same as {shown(self.markers[2])}.",
                hint="Choose symbols or words that its vocabulary has: task.markers=[BEFORE_HEAD,BEHIND_HEAD,BEFORE_TAIL,BEHIND_TAIL].",
            )
        return self

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return one feature per row; of a text that is too long the tokens nearest to its entities are kept, and the others counted.

        What stands outside of the entities is cut first, furthest first; then what stands between them, furthest from both;
        then the ends of the entities. Raises TooLong where not even that leaves room for the markers.
        """
        frame, found = tokens.frame(two=False), []
        room = self.max_length - frame.size
        placed = tokens.placed([row.text for row in rows])
        for row, (ids, spans), target in zip(rows, placed, self.encoded_targets(rows), strict=True):
            kept = list(ids)
            if len(ids) > room:
                kept = [ids[n] for n in _nearest(self._kinds(row, spans), room, row.place)]
            found.append(Features(row.id, [*frame.before, *kept, *frame.after], target, len(ids) - len(kept)))
        return found

    def _kinds(self, row: Row, spans: Sequence[tuple[int, int]]) -> list[int]:
        """Return the kind of each token: that of the innermost piece of which it has a character."""
        pieces = [(piece, kind) for piece, kind in self._written(row.parts) if piece]
        ends = list(itertools.accumulate(len(piece) for piece, _ in pieces))
        found = []
        for start, end in spans:
            first, last = (bisect.bisect_right(ends, min(at, ends[-1] - 1)) for at in (start, max(start, end - 1)))
            found.append(min(kind for _, kind in pieces[first : last + 1]))
        return found

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return macro F1 as SemEval-2010 task 8 defines it, micro F1 as TACRED does, and accuracy over all labels."""
        from weitiao.metrics.accuracy import Accuracy
        from weitiao.metrics.relation_f1 import RelationF1

        labels, negative = tuple(self.labels or ()), self.negative_label or ""
        return RelationF1(labels, negative), RelationF1(labels, negative, "micro"), Accuracy()


def _nearest(kinds: Sequence[int], room: int, place: str) -> list[int]:
    """Return the positions of the tokens that are kept, in their order."""
    needed = kinds.count(_MARK) + 2
    if needed > room:
        raise TooLong(
            f"{place}: the markers of two entities take {needed} tokens with one of each entity, and task.max_length leaves {room}.",
            hint=f"Raise task.max_length by {needed - room} or more.",
        )
    from_left, from_right = (_distances(kinds, order) for order in (range(len(kinds)), range(len(kinds) - 1, -1, -1)))
    # within an entity its beginning counts as near: the distance to the marker before it
    near = [left if kind == _ENTITY else min(left, right) for kind, left, right in zip(kinds, from_left, from_right, strict=True)]
    order = sorted(range(len(kinds)), key=lambda n: (kinds[n], near[n], n))
    return sorted(order[:room])


def _distances(kinds: Sequence[int], order: Sequence[int]) -> list[int]:
    """Return for each token how many steps ago, going in this order, a marker was seen."""
    found, steps = [0] * len(kinds), len(kinds)
    for n in order:
        steps = 0 if kinds[n] == _MARK else steps + 1
        found[n] = steps
    return found
