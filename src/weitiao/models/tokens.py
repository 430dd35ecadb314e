"""The tokenizer, with its traps defused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from torch.nn import Module

from weitiao.core import fingerprint
from weitiao.core.contracts import Frame, Head, Layout
from weitiao.core.rows import Turn
from weitiao.errors import ModelError, NoPadToken
from weitiao.models import templates
from weitiao.models.families import POSITIONS_BEHIND_PADDING
from weitiao.models.load import _quiet, _translated, auto_class
from weitiao.models.locate import Located, cached, check_tokenizer

_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".msgpack", ".onnx")
"""Endings of files from which no tokenizer reads."""

_NO_LIMIT = 1_000_000
"""Tokenizers without a limit report a huge `model_max_length`."""


class Tokenizer:
    """Text to ids. Padding and truncation that a tokenizer file prescribes (MiniLM's pads all to 128) are ignored."""

    def __init__(self, located: Located, positions: int | None, *, token_types: bool = False, decoder_start: int | None = None) -> None:
        """Open the tokenizer of a model. positions, token_types, decoder_start: what the model's configuration says; positions None where it does not.

        Raises NotFound where there is none, NoPadToken where nothing can pad.
        """
        check_tokenizer(located)
        self._located = located
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
        first = self.tokenizer("a")["input_ids"][0]
        self.begin_id: int | None = first if first == self.tokenizer.bos_token_id else None
        self.end_id: int | None = self.tokenizer.eos_token_id
        self.mask_id: int | None = self.tokenizer.mask_token_id
        self.unknown_id: int | None = self.tokenizer.unk_token_id
        self.special_ids = frozenset(self.tokenizer.all_special_ids) | frozenset(
            id for id, token in getattr(self.tokenizer, "added_tokens_decoder", {}).items() if token.special
        )
        self.vocabulary = len(self.tokenizer)
        self.decoder_start = decoder_start
        self._token_types = token_types
        usual, kind = transformers.PreTrainedTokenizerFast, type(self.tokenizer)
        self._plain_backend = isinstance(self.tokenizer, usual) and (kind._encode_plus, kind.__call__) == (usual._encode_plus, usual.__call__)
        self._template: tuple[str | None, templates.Takes, int | None] = (None, templates.Takes(), None)
        self._frames: dict[bool, Frame] = {}
        limits = [n for n in (self.tokenizer.model_max_length, positions) if n is not None and n < _NO_LIMIT]
        self.longest: int | None = min(limits, default=None)

    def encode(self, texts: Sequence[str], max_length: int) -> list[tuple[list[int], int]]:
        """Return for each text its ids with special tokens, at most `max_length`, and the number of tokens cut."""
        found: list[tuple[list[int], int]] = []
        with _quiet():
            for start in range(0, len(texts), 8192):
                part = list(texts[start : start + 8192])
                found += self._at_once(part, max_length) if self._plain_backend else self._twice(part, max_length)
        return found

    def _at_once(self, texts: list[str], max_length: int) -> list[tuple[list[int], int]]:
        """Return what the tokenizer's own call would, from one pass over each text: what is cut off comes with it.

        Asking transformers for whole and for cut ids reads long texts twice, and turns offsets and masks that nobody
        needs into Python lists: 1,200 articles took 1.5 s, and take 0.6 s this way, on two cores.
        """
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = self.tokenizer.split_special_tokens
        backend.no_padding()
        backend.enable_truncation(max_length, direction=self.tokenizer.truncation_side)
        try:
            added = backend.num_special_tokens_to_add(False)
            return [(said.ids, sum(len(more) - added for more in said.overflowing)) for said in backend.encode_batch_fast(texts)]
        finally:
            backend.no_truncation()

    def _twice(self, texts: list[str], max_length: int) -> list[tuple[list[int], int]]:
        whole = self._ids(texts)
        long = [n for n, ids in enumerate(whole) if len(ids) > max_length]
        cut = dict(zip(long, self._ids([texts[n] for n in long], max_length), strict=True)) if long else {}
        return [(cut.get(n, ids), max(0, len(ids) - max_length)) for n, ids in enumerate(whole)]

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Return for each text the ids that the decoder of an encoder-decoder is to say: the tokenizer's own form of a target, the end token last."""
        found: list[list[int]] = []
        end = [] if self.end_id is None else [self.end_id]
        with _quiet():
            for start in range(0, len(texts), 8192):
                said = self.tokenizer(text_target=list(texts[start : start + 8192]), split_special_tokens=True, verbose=False)["input_ids"]
                found += [ids if not end or ids[-1:] == end else [*ids, *end] for ids in said]
        return found

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return for each text its ids; no special token is added, and none is read from the text."""
        found: list[list[int]] = []
        with _quiet():
            for start in range(0, len(texts), 8192):
                found += self.tokenizer(list(texts[start : start + 8192]), add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        return found

    def placed(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Return for each text its ids as `plain` does, and the characters of each: from, to. Raises ModelError where the tokenizer does not tell."""
        if not self.tokenizer.is_fast:
            raise ModelError("the tokenizer does not say which characters its tokens stand for.", hint="Choose a model with a fast tokenizer (tokenizer.json).")
        found = []
        with _quiet():
            for start in range(0, len(texts), 8192):
                part = self.tokenizer(
                    list(texts[start : start + 8192]), add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
                )
                found += [(ids, [tuple(span) for span in spans]) for ids, spans in zip(part["input_ids"], part["offset_mapping"], strict=True)]
        return found

    def frame(self, *, two: bool) -> Frame:
        """Return the tokens that stand around one text, or around two."""
        if two not in self._frames:
            self._frames[two] = self._framed(two)
        return self._frames[two]

    def _framed(self, two: bool) -> Frame:
        with _quiet():
            encoded = self.tokenizer("a", *(["a"] if two else []), return_token_type_ids=True, verbose=False)
        ids, types = list(encoded["input_ids"]), list(encoded["token_type_ids"])
        own = self.plain(["a"])[0]
        starts = [n for n in range(len(ids)) if ids[n : n + len(own)] == own]
        first, last = starts[0], starts[-1]
        between = ids[first + len(own) : last] if two else []
        second = sum(kind == types[first] for kind in types[first + len(own) : last]) if two else 0
        if two and not between:
            between, second = self.plain(["\n"])[0], 0
        return Frame(tuple(ids[:first]), tuple(between), tuple(ids[last + len(own) :]), second)

    def pair_form(self) -> dict[str, Any]:
        """Return how two texts are put together, as JSON, and whether the tokenizer itself does so when it is called with both."""
        frame, word = self.frame(two=True), self.plain(["a"])[0]
        with _quiet():
            called = list(self.tokenizer("a", "a", verbose=False)["input_ids"])
        return {
            "own": called == [*frame.before, *word, *frame.between, *word, *frame.after],
            "before": list(frame.before),
            "between": list(frame.between),
            "after": list(frame.after),
            "closing": list(frame.closing(self.end_id)),
            "token_types": self._token_types,
        }

    def spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of a rendered text, special tokens recognised and none added, and the characters of each."""
        with _quiet():
            encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return encoded["input_ids"], [tuple(span) for span in encoded["offset_mapping"]]

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """Return the text of ids, with special tokens only where asked for."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False)
        return text

    def identity(self) -> Any:
        """Return what decides the ids of every text and conversation, as JSON; None where chance or unknown files have a say."""
        folder = Path(self._located.place) if self._located.local else cached(self._located.place)
        model = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "model", None)
        if folder is None or getattr(model, "dropout", None) or getattr(self.tokenizer, "sp_model_kwargs", None):
            return None
        read = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix not in _WEIGHTS)
        return {
            "class": type(self.tokenizer).__name__,
            "files": {path.name: fingerprint.of_file(path) for path in read},
            "template": self.tokenizer.chat_template,
            "ids": [self.pad_id, self.begin_id, self.end_id, self.mask_id, sorted(self.special_ids), self.vocabulary],
            "longest": self.longest,
            "decoder_start": self.decoder_start,
        }

    def layout(self, **settings: Any) -> Layout:
        """Return how features become batches for this tokenizer."""
        return Layout(
            self.pad_id, mask_id=self.mask_id, vocabulary=self.vocabulary, token_types=self._token_types, decoder_start=self.decoder_start, **settings
        )

    # ------------------------------------------------------------ conversations

    def use_template(self, name: str) -> str:
        """Choose the chat template and return the name of the one in use; it is saved with the tokenizer. Raises BadValue, ModelError."""
        own = self.tokenizer.chat_template
        own = own.get("default") or next(iter(own.values()), None) if isinstance(own, dict) else own
        found, self.tokenizer.chat_template = templates.chosen(name, own, self.tokenizer.get_vocab(), begins=self.begin_id is not None)
        self._rendered([Turn("user", "a")], answer=True)
        return found

    @property
    def ends(self) -> frozenset[int]:
        """The tokens at which a generated text ends: the end token, and what the chat template puts behind an answer."""
        return frozenset(end for end in (self.end_id, self._template_facts()[1]) if end is not None)

    def render(self, turns: Sequence[Turn], *, answer: bool) -> str:
        """Return a conversation in the template; with `answer`, up to where the assistant's answer begins.

        Turns that the template does not take, such as system turns or calls of functions, are put into words. Raises ModelError
        where the template fails.
        """
        return self._rendered(templates.in_words(turns, self._template_facts()[0]), answer=answer)

    def _rendered(self, turns: Sequence[Turn], *, answer: bool) -> str:
        from jinja2 import TemplateError

        messages, tools = templates.messages(turns)
        try:
            text: str = self.tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=answer)
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            said = str(error).strip().partition("\n")[0].rstrip(".")
            raise ModelError(f"the chat template fails: {said}.", hint="Mend the conversation, or choose another template: task.template.") from None
        return text

    def _template_facts(self) -> tuple[templates.Takes, int | None]:
        """Return which turns the template takes, and the special token that it puts behind an answer."""
        template = self.tokenizer.chat_template
        if template is None:
            return templates.Takes(), None
        if self._template[0] != template:
            takes, end = templates.taken(lambda turns: self._rendered(turns, answer=turns[-1].role == "user")), None
            try:
                ids, spans = self.spans(text := self._rendered([Turn("user", "aqza"), Turn("assistant", "cqzc")], answer=False))
                end = next((id for id, (left, _) in zip(ids, spans, strict=True) if left > text.rindex("cqzc") and id in self.special_ids), None)
            except (ModelError, ValueError):
                pass  # a template that cannot answer one question says so when it renders the user's rows
            self._template = (template, takes, end)
        return self._template[1:]

    def _ids(self, texts: list[str], max_length: int | None = None) -> list[list[int]]:
        options = {"truncation": True, "max_length": max_length} if max_length else {"truncation": False}
        ids: list[list[int]] = self.tokenizer(texts, padding=False, return_attention_mask=False, return_token_type_ids=False, verbose=False, **options)[
            "input_ids"
        ]
        return ids

    def suit(self, model: Module) -> None:
        """Tell a model which token pads: heads that pool the last token of a row look for it."""
        config: Any = model.config
        config.pad_token_id = self.pad_id

    def save(self, folder: Path, max_length: int) -> None:
        """Write the tokenizer so that plain transformers, told to truncate, cuts where we do."""
        before = self.tokenizer.model_max_length
        self.tokenizer.model_max_length = max_length
        try:
            self.tokenizer.save_pretrained(folder)
        finally:
            self.tokenizer.model_max_length = before


def positions(config: Any, *, taken: int = 0) -> int | None:
    """Return how many tokens a model can take, specials included and without positions that are taken; None where its configuration does not say."""
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if limit is None or limit <= 0:
        return None
    if config.model_type in POSITIONS_BEHIND_PADDING:
        limit = int(limit) - (config.pad_token_id or 0) - 1
    return int(limit) - taken


def token_types(config: Any) -> bool:
    """Tell whether a model is told which of two texts a token belongs to: BERT is, RoBERTa has one kind only, decoders none."""
    return getattr(config, "type_vocab_size", 0) > 1


def decoder_start(config: Any, head: Head) -> int | None:
    """Return the token that an encoder-decoder's answers begin behind; None where the head reads and answers in one line. Raises ModelError."""
    if auto_class(head, config) != "AutoModelForSeq2SeqLM":
        return None
    start = getattr(config, "decoder_start_token_id", None)
    if start is None:
        raise ModelError(
            f"the configuration of this {config.model_type} does not say with which token its decoder begins (decoder_start_token_id).",
            hint="Set it in the model's config.json; models that begin with a language of their own, such as mBART, are not supported.",
        )
    return int(start)
