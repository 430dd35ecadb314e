"""A long text in few words: summaries, headlines, titles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from weitiao.answers.text_to_text import PLACE, TextToText
from weitiao.core.contracts import Metric, references
from weitiao.core.rows import Row

_SENTENCE = re.compile(r".+?(?:[.!?]+[\"'”’)\]]*(?=[\s\u3400-\u9fff]|$)|[。！？]+[”’」』）]*|\n|$)", re.DOTALL)
"""A sentence, or a line: behind a full stop a blank follows, or a Chinese character; 3.5 is no end."""


class Summarization(TextToText):
    """Summarise texts: a table or JSON with a column of texts and one of summaries, or of titles.

    Of a text that is too long the model reads the first part, which says most in news and papers, and less in conversations.
    """

    max_length: int = Field(default=1024, ge=16)
    """Longest row in tokens: prompt, text and summary together, or each of text and summary in an encoder-decoder. Of a longer row the model
    reads the first part of the text, and what is cut is counted; the prompt and the summary are never cut, and a row for whose text no token
    is left is left out."""

    keeps_features: ClassVar[bool] = True
    trivial_is: ClassVar[str] = "lead"
    usual: ClassVar[tuple[tuple[str, str], ...]] = (
        *((text, "summary") for text in ("document", "article", "dialogue", "text", "content", "source")),
        ("article", "highlights"),
        ("source", "target"),
        *((text, "title") for text in ("abstract", "text", "content", "article")),
        ("input", "output"),
    )

    def instruction(self) -> str:
        """Return the prompt for a model that continues text."""
        return f"Summarize: {PLACE}"

    def metrics(self) -> tuple[Metric, ...]:
        """Return loss and perplexity per token; ROUGE, length, repetition and ends of the generated summaries."""
        from weitiao.metrics.generated import Distinct, LengthRatio, RougeL, RougeN, StopRate
        from weitiao.metrics.likelihood import Perplexity, TokenLoss

        return TokenLoss(), Perplexity(), RougeN(n=1), RougeN(n=2), RougeL(), LengthRatio(), StopRate(), Distinct()

    def trivial(self, train: Sequence[Row], rows: Sequence[Row]) -> list[Any]:
        """Return the first sentences of each text, so many that they come closest to the words of a usual training summary; one at least."""
        from weitiao.metrics.generated import words

        usual = sum(len(words(references(row.target)[0])) for row in train) / max(len(train), 1)
        found = []
        for row in rows:
            sentences = [sentence for sentence in _SENTENCE.findall(row.text) if sentence.strip()] or [row.text]
            length, taken = 0, 0
            for sentence in sentences:
                longer = length + len(words(sentence))
                if taken and abs(longer - usual) > abs(length - usual):
                    break
                length, taken = longer, taken + 1
            found.append("".join(sentences[:taken]).strip())
        return found
