"""What a task needs of a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from weitiao.core.rows import Turn


@dataclass(frozen=True, slots=True)
class Frame:
    """The tokens that a model wants around its texts."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    """What stands between two texts; a line break where the model's own form has nothing."""
    after: tuple[int, ...]
    second: int
    """How many tokens of `between` count as the first text's."""

    @property
    def size(self) -> int:
        """Tokens that two texts need besides their own."""
        return len(self.before) + len(self.between) + len(self.after)

    def closing(self, end_id: int | None) -> tuple[int, ...]:
        """Return the tokens that close two texts even where the model's own form has none: its end token, or what stands between."""
        return self.after or (self.between if end_id is None else (end_id,))


class Tokens(Protocol):
    """What a task needs of a tokenizer."""

    pad_id: int
    begin_id: int | None
    """The token that the tokenizer puts before every text; None where it puts none."""
    end_id: int | None
    """The token that ends a text; None where there is none."""
    mask_id: int | None
    unknown_id: int | None
    """The token for what the vocabulary cannot spell; None where it can spell everything."""
    decoder_start: int | None
    """The token that an answer begins behind in an encoder-decoder; None for a model that reads and answers in one line."""
    special_ids: frozenset[int]
    vocabulary: int
    """Ids there are."""
    longest: int | None
    """Positions the model has; None where it does not say."""

    def encode(self, texts: Sequence[str], max_length: int) -> list[tuple[list[int], int]]:
        """Return for each text its ids with special tokens, at most `max_length`, and the number of tokens cut."""
        ...

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Return for each text the ids that the decoder of an encoder-decoder is to say: the tokenizer's own form of a target, the end token last."""
        ...

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return for each text its ids; no special token is added, and none is read from the text."""
        ...

    def placed(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Return for each text its ids as `plain` does, and the characters of each: from, to. Raises ModelError where the tokenizer does not tell."""
        ...

    def frame(self, *, two: bool) -> Frame:
        """Return the tokens that stand around one text, or around two."""
        ...

    def spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of a rendered text, special tokens recognised and none added, and the characters of each."""
        ...

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """Return the text of ids, with special tokens only where asked for."""
        ...

    def use_template(self, name: str) -> str:
        """Choose the chat template, `auto` for the model's own or a default; return the name of the one in use."""
        ...

    def render(self, turns: Sequence[Turn], *, answer: bool) -> str:
        """Return a conversation in the template; with `answer`, up to where the assistant's answer begins."""
        ...
