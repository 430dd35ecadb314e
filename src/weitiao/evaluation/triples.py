"""From raw texts to triples: one artifact finds the entities, another says how each two of them are related."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weitiao.core import fingerprint
from weitiao.core.contracts import Prediction, Source
from weitiao.core.rows import Record, Row
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue
from weitiao.evaluation import score
from weitiao.evaluation.evaluate import labelled_rows, source_for
from weitiao.evaluation.predictor import Predictor, load, text_columns
from weitiao.labels.entities import Entity, Sentence, sentence_of
from weitiao.labels.reading import MEND, cell
from weitiao.metrics.relation_f1 import directed
from weitiao.metrics.triples import TripleScore
from weitiao.tasks.relation_extraction import RelationExtraction

MOST_PAIRS = 1000
"""Pairs of entities of one text that are asked for, at most, the nearest first: all of a text with 32 entities."""
COLUMN = "triples"
"""Column or key that holds the triples of a text, where a file has them."""


@dataclass(frozen=True, slots=True)
class Triple:
    """A head, a relation and a tail; equal to another where both spans and the relation are."""

    head: tuple[int, int]
    relation: str
    tail: tuple[int, int]


class Chain:
    """Predicts the triples of texts."""

    def __init__(self, entities: Predictor, relations: Predictor) -> None:
        """entities: of an artifact whose predictions are entities. relations: of one of relation extraction. Raises BadValue where they are not."""
        if not isinstance(relations.task, RelationExtraction):
            raise BadValue(f"{relations.artifact.folder} was made for {relations.task.name}.", hint="Triples need an artifact of relation_extraction.")
        self.entities, self.relations, self.task = entities, relations, relations.task
        labels = [label for label in self.task.labels or [] if label != self.task.negative_label]
        self._directed = any(directed(label)[0] != label for label in labels)

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return the text of a record and, where labelled, its triples. Raises MissingColumn, or BadRow naming file, line and field."""
        sentence = sentence_of(record, data)
        if not sentence.text.strip():
            raise BadRow(f"{record.place}: the text is empty.", hint=MEND)
        return Row(record.id, sentence.text, _gold(record, sentence) if labelled else None, record.place)

    def rows(self, rows: Sequence[Row]) -> list[Prediction]:
        """Return for each row a prediction whose value is a list of triples, by where they stand: head, relation, tail, score.

        All ordered pairs of entities are asked for, up to MOST_PAIRS a text. Where labels say the direction by (e1,e2) and (e2,e1), one
        order is enough, that of the text. The score is the probability of the relation.
        """
        column = text_columns(self.entities.artifact.recipe.data)[0]
        texts = [Record({column: row.text}, row.place, None, row.id) for row in rows]
        asked = [self.entities.task.read(record, self.entities.artifact.recipe.data, labelled=False) for record in texts]
        found = [entities_of(prediction, row.text) for prediction, row in zip(self.entities.rows(asked), rows, strict=True)]
        pairs = [(n, pair) for n, entities in enumerate(found) for pair in self._pairs(entities)]
        questions = [self.task.row(f"{rows[n].id}/{at}", rows[n].text, *pair, place=rows[n].place) for at, (n, pair) in enumerate(pairs)]
        best: list[dict[Triple, dict[str, Any]]] = [{} for _ in rows]
        for (n, pair), said in zip(pairs, self.relations.rows(questions) if questions else [], strict=True):
            if said.value == self.task.negative_label:
                continue
            relation, backwards = directed(said.value)
            head, tail = reversed(pair) if backwards else pair
            triple, probability = Triple((head.start, head.end), relation, (tail.start, tail.end)), said.scores[said.value]
            if triple not in best[n] or best[n][triple]["score"] < probability:
                sides = {"head": _shown(head, rows[n].text), "relation": relation, "tail": _shown(tail, rows[n].text)}
                best[n][triple] = {**sides, "score": round(probability, 6)}
        return [Prediction(row.id, [best[n][key] for key in sorted(best[n], key=lambda t: (t.head, t.tail, t.relation))]) for n, row in enumerate(rows)]

    def _pairs(self, entities: Sequence[Entity]) -> list[tuple[Entity, Entity]]:
        ordered = itertools.combinations(sorted(set(entities)), 2)
        pairs = [pair for pair in ordered if pair[0].end <= pair[1].start]
        pairs = sorted(pairs, key=lambda pair: pair[1].start - pair[0].end)
        if not self._directed:
            pairs = [way for pair in pairs for way in (pair, pair[::-1])]
        return pairs[:MOST_PAIRS]


def entities_of(prediction: Prediction, text: str) -> list[Entity]:
    """Return the entities of a prediction: {type, start_char, end_char} each, in characters of the text. Raises BadValue where it holds none such."""
    found = []
    for entity in prediction.value if isinstance(prediction.value, list) else [prediction.value]:
        if not isinstance(entity, dict) or not {"type", "start_char", "end_char"} <= set(entity):
            raise BadValue(
                f"--entities: expected predictions that are entities, got {shown(entity)}.",
                hint="Name an artifact of token_classification that finds entities.",
            )
        if text[entity["start_char"] : entity["end_char"]].strip():
            found.append(Entity(entity["start_char"], entity["end_char"], entity["type"]))
    return found


def chained(relations: str | Path, entities: str | Path, *, device: str = "auto") -> Chain:
    """Return what predicts triples with two artifacts. Raises ArtifactError, ModelError, NoDevice, BadValue."""
    return Chain(load(entities, device=device), load(relations, device=device))


def evaluate(relations: str | Path, entities: str | Path, file: str | Path, *, device: str = "auto") -> dict[str, Any]:
    """Return F1, precision and recall of the triples of a file, with intervals, entities and relations together."""
    chain = chained(relations, entities, device=device)
    rows, skipped = labelled_rows(chain, source_for(chain.relations.artifact.recipe.data, str(file)))
    said = [Prediction(p.id, [_triple(entry) for entry in p.value]) for p in chain.rows(rows)]
    targets = [row.target for row in rows]
    metrics = [TripleScore(), TripleScore("precision"), TripleScore("recall")]
    return {
        "artifact": str(chain.relations.artifact.folder.resolve()),
        "entities": str(chain.entities.artifact.folder.resolve()),
        "rows": str(file),
        "n": len(rows),
        "skipped": asdict(skipped),
        "metrics": {metric.name: score.score(metric, said, targets) for metric in metrics},
        "hashes": {
            "artifact": chain.relations.artifact.manifest["hash"],
            "entities": chain.entities.artifact.manifest["hash"],
            "rows": fingerprint.of_texts(part for row in rows for part in (row.id, row.text, repr(row.target))),
        },
    }


def _gold(record: Record, sentence: Sentence) -> tuple[Triple, ...]:
    where = f"{record.place}: {COLUMN}:"
    found = []
    given = cell(record, COLUMN, "label")
    if not isinstance(given, list):
        raise BadRow(f"{where} expected a list of triples, got {shown(given)}.", hint='Write [{"head": [0, 5], "relation": "born_in", "tail": [20, 26]}].')
    for n, triple in enumerate(given, 1):
        if not isinstance(triple, dict) or not {"head", "relation", "tail"} <= set(triple):
            raise BadRow(f"{where} triple {n}: expected head, relation and tail, got {shown(triple)}.", hint=MEND)
        head, tail = (sentence.entity(triple[side], f"{where} triple {n}: {side}:") for side in ("head", "tail"))
        found.append(Triple((head.start, head.end), str(triple["relation"]), (tail.start, tail.end)))
    return tuple(found)


def _shown(entity: Entity, text: str) -> dict[str, Any]:
    return {"text": text[entity.start : entity.end], "type": entity.type, "start": entity.start, "end": entity.end}


def _triple(entry: dict[str, Any]) -> Triple:
    head, tail = ((entry[side]["start"], entry[side]["end"]) for side in ("head", "tail"))
    return Triple(head, entry["relation"], tail)
