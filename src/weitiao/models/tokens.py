"""The tokenizer, with its traps defused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers

from weitiao.errors import ModelError, NoPadToken
from weitiao.models.load import _quiet, _translated
from weitiao.models.locate import Located, check_tokenizer

_NO_LIMIT = 1_000_000
"""Tokenizers without a limit report a huge `model_max_length`."""


class Tokenizer:
    """Text to ids. Padding and truncation that a tokenizer file prescribes (MiniLM's pads all to 128) are ignored."""

    def __init__(self, located: Located, positions: int | None) -> None:
        """Open the tokenizer of a model. positions: what the model's configuration says, None where it does not.

        Raises NotFound where there is none, NoPadToken where nothing can pad.
        """
        check_tokenizer(located)
        with _translated(located), _quiet():
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(located.place, trust_remote_code=False)
        if self.tokenizer.pad_token is None:
            if self.tokenizer.eos_token is None:
                raise NoPadToken(f"{located.asked}: the tokenizer has neither a pad nor an end token.", hint="Add one: tokenizer.pad_token = ...")
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.tokenizer.padding_side = "right"
        if not self.tokenizer("a", add_special_tokens=False)["input_ids"]:
            raise ModelError(f"{located.asked}: the tokenizer turns text into nothing.", hint="Its vocabulary is empty or damaged.")
        self.pad_id: int = self.tokenizer.pad_token_id
        limits = [n for n in (self.tokenizer.model_max_length, positions) if n is not None and n < _NO_LIMIT]
        self.longest: int | None = min(limits, default=None)

    def encode(self, texts: Sequence[str], max_length: int) -> list[tuple[list[int], int]]:
        """Return for each text its ids with special tokens, at most `max_length`, and the number of tokens cut."""
        found: list[tuple[list[int], int]] = []
        with _quiet():
            for start in range(0, len(texts), 8192):
                part = list(texts[start : start + 8192])
                whole = self._ids(part)
                long = [n for n, ids in enumerate(whole) if len(ids) > max_length]
                cut = dict(zip(long, self._ids([part[n] for n in long], max_length), strict=True)) if long else {}
                found += [(cut.get(n, ids), max(0, len(ids) - max_length)) for n, ids in enumerate(whole)]
        return found

    def _ids(self, texts: list[str], max_length: int | None = None) -> list[list[int]]:
        options = {"truncation": True, "max_length": max_length} if max_length else {"truncation": False}
        ids: list[list[int]] = self.tokenizer(texts, padding=False, return_attention_mask=False, return_token_type_ids=False, verbose=False, **options)[
            "input_ids"
        ]
        return ids

    def save(self, folder: Path, max_length: int) -> None:
        """Write the tokenizer so that plain transformers, told to truncate, cuts where we do."""
        before = self.tokenizer.model_max_length
        self.tokenizer.model_max_length = max_length
        try:
            self.tokenizer.save_pretrained(folder)
        finally:
            self.tokenizer.model_max_length = before


def positions(config: Any) -> int | None:
    """Return how many tokens a model can take, specials included; None where its configuration does not say."""
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if limit is None or limit <= 0:
        return None
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer", "data2vec-text"):
        return int(limit) - (config.pad_token_id or 0) - 1  # their positions start behind the pad id
    return int(limit)
