"""A conversation as token ids, and which of them the assistant is trained to say: the one place that renders dialogues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weitiao.core.contracts import IGNORED, Tokens
from weitiao.core.rows import Turn
from weitiao.errors import ModelError


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a conversation, and for each whether it is trained."""

    ids: list[int]
    trained: list[bool]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def targets(self) -> list[int]:
        """What is to be predicted at each position: the next token where that one is trained, else IGNORED."""
        following = zip(self.ids[1:], self.trained[1:], strict=True)
        return [*(token if trained else IGNORED for token, trained in following), IGNORED]


def encode(turns: Sequence[Turn], tokens: Tokens, *, every_turn: bool = False, given: str = "") -> Encoded:
    """Return ids, equal to those of the tokenizer's own template, and what is trained.

    Trained are the answers of the assistant, each with the token that ends it; with every_turn all tokens but the
    first. What the template writes around an answer (its role, the line end after the end token) is not. Where the
    template ends an answer without a special token, the end token is put behind the last one.
    given: how the last answer begins, which is not trained either. Raises ModelError.
    """
    text = tokens.render(turns, answer=False)
    ids, spans = tokens.spans(text)
    trained = [every_turn and n > 0 for n in range(len(ids))]
    ended = False
    for n, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        start, stop = _bounds(turns, n, text, tokens)
        if given and n == len(turns) - 1:
            start = _behind(given, text)
        inside = [k for k, (left, right) in enumerate(spans) if start <= left and right <= stop and right > left]
        if not inside:
            continue
        inside = list(range(inside[0], inside[-1] + 1))  # some tokenizers give a token of spaces no characters
        end = next((k for k in reversed(inside) if ids[k] in tokens.special_ids and not text[spans[k][1] : stop].strip()), None)
        ended = end is not None
        for k in inside:
            if end is None or k <= end:
                trained[k] = True
    if not ended and tokens.end_id is not None and turns and turns[-1].role == "assistant":
        return Encoded([*ids, tokens.end_id], [*trained, True])
    return Encoded(ids, trained)


def continued(text: str, answer: str | None, tokens: Tokens) -> Encoded:
    """Return the ids of a text, and of the answer that goes on from it and is trained with the token that ends it; nothing of a chat template."""
    opening = [] if tokens.begin_id is None else [tokens.begin_id]
    ids, spans = tokens.spans(text + (answer or ""))
    first = next((n for n, (left, right) in enumerate(spans) if left >= len(text) and right > left), len(ids))  # a token of spaces may have no characters
    trained = [answer is not None and n >= first for n in range(len(ids))]
    ends = [] if answer is None or tokens.end_id is None else [tokens.end_id]
    return Encoded([*opening, *ids, *ends], [*([False] * len(opening)), *trained, *([True] * len(ends))])


def prompt(turns: Sequence[Turn], tokens: Tokens, *, most: int | None = None, given: str = "") -> list[int]:
    """Return the ids that an answer follows; where they are more than `most`, the oldest exchanges are left out first.

    given: how the answer begins, which is not generated; then nothing is left out.
    """
    turns = list(turns)
    if given:
        text = tokens.render([*turns, Turn("assistant", f"{given}x")], answer=False)
        return tokens.spans(text[: _behind(given, text)])[0]
    while True:
        ids = tokens.spans(tokens.render(turns, answer=True).rstrip(" "))[0]  # the space belongs to the token that the answer begins with
        opening = 1 if turns and turns[0].role == "system" else 0
        if most is None or len(ids) <= most:
            return ids
        following = next((n for n in range(opening + 1, len(turns)) if turns[n].role == "user"), None)
        if following is None:
            return ids[-most:]
        turns = turns[:opening] + turns[following:]


def pieces(turns: Sequence[Turn], tokens: Tokens, most: int, *, every_turn: bool = False) -> tuple[list[Encoded], int]:
    """Return a conversation in pieces of at most `most` tokens, cut between exchanges, and the tokens of exchanges left out.

    An exchange is what leads to an answer, and the answer; the system turn stands before every piece. An exchange that
    does not fit by itself is left out: an answer is never cut.
    """
    whole = encode(turns, tokens, every_turn=every_turn)
    if len(whole) <= most:
        return [whole], 0
    opening = list(turns[:1]) if turns and turns[0].role == "system" else []
    exchanges: list[list[Turn]] = [[]]
    for turn in turns[len(opening) :]:
        if turn.role == "user" and exchanges[-1] and exchanges[-1][-1].role == "assistant":
            exchanges.append([])
        exchanges[-1].append(turn)
    found: list[Encoded] = []
    held: list[Turn] = []
    best: Encoded | None = None
    lost = 0
    for exchange in exchanges:
        longer = encode([*opening, *held, *exchange], tokens, every_turn=every_turn)
        if len(longer) <= most:
            held, best = [*held, *exchange], longer
            continue
        if best is not None:
            found.append(best)
        alone = encode([*opening, *exchange], tokens, every_turn=every_turn)
        held, best = (exchange, alone) if len(alone) <= most else ([], None)
        lost += len(alone) if len(alone) > most else 0
    return [*found, *([best] if best is not None else [])], lost


def _behind(given: str, text: str) -> int:
    """Return where in a rendered text its last answer goes on that begins with `given`. Raises ModelError where a template changes what is said."""
    if (start := text.rfind(given)) < 0:
        raise ModelError("the chat template changes the answer that it is to render.", hint="Set task.template to another one, such as plain.")
    return start + len(given)


def _bounds(turns: Sequence[Turn], n: int, text: str, tokens: Tokens) -> tuple[int, int]:
    """Return where in the rendered text an answer begins and where what belongs to it ends.

    A template may write an answer otherwise where it is the last (Qwen3 puts an empty thought before it): what follows
    it there is then looked for behind the same answer in the text.
    """
    start = _shared(tokens.render(turns[:n], answer=True), text)
    start -= len(text[:start]) - len(text[:start].rstrip(" "))  # the space before an answer belongs to its first token
    alone = tokens.render(turns[: n + 1], answer=False)
    if text.startswith(alone):
        return start, len(alone)
    end, end_alone = _content_end(turns, n, text, tokens), _content_end(turns[: n + 1], n, alone, tokens)
    return start, end + _shared(alone[end_alone:], text[end:])


def _content_end(turns: Sequence[Turn], n: int, text: str, tokens: Tokens) -> int:
    """Return where in the rendered text what a turn says ends: from there on a rendering in which it says something else is the same."""
    other = Turn(turns[n].role, "b" if turns[n].text.rstrip().endswith("a") else "a")
    changed = tokens.render([*turns[:n], other, *turns[n + 1 :]], answer=False)
    return len(text) - _shared(changed[::-1], text[::-1])


def _shared(a: str, b: str) -> int:
    """Return how many characters two texts have in common from their beginning."""
    if b.startswith(a):
        return len(a)
    return next((n for n, (left, right) in enumerate(zip(a, b, strict=False)) if left != right), min(len(a), len(b)))
