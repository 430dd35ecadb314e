"""Every word gets a tag: names of people and places, or parts of speech."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, field_validator

from weitiao.core import annotated, tagging, words
from weitiao.core.contracts import IGNORED, Batch, Features, Head, Layout, Metric, Objective, Outputs, Prediction, Source, Task, Tokens
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row
from weitiao.core.tagging import OUTSIDE, PLAIN, Entity
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue, EmptySplit, UnknownSetting

if TYPE_CHECKING:
    import numpy
    from torch import Tensor
    from torch.nn import Module

_ALIASES = {"bio": "iob2", "iob": "iob1", "bioes": "iobes"}
_PROBED_WORDS = 20_000
"""Words on which the linear head is fitted, at most."""


class TokenClassification(Task):
    """Find the entities of a sentence, such as people and places, or tag each of its words."""

    scheme: Literal["iob1", "iob2", "iobes", "bilou", "bmes", "bmeo", "plain"] | None = None
    """How tags mark entities; `plain` where each word has a tag for itself, such as its part of speech. Default: seen from the
    training rows. The model learns and predicts IOB2 tags, whatever the scheme of the file."""
    labels: list[str] | None = None
    """The tags the model predicts, in the order of its outputs: O, and B- and I- with each type (any names for plain tags).
    Default: those of the training rows."""
    max_length: int = Field(default=256, ge=4)
    """Tokens of a window, special tokens included. Longer sentences are read in several windows: nothing is cut."""
    overlap: NonNegativeInt | None = None
    """Tokens of the window before with which each further window of a sentence begins, at most half of it. A word in two windows
    is learnt and decided in the one that shows more around it. Default: a quarter of max_length."""
    class_weights: dict[str, PositiveFloat] | None = None
    """Weight of a type of entities (or of O, or of one tag) in the loss; 1 for those not named."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread evenly over all tags (arXiv:1512.00567)."""

    keeps_features: ClassVar[bool] = True
    probes: ClassVar[bool] = True
    trivial_is: ClassVar[str] = "frequent_tag"

    @field_validator("scheme", mode="before")
    @classmethod
    def _other_names(cls, value: Any) -> Any:
        return _ALIASES.get(value.lower(), value.lower()) if isinstance(value, str) else value

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return the words of a sentence and their tags as they are written. Raises MissingColumn, or BadRow naming file, line and field."""
        row = annotated.sentence(record, data, labelled=labelled)
        if labelled and self.scheme not in (None, PLAIN):
            self.check([row], "")
        return row

    def stratum(self, row: Row) -> str:
        """Return the types of the entities in a sentence: their share is kept the same in every split. Plain tags are not stratified."""
        if self.scheme == PLAIN or any(tagging.letter_of(tag) is None for tag in set(row.target)):
            return ""
        return " ".join(sorted(set(self._kinds(row.target))))

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy with scheme and labels from the rows. Raises BadRow for a tag of no scheme, EmptySplit where nothing is marked."""
        task = self.revised(scheme=self.scheme or tagging.recognised(row.target for row in rows))
        task.check(rows, "train")
        kinds = sorted({kind for row in rows for kind in task._kinds(row.target)})
        if len(kinds) < (2 if task.scheme == PLAIN else 1):
            why = f"every word has the tag {kinds[0]}" if kinds else f"no entity is marked: every tag is {OUTSIDE}"
            raise EmptySplit(f"the training rows teach nothing: {why} ({len(rows)} rows).", hint="Check data.label, and how the file was sorted or cut.")
        if self.labels is None:
            task = task.revised(labels=kinds if task.scheme == PLAIN else [OUTSIDE, *(f"{letter}-{kind}" for kind in kinds for letter in "BI")])
        task._check_labels(kinds)
        return task

    def _kinds(self, tags: Sequence[str]) -> list[str]:
        """Return the type of each entity that tags mark, or the plain tags."""
        return list(tags) if self.scheme == PLAIN else [kind for kind, _, _ in tagging.entities_of(tags)]

    @property
    def _known(self) -> list[str]:
        """The types of entities, or the plain tags, that the model predicts."""
        labels = self.labels or []
        return labels if self.scheme == PLAIN else sorted({tagging.type_of(label) for label in labels} - {""})

    def _check_labels(self, kinds: Sequence[str]) -> None:
        labels = self.labels or []
        if len(set(labels)) != len(labels):
            raise BadValue("task.labels names one label twice.", hint="Name each once.")
        if self.scheme != PLAIN:
            named = {label[2:] for label in labels if label[:2] in ("B-", "I-")}
            whole = {OUTSIDE, *(f"{letter}-{kind}" for kind in named for letter in "BI")}
            if wrong := sorted(whole ^ set(labels)):
                verb = "lacks" if wrong[0] in whole else "names"
                raise BadValue(f"task.labels {verb} '{wrong[0]}'.", hint="Name O, and B- and I- with each type: [O, B-PER, I-PER].")
        if unknown := sorted(set(kinds) - set(self._known)):
            raise BadRow(f"the training rows hold '{unknown[0]}', which task.labels does not list.", hint=f"task.labels: {', '.join(labels)}.")
        for name in self.class_weights or {}:
            if name not in (known := [*labels, *self._known]):
                raise UnknownSetting(f"task.class_weights: there is no '{name}'.{did_you_mean(name, known)}", hint=f"Known: {', '.join(dict.fromkeys(known))}.")

    def check(self, rows: Sequence[Row], split: str) -> None:
        """Raise BadRow where a tag has no letter that any scheme knows."""
        if self.scheme == PLAIN or None not in map(tagging.letter_of, {tag for row in rows for tag in row.target}):
            return
        row, n = next((row, n) for row in rows for n, tag in enumerate(row.target) if tagging.letter_of(tag) is None)
        of = f" of the {split} row" if split else ""
        raise BadRow(
            f"{row.place}: word {n + 1}{of} ({shown(row.parts[n])}) has the tag {shown(row.target[n])}, expected O or a tag such as B-PER.",
            hint="Mend the tag, or set task.scheme and data.bad_rows=skip to leave such rows out; tags that mark no entities need task.scheme=plain.",
        )

    def remarks(self, rows: Sequence[Row], split: str) -> Iterator[str]:
        """Yield what is odd: tags that the scheme does not allow where they stand, and types or plain tags that no training row has."""
        known, unseen, where = set(self._known), Counter[str](), dict[str, str]()
        odd, first = 0, ""
        for row in rows:
            for kind in self._kinds(row.target):
                if kind not in known:
                    unseen[kind] += 1
                    where.setdefault(kind, row.place)
            jumps = [] if self.scheme == PLAIN else list(tagging.jumps(row.target, str(self.scheme)))
            if jumps and not odd:
                first = f"{row.place}, word {jumps[0] + 1} ({row.parts[jumps[0]]}, {row.target[jumps[0]]})"
            odd += len(jumps)
        if odd:
            are = "1 tag is" if odd == 1 else f"{odd:,} tags are"
            yield (
                f"{split}: {are} out of place in {str(self.scheme).upper()}, the first at {first}. They are read as conlleval and seqeval do: "
                "what does not go on with an entity begins one."
            )
        what = "tag" if self.scheme == PLAIN else "type"
        for kind, count in sorted(unseen.items()):
            close = did_you_mean(kind, known)
            yield f"{split}: no training row has the {what} '{kind}' ({count:,} here, the first at {where[kind]}): it can only be missed.{close}"

    # ------------------------------------------------------------ features and batches

    @property
    def head(self) -> Head:
        """A token-classification head; where an architecture has none, a text classifier that is asked at every token."""
        labels = self.labels or []
        config = {"num_labels": len(labels), "id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}
        return Head("AutoModelForTokenClassification", config, instead="AutoModelForSequenceClassification")

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return the windows of each sentence. The first token of a word carries its tag; only what is too long of one word is cut."""
        from weitiao.models import subwords

        index = {label: n for n, label in enumerate(self.labels or [])}
        frame = tokens.frame(two=False)
        room = self.max_length - len(frame.before) - len(frame.after)
        overlap = min(self.max_length // 4 if self.overlap is None else self.overlap, room // 2)
        spelled = [subwords.spelled(row) for row in rows]
        ids_of = subwords.tokens_of((word for row in spelled for word in row), tokens)
        found = []
        for row, own in zip(rows, spelled, strict=True):
            pieces = [ids_of[word] for word in own]
            tags = [IGNORED] * len(own) if row.target is None else [index.get(tag, IGNORED) for tag in self._learnt(row)]
            spans = subwords.windows([len(piece) for piece in pieces], room, overlap)
            decided = subwords.deciding(spans, len(own)).tolist()
            for number, (first, end) in enumerate(spans):
                ids, targets, places = list(frame.before), [IGNORED] * len(frame.before), [-1] * len(frame.before)
                cut = 0
                for n in range(first, end):
                    piece = pieces[n][:room]
                    rest = len(piece) - 1
                    cut += len(pieces[n]) - len(piece)
                    ids += piece
                    targets += [tags[n] if decided[n] == number else IGNORED, *[IGNORED] * rest]
                    places += [n, *[-1] * rest]
                ids += frame.after
                targets += [IGNORED] * len(frame.after)
                places += [-1] * len(frame.after)
                found.append(Features(row.id, ids, None if row.target is None else targets, cut, places=places))
        return found

    def _learnt(self, row: Row) -> Sequence[str]:
        """Return the tags of a row as the model has them."""
        return row.target if self.scheme == PLAIN else tagging.tags_of(tagging.entities_of(row.target), len(row.parts))

    def collate(self, items: Sequence[Features], layout: Layout) -> Batch:
        """Return input_ids and attention_mask (n, longest), and the target of each position."""
        from weitiao.models.layout import token_batch

        return token_batch(items, layout)

    def trained_tokens(self, item: Features) -> list[bool]:
        """Return for each token whether it is the first of a word that is learnt in this window."""
        return [False] * len(item) if item.target is None else [target != IGNORED for target in item.target]

    # ------------------------------------------------------------ objective and predictions

    def objective(self) -> Objective:
        """Return the cross-entropy of the words' tags."""
        objective: Objective = self._objective(self._weights(), self.label_smoothing)
        return objective

    def _objective(self, weights: tuple[float, ...] | None, smoothing: float) -> Any:
        from weitiao.models import every_token
        from weitiao.objectives.cross_entropy import CrossEntropy

        return CrossEntropy(every_token.logits, weights, smoothing)

    def _weights(self) -> tuple[float, ...] | None:
        if not self.class_weights or not self.labels:
            return None
        kinds = {label: label if self.scheme == PLAIN else tagging.type_of(label) for label in self.labels}
        return tuple(self.class_weights.get(label, self.class_weights.get(kinds[label], 1.0)) for label in self.labels)

    def predict(self, model: Module, batch: Batch) -> Outputs:
        """Return logits (tokens, labels) for each window; the loss is the plain one, without class weights or smoothing."""
        from weitiao.models import every_token

        logits = every_token.logits(model, batch)
        loss = None if batch.targets is None else self._objective(None, 0.0).loss(logits, batch)
        sizes = batch.inputs["attention_mask"].sum(1).tolist()
        return Outputs([line[:size] for line, size in zip(logits.cpu(), sizes, strict=True)], loss)

    def decode(self, values: Sequence[Tensor], features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return the entities of each sentence, with the mean probability of their tags; of plain tags, the tag of each word.

        The tags are those of all sequences that IOB2 allows which are together most probable: no I-PER stands behind O.
        """
        import numpy as np
        from scipy.special import softmax

        from weitiao.models import subwords, tag_paths

        labels = self.labels or []
        scores, said, starts = subwords.per_word(values, features, rows)
        if self.scheme == PLAIN:
            best = scores.argmax(-1).tolist()
            return [Prediction(row.id, [labels[n] for n in best[starts[at] : starts[at + 1]]]) for at, row in enumerate(rows)]
        outside = labels.index(OUTSIDE)
        scores[~said] = np.where(np.arange(len(labels)) == outside, 0.0, -1e4)  # a word that no window holds is no entity
        path = tag_paths.best(scores, starts, [labels.index(f"B-{label[2:]}") if label.startswith("I-") else None for label in labels])
        marked = np.flatnonzero(path != outside)
        probability = dict(zip(marked.tolist(), softmax(scores[marked], axis=-1)[np.arange(len(marked)), path[marked]].tolist(), strict=True))
        found = []
        for at, row in enumerate(rows):
            start = int(starts[at])
            entities = tagging.entities_of([labels[tag] for tag in path[start : starts[at + 1]].tolist()])
            certain = {f"{kind} {first}-{end}": sum(probability[start + n] for n in range(first, end)) / (end - first) for kind, first, end in entities}
            found.append(Prediction(row.id, _said(row, entities), certain))
        return found

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return F1, precision and recall of whole entities, and the share of words with the right tag: for plain tags that alone."""
        from weitiao.metrics.entities import EntityF1, EntityPrecision, EntityRecall
        from weitiao.metrics.tags import TagAccuracy

        return (TagAccuracy(plain=True),) if self.scheme == PLAIN else (EntityF1(), EntityPrecision(), EntityRecall(), TagAccuracy(plain=False))

    def trivial(self, train: Sequence[Row], rows: Sequence[Row]) -> list[Any]:
        """Return for each word the tag that it has most often in training: O, or of plain tags the most frequent, where it is new."""
        seen, every = defaultdict[str, Counter[str]](Counter), Counter[str]()
        for row in train:
            tags = self._learnt(row)
            every.update(tags)
            for word, tag in zip(row.parts, tags, strict=True):
                seen[word][tag] += 1
        new = _most(every) if self.scheme == PLAIN else OUTSIDE
        usual = {word: _most(counts) for word, counts in seen.items()}
        guessed = [[usual.get(word, new) for word in row.parts] for row in rows]
        return guessed if self.scheme == PLAIN else [_said(row, tagging.entities_of(tags)) for row, tags in zip(rows, guessed, strict=True)]

    def probed(self, states: Tensor, batch: Batch) -> list[Tensor]:
        """Return the states of all tokens, padding left out: a batch does not tell which of them begin a word."""
        sizes = batch.inputs["attention_mask"].sum(1).tolist()
        return [line[:size] for line, size in zip(states, sizes, strict=True)]

    def probe(self, states: Sequence[numpy.ndarray], features: Sequence[Features], unseen: Sequence[numpy.ndarray], *, seed: int) -> list[Tensor]:
        """Fit logistic regression on the states of some learnt words, and return log-probabilities of each tag for the tokens of `unseen`."""
        import numpy as np
        import torch

        from weitiao.models import linear_head

        targets = np.concatenate([np.asarray(feature.target) for feature in features])
        asked = np.random.default_rng(seed).permutation(np.flatnonzero(targets != IGNORED))[:_PROBED_WORDS]
        chosen = np.zeros(len(targets), dtype=bool)
        chosen[asked] = True
        parts = np.split(chosen, np.cumsum([len(state) for state in states])[:-1])
        seen = np.concatenate([state[part] for state, part in zip(states, parts, strict=True)])  # never a second copy of all states
        said = linear_head.classified(seen, targets[chosen], np.concatenate(unseen), classes=len(self.labels or []), seed=seed)
        return list(torch.split(torch.from_numpy(said).float(), [len(state) for state in unseen]))

    def wanted(self, row: Row) -> Any:
        """Return the entities that the tags of a row mark, or its plain tags."""
        if row.target is None or self.scheme == PLAIN:
            return super().wanted(row)
        return _said(row, tagging.entities_of(row.target))

    def closeness(self, prediction: Prediction, row: Row) -> float:
        """Return the share of right tags, or of right entities among those predicted and true."""
        if self.scheme == PLAIN:
            return sum(map(str.__eq__, prediction.value, row.target)) / len(row.target)
        found, wanted = ({(entity["type"], entity["start"], entity["end"]) for entity in side} for side in (prediction.value, self.wanted(row)))
        return len(found & wanted) / len(found | wanted) if found | wanted else 1.0

    def breakdown(self, predicted: Sequence[Any], targets: Sequence[Any]) -> dict[str, Any]:
        """Return precision, recall, F1 and n of each type of entity, or of each plain tag."""
        from weitiao.metrics.entities import by_type
        from weitiao.metrics.f1 import per_class
        from weitiao.metrics.tags import by_tag

        kinds = sorted({*self._known, *(kind for tags in targets for kind in self._kinds(tags))})
        return {"per_class": per_class(kinds, (by_tag if self.scheme == PLAIN else by_type)(predicted, targets, kinds))}


def _said(row: Row, entities: Sequence[Entity]) -> list[dict[str, Any]]:
    """Return entities as a prediction says them: words counted from 0, and characters of the text."""
    if not entities:
        return []
    places = words.places(row.text, row.parts)
    spans = [(places[start][0], places[end - 1][1]) for _, start, end in entities]
    return [
        {"type": kind, "start": start, "end": end, "text": row.text[left:right], "start_char": left, "end_char": right}
        for (kind, start, end), (left, right) in zip(entities, spans, strict=True)
    ]


def _most(counts: Counter[str]) -> str:
    return max(sorted(counts), key=lambda tag: counts[tag])
