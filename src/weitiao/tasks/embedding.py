"""A vector for each text: alike for texts that belong together, for search and similarity."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import PositiveFloat, model_validator

from weitiao.core import fingerprint, roles
from weitiao.core.contracts import Batch, Features, Head, Layout, Loss, Metric, Outputs, Prediction, Source, Task, Tokens, Traits
from weitiao.core.roles import Role
from weitiao.core.rows import Record, Row
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue, EmptySplit

if TYPE_CHECKING:
    import numpy
    from torch import Tensor
    from torch.nn import Module

    from weitiao.metrics.retrieval import Search
    from weitiao.objectives.contrastive import Contrastive
    from weitiao.objectives.cosent import CoSENT

_ROLES = {
    "given": (
        Role("query", ("query", "anchor", "question")),
        Role("positive", ("positive", "positives", "pos", "passage", "answer"), several=True),
        Role("negative", ("negative", "negatives", "neg"), several=True, optional=True),
    ),
    "same_label": (Role("text", ("text",)),),
    "scored": (Role("first text", ("sentence1", "text_a", "text1")), Role("second text", ("sentence2", "text_b", "text2"))),
}
"""What the texts of a row are, and the names of their columns where `data.text` names none."""
_LINE = 4
"""Numbers in `places` for each text of a row: its tokens, what it is, and the keys of its words and of its group."""
_NO_GROUP = -1


class Embedding(Task):
    """Turn texts into vectors whose cosine says how well they go together: query and passage, or texts of one kind."""

    pairs: Literal["given", "same_label", "scored"] = "given"
    """Where pairs come from. given: each row has a `query`, a `positive` (or a list) and perhaps a `negative` (or a list).
    same_label: rows are texts with a label, and texts of one label belong together. scored: two texts and how alike they are."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """What of the last hidden states is the vector: their mean, that of the first token, or that of the last. Default: what the
    checkpoint says (files of sentence-transformers), else mean for encoders and last for decoders."""
    temperature: PositiveFloat = 0.05
    """Cosines are divided by it: lower looks harder at the closest wrong texts."""
    symmetric: bool = False
    """Let each positive find its query among all queries of the step, too."""
    query_prefix: str | None = None
    """What stands before a query, such as `query: ` for E5 models, and before each text of labelled or scored rows. Default: what the
    checkpoint says, else nothing."""
    passage_prefix: str | None = None
    """What stands before a positive or a negative, such as `passage: `. Default: what the checkpoint says, else nothing."""
    score_range: tuple[float, float] | None = None
    """The lowest and the highest score of scored pairs. Default: those of the training rows. Training looks at their order only."""

    keeps_features: ClassVar[bool] = True
    trivial_is: ClassVar[str] = "tf_idf"

    @model_validator(mode="after")
    def _settings_that_go_together(self) -> Self:
        if self.symmetric and self.pairs != "given":
            raise ValueError(f"symmetric has no meaning for pairs: {self.pairs}, where both texts are searched for anyway")
        if self.passage_prefix and self.pairs != "given":
            raise ValueError(f"passage_prefix has no meaning for pairs: {self.pairs}; query_prefix stands before every text")
        if self.score_range is not None and not self.score_range[0] < self.score_range[1]:
            raise ValueError(f"score_range: expected [lowest, highest], got {list(self.score_range)}")
        return self

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return query, positives and negatives, two texts and a score, or text and label. Raises MissingColumn, or BadRow naming file, line and field.

        Without labels: the text (`query`, `text`, or else a passage) whose vector is asked for, or two texts to be compared.
        """
        if not labelled:
            return self._asked(record, data)
        columns = roles.columns(record, _ROLES[self.pairs], data.text)
        found = [roles.texts(record, role, names) for role, names in zip(_ROLES[self.pairs], columns, strict=True)]
        first = found[0][0]
        if self.pairs == "same_label":
            return Row(record.id, first, _label(record, data), record.place)
        second = found[1]
        if self.pairs == "scored":
            return Row(record.id, first, _score(record, data), record.place, parts=(first, second[0]))
        for names, texts in zip(columns[1:], found[1:], strict=True):
            if first in texts:
                raise BadRow(f"{record.place}: {names[0]}: the same text as the query, {shown(first)}.", hint=f"The two teach nothing. {roles.MEND}")
        if both := set(second) & set(found[2]):
            raise BadRow(f"{record.place}: {columns[2][0]}: a positive of the same row is a negative, too: {shown(min(both))}.", hint=roles.MEND)
        return Row(record.id, first, tuple(second), record.place, parts=(first, *second, *found[2]))

    def _asked(self, record: Record, data: Source) -> Row:
        """Return the row of a text to embed, or of two to compare. A passage stands behind an empty query."""
        first, *others = _ROLES[self.pairs]
        if not isinstance(data.text, list):
            first = replace(first, usual=(*first.usual, "text"))
        columns = roles.columns(record, (first, *others), data.text, one_will_do=True)
        there = [(replace(role, optional=False), names) for role, names in zip((first, *others), columns, strict=True) if names]
        text, *more = (roles.texts(record, role, names)[0] for role, names in there[: 2 if self.pairs == "scored" else 1])
        is_passage = self.pairs == "given" and not columns[0]
        return Row(record.id, text, None, record.place, parts=("", text) if is_passage else (text, *more))

    def stratum(self, row: Row) -> str:
        """Return the label: its share is kept the same in every split."""
        return row.target if self.pairs == "same_label" else ""

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy that knows the range of scores. Raises EmptySplit where the rows leave nothing to tell apart."""
        if self.pairs == "scored":
            scores = [row.target for row in rows]
            if min(scores) == max(scores):
                raise EmptySplit(f"every training row has the same score, {scores[0]}.", hint="Check data.label: there is nothing to learn.")
            return self.revised(score_range=self.score_range or (min(scores), max(scores)))
        targets = Counter(row.target for row in rows)
        if len(targets) < 2:
            what = "label" if self.pairs == "same_label" else "positive"
            raise EmptySplit(f"all {len(rows)} training rows have the same {what}.", hint="Check the column: there is nothing to tell apart.")
        if self.pairs == "same_label" and max(targets.values()) < 2:
            raise EmptySplit(f"each of the {len(rows)} training rows has a label of its own: no two texts belong together.", hint="Check data.label.")
        return self

    def check(self, rows: Sequence[Row], split: str) -> None:
        """Raise EmptySplit where no text of a split has another of its label to find."""
        if self.pairs == "same_label" and rows and max(Counter(label for label, _ in {(row.target, row.text) for row in rows}).values()) < 2:
            raise EmptySplit(
                f"no two different texts of the {split} rows have the same label: there is nothing to find among {len(rows)} rows.",
                hint=f"Bring more {split} rows, or a larger share: data.{split}_share.",
            )

    def suited(self, traits: Traits) -> Self:
        """Return a copy that knows how the checkpoint makes vectors, where the recipe does not say."""
        prefixes = {f"{kind}_prefix": traits.prompts.get(kind, "") for kind in ("query", "passage")}
        if self.pairs != "given":
            prefixes["passage_prefix"] = ""
        unsaid = {name: text for name, text in prefixes.items() if getattr(self, name) is None}
        return self.revised(pooling=self.pooling or traits.pooling or ("last" if traits.causal else "mean"), **unsaid)

    # ------------------------------------------------------------ features and batches

    @property
    def head(self) -> Head:
        """None: the last hidden states of the body are read."""
        return Head("AutoModel", {})

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return one feature per row: its texts one behind the other; each is cut at `max_length`, and what is cut is counted."""
        lines = [[(role, text) for role, text in self._lines(row) if text] for row in rows]
        prefixes = (self.query_prefix or "", self.passage_prefix or "", self.passage_prefix or "")
        encoded = iter(tokens.encode([prefixes[role] + text for line in lines for role, text in line], self.max_length))
        found = []
        for row, line in zip(rows, lines, strict=True):
            group = _key(row.target if self.pairs == "same_label" else row.text) if row.target is not None else _NO_GROUP
            ids: list[int] = []
            places: list[int] = []
            cut = 0
            for n, ((role, text), (own, lost)) in enumerate(zip(line, itertools.islice(encoded, len(line)), strict=True)):
                own = own or [tokens.pad_id]  # a text of nothing but what the tokenizer drops
                ids, cut = [*ids, *own], cut + lost
                places += [len(own), role if n else 0, _key(text), group]  # a row begins with a query, even where a passage is all there is
            found.append(Features(row.id, ids, row.target if self.pairs == "scored" else None, cut, places=places))
        return found

    def _lines(self, row: Row) -> Iterator[tuple[int, str]]:
        """Yield the texts of a row and what each is: 0 a query, 1 a positive, 2 a negative."""
        if self.pairs == "given" and row.parts:
            right = 1 if row.target is None else len(row.target)
            yield from zip([0, *[1] * right, *[2] * len(row.parts)], row.parts, strict=False)
        else:
            yield from ((0, text) for text in row.parts or (row.text,))

    def collate(self, items: Sequence[Features], layout: Layout) -> Batch:
        """Return input_ids and attention_mask with a line for each text; targets (lines, 3): what it is, its key, the key of its group.

        Of scored pairs the targets are (lines, 2): what it is, and the score of the row.
        """
        import torch

        from weitiao.models.layout import padded

        lines = []
        for item in items:
            start = 0
            for length, *_ in _placed(item):
                lines.append(Features(item.row, item.input_ids[start : start + length]))
                start += length
        return Batch(padded(lines, layout), torch.tensor(self._targets(items)), tuple(item.row for item in items), sum(map(len, items)))

    def _targets(self, items: Sequence[Features]) -> list[list[float]] | list[list[int]]:
        if self.pairs == "scored":
            return [[float(n > 0), item.target or 0.0] for item in items for n, _ in enumerate(_placed(item))]
        return [said for item in items for _, *said in _placed(item)]

    # ------------------------------------------------------------ objective and predictions

    def objective(self) -> Contrastive | CoSENT:
        """Return the likelihood of the right text among those of the step, or of the order of scores."""
        from weitiao.objectives.contrastive import Contrastive
        from weitiao.objectives.cosent import CoSENT

        if self.pairs == "scored":
            return CoSENT(self._vectors, self.temperature)
        return Contrastive(self._vectors, self.temperature, "row" if self.pairs == "given" else "group", self.symmetric)

    def _vectors(self, model: Module, batch: Batch) -> Tensor:
        from weitiao.models.pooling import vectors

        return vectors(model, batch, self.pooling or "mean")

    def predict(self, model: Module, batch: Batch) -> Outputs:
        """Return the vectors of each row's texts, (texts, width)."""
        assert batch.targets is not None
        begins = (batch.targets[:, 0] == 0).nonzero()[1:, 0].tolist()
        return Outputs(list(self._vectors(model, batch).cpu().tensor_split(begins)))

    def joint_loss(self, values: Sequence[Tensor], features: Sequence[Features]) -> Loss | None:
        """Return the loss of a whole split as if it were one step: it does not depend on batches."""
        import torch

        if not features or features[0].places[_LINE - 1] == _NO_GROUP:
            return None
        return self.objective().joint(torch.cat(list(values)), torch.tensor(self._targets(features)))

    def decode(self, values: Sequence[Tensor], features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return for rows with something to find the text in the first place (or its label), and the place of the right one among its measures.

        For a pair the cosine of its texts, and for a text alone its vector.
        """
        if not rows or rows[0].target is None or self.pairs == "scored":
            return [Prediction(row.id, self._said(vectors)) for row, vectors in zip(rows, values, strict=True)]
        import torch

        search = self._search(rows)
        queries = torch.stack([vectors[0] for vectors in values]).numpy()
        texts = torch.stack([values[n][k] for n, k in search.found_at]).numpy()
        return self._found(rows, search, queries, texts)

    def _said(self, vectors: Tensor) -> float | list[float]:
        if self.pairs == "scored" and len(vectors) == 2:
            return float((vectors[0] * vectors[1]).sum())
        return [round(value, 7) for value in vectors[0].tolist()]

    def _search(self, rows: Sequence[Row]) -> Search:
        from weitiao.metrics import retrieval

        return retrieval.of_labels(rows) if self.pairs == "same_label" else retrieval.of_pairs(rows)

    def _found(self, rows: Sequence[Row], search: Search, queries: Any, texts: Any) -> list[Prediction]:
        """Return what is found. queries, texts: vectors of length 1, dense or sparse, (rows, width) and (texts, width)."""
        from weitiao.metrics import retrieval

        def similarities(part: slice) -> numpy.ndarray:
            found: Any = queries[part] @ texts.T
            dense: numpy.ndarray = found.toarray() if hasattr(found, "toarray") else found
            return dense

        said = [rows[n].target for n, _ in search.found_at] if self.pairs == "same_label" else search.texts
        every = zip(rows, retrieval.judged(search, similarities), strict=True)
        return [Prediction(row.id, said[best], measures=measures) for row, (best, measures) in every]

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return nDCG, MRR and recall of searches; correlations of ranks and of numbers for scored pairs."""
        from weitiao.metrics import regression, retrieval

        return (regression.Spearman(), regression.Pearson()) if self.pairs == "scored" else retrieval.METRICS

    def trivial(self, train: Sequence[Row], rows: Sequence[Row]) -> list[Any] | None:
        """Return what is found by words that texts share, rare ones weighing more (TF-IDF over the texts that are searched); None where there are no words."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        from weitiao.metrics.generated import words

        by_words = TfidfVectorizer(tokenizer=words, token_pattern=None, lowercase=False, sublinear_tf=True)
        try:
            if self.pairs == "scored":
                found = by_words.fit_transform([text for row in rows for text in row.parts])
                return [float(value) for value in found[::2].multiply(found[1::2]).sum(axis=1).A1]
            search = self._search(rows)
            texts = by_words.fit_transform(search.texts)
        except ValueError:  # no text has a word in it
            return None
        return self._found(rows, search, by_words.transform([row.text for row in rows]), texts)

    def closeness(self, prediction: Prediction, row: Row) -> float:
        """Return one over the place of the first right text; for a label 1 or 0; for a score how near the cosine is to it on its range."""
        if isinstance(row.target, tuple):
            return 1 / prediction.measures["rank"] if "rank" in prediction.measures else 0.0
        if isinstance(row.target, float) and self.score_range is not None:
            low, high = self.score_range
            return 1.0 - abs(float(prediction.value) - (row.target - low) / (high - low))
        return super().closeness(prediction, row)

    def rests_on(self, rows: Sequence[Row]) -> list[str]:
        """Return how many texts were searched: a score means little without."""
        if self.pairs == "scored":
            return []
        search = self._search(rows)
        asked = sum(bool(right) for right in search.right)
        alone = f" {len(rows) - asked} have a label that no other proof text has, and are not scored." if asked < len(rows) else ""
        what = "the other proof texts" if self.pairs == "same_label" else "the distinct positives and negatives of the proof rows"
        return [f"Each of {asked} proof rows searches {len(search.texts):,} texts: {what}.{alone}"]

    def accompany(self, folder: Path, config: Any) -> None:
        """Write what sentence-transformers needs to open the model."""
        from weitiao.models import sentence

        prompts = {"query": self.query_prefix or "", "passage": (self.query_prefix if self.pairs != "given" else self.passage_prefix) or ""}
        width = int(config.get_text_config().hidden_size)
        sentence.write(folder, pooling=self.pooling or "mean", width=width, max_length=self.max_length, prompts=prompts)


def _placed(item: Features) -> Iterator[tuple[int, ...]]:
    """Yield for each text of a feature its tokens, what it is, its key, and the key of its group."""
    for start in range(0, len(item.places), _LINE):
        yield tuple(item.places[start : start + _LINE])


def _key(text: str) -> int:
    """Return 31 bits of a text's hash: equal texts, equal keys."""
    return int(fingerprint.of_text(text)[:8], 16) >> 1


def _cell(record: Record, data: Source, role: str, usual: Sequence[str]) -> tuple[str, Any]:
    """Return the column that is neither text and what it holds. Raises MissingColumn, BadRow where it is empty."""
    if isinstance(data.label, list):
        raise BadValue("data.label: several columns have no meaning for task embedding.", hint="Name one column.")
    column = data.label or next((name for name in usual if name in record.values), usual[0])
    if column not in record.values:
        raise roles.missing(record, column, role, "data.label to one of them")
    value = record.values[column]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRow(f"{record.place}: {column}: the {role} is empty.", hint=roles.MEND)
    return column, value


def _label(record: Record, data: Source) -> str:
    column, value = _cell(record, data, "label", ("label",))
    if not isinstance(value, str | int):
        raise BadRow(f"{record.place}: {column}: expected the name of a class, got {shown(value)}.", hint=roles.MEND)
    return str(value).strip()


def _score(record: Record, data: Source) -> float:
    column, value = _cell(record, data, "score", ("score", "label"))
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not math.isfinite(number):
        raise BadRow(f"{record.place}: {column}: expected a number, got {shown(value)}.", hint=roles.MEND)
    return number
