"""Rows as token ids, batches of them, and what a model says about a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weitiao.core.contracts.loss import Loss

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
"""Target of a position at which nothing is asked."""


@dataclass(frozen=True, slots=True)
class Features:
    """One row, or one window of a long row, as token ids."""

    row: str
    """Id of the row it came from."""
    input_ids: Sequence[int]
    target: Any = None
    """What is asked: one value for the row, or one id per position (IGNORED where nothing is asked)."""
    cut: int = 0
    """Tokens past the limit that did not fit."""
    unasked_bytes: int = 0
    """Bytes of the row's text for which no position is asked, such as those of a first token that nothing stands before."""
    second: int = 0
    """Position from which the second of two texts stands, or the answer of an encoder-decoder; 0 where there is one text, or the model does
    not tell two apart."""
    places: Sequence[int] = ()
    """The way back from tokens to the row, such as the word or the characters that each token stands for: the task says what they mean."""

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Layout:
    """How features become a batch. The loss and its gradient do not depend on it."""

    pad_id: int
    packed: bool = False
    """Whether rows stand one behind the other in one line without padding, each seeing only itself; else padded at the end."""
    most_tokens: int | None = None
    """Tokens of a packed batch, at most (a longer row stands alone)."""
    shares: bool = False
    """Whether tokens that all rows of a packed batch begin with, and at which nothing is asked, stand there once."""
    mask_id: int | None = None
    """The token that hides another, for masked language models."""
    vocabulary: int = 0
    """Ids there are."""
    draw: int = 0
    """Which draw of what is random in the rows, such as masked tokens: the epoch in training, from 1; 0 in evaluation."""
    decoder_start: int | None = None
    """The token that an answer begins behind in an encoder-decoder; None for a model that reads and answers in one line."""
    token_types: bool = False
    """Whether the model is told which of two texts a token belongs to (token_type_ids)."""


@dataclass(slots=True)
class Batch:
    """Tensors for one forward. `inputs` are keyword arguments of the model; labels are never among them."""

    inputs: dict[str, Tensor]
    """Of shape (rows, longest), or (1, tokens) where packed; a row with several sequences, such as options, has a line for each."""
    targets: Tensor | None
    """One value per row, or one per position, in the shape of the inputs; or what the task says of each line, (lines, k)."""
    rows: tuple[str, ...]
    tokens: int
    """Real tokens of the rows: padding is not counted, a shared prefix is, once for every row."""
    lengths: tuple[int, ...] | None = None
    """Tokens of each row where packed, shared ones not counted; None where padded."""
    shared: int = 0
    """Tokens of a shared prefix: every row of the packed batch begins with them: they stand there once, before the rows' own."""
    lines: tuple[int, ...] | None = None
    """Lines of each row, where rows have several, one behind the other; None where each has one."""
    weights: Tensor | None = None
    """Where lines are scored by their likelihood, in the shape of the inputs: how much the log-likelihood of the token after each
    position counts, 0 where it is not asked."""

    def to(self, device: Any) -> Batch:
        """Return the batch on a device."""
        return Batch(
            {name: tensor.to(device) for name, tensor in self.inputs.items()},
            None if self.targets is None else self.targets.to(device),
            self.rows,
            self.tokens,
            self.lengths,
            self.shared,
            self.lines,
            None if self.weights is None else self.weights.to(device),
        )


@dataclass(slots=True)
class Outputs:
    """What a model said about a batch, on the CPU in fp32, one entry per row of the batch."""

    values: Tensor | list[Tensor]
    """(rows, k); a list of (m, k) where something is said about every token, or about every line of a row."""
    loss: Loss | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the task reads from the outputs for one row."""

    id: str
    value: Any
    """The label, the list of labels, the number, or the generated text; None where nothing was predicted."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Label -> probability, where there is such a thing."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """What was measured on the row, such as `nll` and `tokens`: the negative log-likelihood of its labelled tokens and their number."""

    @classmethod
    def of(cls, id: str, value: Any) -> Prediction:
        """Return the prediction of a value for a row; a value that is a prediction already stays what it is."""
        return value if isinstance(value, Prediction) else cls(id, value)

    def as_dict(self) -> dict[str, Any]:
        """Return id, prediction, and scores and measures where there are any, to six decimals: what is printed of it."""
        line: dict[str, Any] = {"id": self.id, "prediction": self.value}
        for name, numbers in (("scores", self.scores), ("measures", self.measures)):
            if numbers:
                line[name] = {key: round(value, 6) for key, value in numbers.items()}
        return line
