"""Answers that are texts: their likelihood is learnt, and some are generated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from weitiao.answers.likely import Likely
from weitiao.core.contracts import Answer, Batch, Features, Generation, Layout, Prediction
from weitiao.core.rows import Row
from weitiao.errors import BadRow, ModelError


class Generating(Likely):
    """Learn answers token by token, measure how probable the reference answers are, and generate some."""

    max_new_tokens: PositiveInt = 256
    """Longest generated answer in tokens."""
    temperature: float = Field(default=0.0, ge=0, le=5)
    """0 takes the most probable token each time; above, tokens are drawn."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Tokens are drawn from the smallest set that has this probability (arXiv:1904.09751)."""
    stop: tuple[str, ...] = ()
    """Strings at which an answer ends besides its end token, such as a line break; they are no part of it."""
    generate_rows: NonNegativeInt = 32
    """Proof rows for which an answer is generated, before and after, at most: the scores of generated texts rest on these."""

    @field_validator("stop")
    @classmethod
    def _stops_say_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("an empty string stands everywhere, so every answer would be empty")
        return value

    # ------------------------------------------------------------ batches

    def collate(self, items: Sequence[Features], layout: Layout) -> Batch:
        """Return token ids and the target of each position, packed or padded; for an encoder-decoder the texts and what its decoder reads."""
        from weitiao.models.layout import decoder_batch, token_batch

        return token_batch(items, layout) if layout.decoder_start is None else decoder_batch(items, layout)

    def trained_tokens(self, item: Features) -> list[bool]:
        """Return for each token whether it is learnt: what some position is asked for."""
        if item.second:  # an encoder-decoder: the decoder says what stands from here on
            return [target >= 0 for target in item.target]
        return [False, *(target >= 0 for target in item.target[:-1])]

    # ------------------------------------------------------------ answers

    @property
    def generation(self) -> Generation:
        """How answers are generated."""
        return Generation(self.max_new_tokens, self.temperature, self.top_p, self.stop)

    @property
    def generated_rows(self) -> int:
        """Proof rows for which an answer is generated."""
        return self.generate_rows

    def answered(self, prediction: Prediction, answer: Answer) -> Prediction:
        """Return the prediction with the generated text, its length and whether it ended by itself."""
        measures = {**prediction.measures, "answer_tokens": float(answer.tokens), "stopped": float(answer.stopped)}
        return Prediction(prediction.id, answer.text, prediction.scores, measures)


@contextlib.contextmanager
def naming(row: Row) -> Iterator[None]:
    """Raise BadRow, naming the row's place, where its template fails."""
    try:
        yield
    except ModelError as error:
        raise BadRow(f"{row.place}: {error.message}", hint=error.hint) from None
