"""Plain text: every token, or every hidden one, is learnt."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, NonNegativeInt, model_validator

from weitiao.answers.likely import Likely
from weitiao.core.contracts import IGNORED, Batch, Features, Head, Layout, Metric, Prediction, Source, Tokens
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, MissingColumn, ModelError

if TYPE_CHECKING:
    from torch import Tensor


class LanguageModeling(Likely):
    """Continue text (causal), or fill in hidden tokens (masked)."""

    masked: bool = False
    """false: predict each token from those before it (causal). true: predict hidden tokens from both sides (arXiv:1810.04805)."""
    max_length: int = Field(default=256, ge=4)
    """Tokens of a window, special tokens included. Longer texts are read in several windows: nothing is cut."""
    overlap: NonNegativeInt = 0
    """Tokens of the window before with which each further window of a text begins: context that is not learnt or counted again."""
    end_token: bool = True
    """Put the end token behind every text, and learn it. Set false where rows are pieces of one long text."""
    mask_share: float = Field(default=0.15, gt=0, lt=1)
    """Share of tokens that are hidden in each text (masked): 80 % of them behind the mask token, 10 % behind another one, 10 % as they are."""

    keeps_features: ClassVar[bool] = True

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> Self:
        if self.overlap > self.max_length // 2:
            raise ValueError(f"overlap: {self.overlap} is more than half of max_length={self.max_length}")
        return self

    @property
    def redraws(self) -> bool:
        """Whether other tokens are hidden in every epoch."""
        return self.masked

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return the text of a record, line ends kept. Raises MissingColumn, or BadRow naming file, line and field."""
        columns = [data.text] if isinstance(data.text, str) else data.text or ["text"]
        parts = []
        for column in columns:
            if column not in record.values:
                known = list(map(str, record.values))
                raise MissingColumn(
                    f"{record.place}: there is no column '{column}' for the text.{did_you_mean(column, known)}",
                    hint=f"The columns are: {', '.join(known[:12])}. Set data.text to one of them; a plain text file is read by data.name=text.",
                )
            value = record.values[column]
            if not isinstance(value, str) or not value.strip():
                what = "the text is empty" if isinstance(value, str) else f"expected text, got {shown(value)}"
                raise BadRow(f"{record.place}: {column}: {what}.", hint="Mend or remove the row, or set data.bad_rows=skip.")
            parts.append(value)
        return Row(record.id, "\n".join(parts), None, record.place)

    # ------------------------------------------------------------ features and batches

    def settled(self, tokens: Tokens) -> Self:
        """Return the task. Raises ModelError where a masked objective meets a model without a mask token."""
        if self.masked and tokens.mask_id is None:
            raise ModelError("the model has no mask token.", hint="Set task.masked=false, or choose an encoder such as BERT.")
        return self

    @property
    def head(self) -> Head:
        """A causal or a masked language model."""
        return Head("AutoModelForMaskedLM" if self.masked else "AutoModelForCausalLM", {})

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return the windows of each text. A row whose text has fewer than two tokens teaches nothing and is left out."""
        found = []
        before = [tokens.begin_id] if tokens.begin_id is not None else []
        after = [tokens.end_id] if self.end_token and tokens.end_id is not None else []
        for row, ids in zip(rows, tokens.plain([row.text for row in rows]), strict=True):
            if self.masked:
                found += self._masked_windows(row, ids, tokens)
                continue
            whole = [*before, *ids, *after]
            start = 0
            while start == 0 or start < len(whole):
                left = max(0, start - max(self.overlap, 1))  # one token is always seen twice: the first of a window is not predicted in it
                window = whole[left : left + self.max_length]
                if len(window) < 2:
                    break
                known = start - left
                targets = [token if n + 1 >= known else IGNORED for n, token in enumerate(window[1:])]
                first = len(tokens.decode(ids[:1]).encode()) if start == 0 and not before else 0
                found.append(Features(row.id, window, [*targets, IGNORED], unasked_bytes=first))
                start = left + len(window)
        return found

    def _masked_windows(self, row: Row, ids: Sequence[int], tokens: Tokens) -> list[Features]:
        frame = tokens.frame(two=False)
        head, tail = frame.before, frame.after
        room = self.max_length - len(head) - len(tail)
        found = []
        for start in range(0, len(ids), room - self.overlap):
            if start and len(ids) <= start + self.overlap:
                break
            seen = self.overlap if start else 0
            if start and len(ids) == start + 1:  # one token left over: it gets the one before as its context
                start, seen = start - 1, 1
            part = list(ids[start : start + room])
            if len(part) < 2:
                break
            maskable = [token if n >= seen and token not in tokens.special_ids else IGNORED for n, token in enumerate(part)]
            found.append(Features(row.id, [*head, *part, *tail], [*[IGNORED] * len(head), *maskable, *[IGNORED] * len(tail)]))
        return found

    def collate(self, items: Sequence[Features], layout: Layout) -> Batch:
        """Return token ids and the target of each position; for a masked model, with tokens hidden anew in each epoch."""
        from weitiao.models.layout import token_batch

        if self.masked:
            items = [self._hidden(item, layout) for item in items]
        return token_batch(items, layout)

    def _hidden(self, item: Features, layout: Layout) -> Features:
        """Return the features with mask_share of its tokens hidden, always the same ones for the same text and draw."""
        import numpy as np

        digest = hashlib.sha256(f"{item.row}\0{layout.draw}\0".encode() + np.asarray(item.input_ids, dtype=np.int64).tobytes()).digest()
        random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        open_ = np.flatnonzero(np.asarray(item.target) != IGNORED)
        if not len(open_):
            return item
        chosen = random.choice(open_, size=max(1, round(self.mask_share * len(open_))), replace=False)
        ids, targets = list(item.input_ids), [IGNORED] * len(item)
        for place, kind, other in zip(chosen.tolist(), random.random(len(chosen)), random.integers(0, layout.vocabulary, len(chosen)), strict=True):
            targets[place] = ids[place]
            if kind < 0.8:
                assert layout.mask_id is not None
                ids[place] = layout.mask_id
            elif kind < 0.9:
                ids[place] = int(other)
        return Features(item.row, ids, targets, item.cut)

    def trained_tokens(self, item: Features) -> list[bool]:
        """Return for each token whether it is learnt (causal), or may be hidden (masked)."""
        if self.masked:
            return [target != IGNORED for target in item.target]
        return [False, *(target != IGNORED for target in item.target[:-1])]

    # ------------------------------------------------------------ predictions

    def decode(self, values: Tensor, features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return one prediction per row: no text, but `nll`, `tokens` and, for causal models, `bytes` of what was predicted."""
        found = super().decode(values, features, rows)
        if self.masked:
            return found
        unasked = {feature.row: feature.unasked_bytes for feature in reversed(features)}  # that of each row's first window
        return [
            dataclasses.replace(prediction, measures={**prediction.measures, "bytes": float(len(row.text.encode()) - unasked[row.id])})
            if prediction.measures
            else prediction
            for prediction, row in zip(found, rows, strict=True)
        ]

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return loss and perplexity per token, and perplexity per byte for causal models."""
        from weitiao.metrics.likelihood import BytePerplexity, Perplexity, TokenLoss

        return (TokenLoss(), Perplexity()) if self.masked else (TokenLoss(), Perplexity(), BytePerplexity())
