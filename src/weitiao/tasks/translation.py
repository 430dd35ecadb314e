"""A text into another language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from weitiao.answers.text_to_text import PLACE, TextToText
from weitiao.core.contracts import Metric, references
from weitiao.core.rows import Record, Row

_PAIR = "translation"
"""Key under which hub data sets hold both texts, each under the name of its language."""
_LOOKED_AT = 1_000
"""Training rows from whose translations the script is told."""


class Translation(TextToText):
    """Translate texts: parallel files, tables with a column for each language, or JSON."""

    source_language: str | None = None
    """Name of the texts' language as the prompt says it, such as English."""
    target_language: str | None = None
    """Name of the language to translate into, as the prompt says it, such as German."""
    bleu_tokenize: Literal["auto", "13a", "zh", "char"] = "auto"
    """What BLEU counts as a word: 13a (languages with spaces), zh (each Chinese character a word) or char, as sacrebleu calls them.
    auto: zh where most characters of the training translations are Chinese, char for Japanese and Thai, else 13a."""

    keeps_features: ClassVar[bool] = True
    trivial_is: ClassVar[str] = "copy"
    usual: ClassVar[tuple[tuple[str, str], ...]] = (("source", "target"), ("src", "tgt"), ("source_text", "target_text"), ("input", "output"))

    def instruction(self) -> str:
        """Return the prompt for a model that continues text, with the languages that are named."""
        languages = (f" from {self.source_language}" if self.source_language else "") + (f" to {self.target_language}" if self.target_language else "")
        return f"Translate{languages}: {PLACE}"

    def fields(self, record: Record) -> Mapping[str, Any]:
        """Return the columns of a record; those of `translation: {en: ..., de: ...}` too, the first language as the text where none is named."""
        pair = record.values.get(_PAIR)
        if not isinstance(pair, Mapping):
            return record.values
        named = dict(zip(self.usual[0], pair.values(), strict=False)) if len(pair) == 2 else {}
        return {**record.values, **named, **pair}

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy that knows what BLEU counts as a word."""
        if self.bleu_tokenize != "auto":
            return self
        texts = "".join(references(row.target)[0] for row in rows[:_LOOKED_AT])
        letters = [character for character in texts if character.isalpha()]
        kana, thai, chinese = (sum(low <= c <= high for c in letters) for low, high in (("\u3040", "\u30ff"), ("\u0e00", "\u0eff"), ("\u3400", "\u9fff")))
        unspaced = kana + thai + chinese
        if 2 * unspaced <= len(letters):
            return self.revised(bleu_tokenize="13a")
        return self.revised(bleu_tokenize="zh" if 10 * (kana + thai) < unspaced else "char")

    def metrics(self) -> tuple[Metric, ...]:
        """Return loss and perplexity per token; BLEU, chrF, length, repetition and ends of the generated translations."""
        from weitiao.metrics.bleu import Bleu
        from weitiao.metrics.chrf import Chrf
        from weitiao.metrics.generated import Distinct, LengthRatio, StopRate
        from weitiao.metrics.likelihood import Perplexity, TokenLoss

        tokenize = "13a" if self.bleu_tokenize == "auto" else self.bleu_tokenize
        return TokenLoss(), Perplexity(), Bleu(tokenize), Chrf(), LengthRatio(), StopRate(), Distinct()

    def trivial(self, train: Sequence[Row], rows: Sequence[Row]) -> list[Any]:
        """Return the texts as they are: names and numbers are right, and little else should be."""
        return [row.text for row in rows]
