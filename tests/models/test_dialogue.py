"""A conversation as token ids: what the tokenizer's own template gives, and only the answers trained."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers

import tiny_language
from weitiao.core.contracts import IGNORED
from weitiao.core.rows import Turn
from weitiao.errors import BadValue, ModelError
from weitiao.models import dialogue
from weitiao.models.locate import Located, locate
from weitiao.models.tokens import Tokenizer

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for message in messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set told = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set told = false %}{% endif %}"
    "{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% set content = '<<SYS>>\n' + told + '\n<</SYS>>\n\n' + message['content'] if loop.index0 == 0 and told else message['content'] %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
QWEN3 = (  # an empty thought stands before the last answer alone
    "{% set last = namespace(query=0) %}"
    "{% for message in messages %}{% if message['role'] == 'user' %}{% set last.query = loop.index0 %}{% endif %}{% endfor %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.index0 > last.query %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_END = (
    "{% for message in messages %}{{ '### ' + message['role'] + ':\n' + message['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}### assistant:\n{% endif %}"
)
STRIPS = tiny_language.CHATML.replace("message['content']", "message['content'] | trim")
OPENS_ONLY = (  # marks where a turn begins, with special tokens, and never where one ends; knows no generation prompt
    "{% for message in messages %}{{ '<start_of_turn>' if message['role'] == 'user' else '<|im_start|>' }}{{ message['content'] }}{% endfor %}"
)
SPACE = (  # as Vicuna's, with a space before the answer that a tokenizer joins to the answer's first word
    "{% for message in messages %}"
    "{{ 'USER: ' + message['content'] + ' ' if message['role'] != 'assistant' else 'ASSISTANT: ' + message['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT: ' }}{% endif %}"
)
TEMPLATES = {
    "chatml": tiny_language.CHATML,
    "gemma": GEMMA,
    "llama3": LLAMA3,
    "llama2": LLAMA2,
    "qwen3": QWEN3,
    "no end": NO_END,
    "strips": STRIPS,
    "opens only": OPENS_ONLY,
    "space": SPACE,
}
SPECIAL = ["<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]

ONE = [Turn("user", "capital of france?"), Turn("assistant", "paris")]
MANY = [*ONE, Turn("user", "colour of the sky?"), Turn("assistant", "deep blue\n\n  and clear"), Turn("user", "and 夜?"), Turn("assistant", "黑色 🙂 is it.")]
TOLD = [Turn("system", "be brief"), *MANY]
DIALOGUES = {"one": ONE, "many": MANY, "system": TOLD}


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tokenizer]:
    """Return a function from a template's name and a kind of tokenizer to the tokenizer."""

    def make(template: str, kind: str = "bytes") -> Tokenizer:
        folder = tmp_path_factory.mktemp("tokenizer")
        made = tiny_language.tokenizer() if kind == "bytes" else _pieces()
        made.add_special_tokens({"additional_special_tokens": SPECIAL})
        made.chat_template = TEMPLATES.get(template, template)
        if template in ("gemma", "llama3", "llama2"):  # these put <bos> before a text of their own accord, and their templates write it too
            single = tokenizers.processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", made.bos_token_id)])
            made.backend_tokenizer.post_processor = single
        made.save_pretrained(folder)
        return Tokenizer(Located("tiny", str(folder), True, "tiny"), 256)

    return make


def _pieces() -> Any:
    """Return a tokenizer as those of sentencepiece: spaces are ▁, unknown characters are bytes."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = tokenizers.decoders.Sequence(
        [tokenizers.decoders.Replace("▁", " "), tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse(), tokenizers.decoders.Strip(" ", 1, 0)]
    )
    special = ["<pad>", "<bos>", "<eos>", "<mask>", "<unk>", *(f"<0x{n:02X}>" for n in range(256))]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=list("▁\n?.:<>/[]#"), show_progress=False)
    made.train_from_iterator([*tiny_language.texts(200), *(turn.content for turn in MANY[:4])], trainer)
    parts = json.loads(made.to_str())
    parts["added_tokens"] = [token for token in parts["added_tokens"] if not token["content"].startswith("<0x")]  # not special
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(parts)),
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        mask_token="<mask>",
        unk_token="<unk>",
    )


def said(turns: list[Turn]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def runs(encoded: dialogue.Encoded) -> list[list[int]]:
    """Return the ids of each unbroken run of trained tokens."""
    pairs = zip(encoded.ids, encoded.trained, strict=True)
    return [[token for token, _ in group] for trained, group in itertools.groupby(pairs, key=lambda pair: pair[1]) if trained]


CASES = [(name, kind, length) for name in TEMPLATES for kind in ("bytes", "pieces") for length in DIALOGUES]


@pytest.mark.parametrize(("template", "kind", "length"), CASES)
def test_ids_are_those_of_the_tokenizers_own_template(opened: Callable[..., Tokenizer], template: str, kind: str, length: str) -> None:
    tokens, turns = opened(template, kind), DIALOGUES[length]
    theirs = turns
    if template == "gemma" and turns[0].role == "system":  # refused there: the caller of plain transformers has to fold it himself
        theirs = [Turn("user", f"{turns[0].content}\n\n{turns[1].content}"), *turns[2:]]
    expected = tokens.tokenizer.apply_chat_template(said(theirs), tokenize=True, return_dict=False)
    encoded = dialogue.encode(turns, tokens)
    if template in ("no end", "opens only"):  # nothing ends the last answer: without an end token nothing would be learnt about ending
        expected = [*expected, tokens.end_id]
    assert encoded.ids == expected
    assert encoded.ids.count(tokens.tokenizer.bos_token_id) == {"gemma": 1, "llama3": 1, "llama2": len(theirs) // 2}.get(template, 0)
    assert dialogue.prompt(turns[:-1], tokens) == encoded.ids[: len(dialogue.prompt(turns[:-1], tokens))]


@pytest.mark.parametrize(("template", "kind", "length"), CASES)
def test_trained_are_exactly_the_answers_each_with_its_end(opened: Callable[..., Tokenizer], template: str, kind: str, length: str) -> None:
    tokens, turns = opened(template, kind), DIALOGUES[length]
    answers = [turn.content for turn in turns if turn.role == "assistant"]
    end = {"gemma": "<end_of_turn>", "llama3": "<|eot_id|>", "llama2": "<eos>", "space": "<eos>", "no end": "", "opens only": ""}.get(template, "<|im_end|>")
    found = [tokens.decode(run, special=True) for run in runs(dialogue.encode(turns, tokens))]
    expected = [f"{answer}{end}" for answer in answers]
    if template == "llama2":
        expected = [f"{answer} <eos>" for answer in answers]
        found = [run.removeprefix(" ") for run in found]
    if template == "space":
        found = [run.removeprefix(" ") for run in found]
    if template == "qwen3":
        expected[-1] = f"<think>\n\n</think>\n\n{expected[-1]}"
    if template == "no end":
        expected = [f"{answer}\n\n" for answer in answers]
        expected[-1] += "<eos>"
    if template == "opens only":
        expected = [f"<|im_start|>{answer}" for answer in answers]  # there is no generation prompt: the model itself has to say that it answers
        expected[-1] += "<eos>"
    assert found == expected


def test_with_every_turn_all_but_the_first_token_is_trained(opened: Callable[..., Tokenizer]) -> None:
    encoded = dialogue.encode(TOLD, opened("chatml"), every_turn=True)
    assert encoded.trained == [False] + [True] * (len(encoded) - 1)
    assert encoded.targets == [*encoded.ids[1:], IGNORED]


def test_a_target_is_the_token_that_follows_and_nothing_else(opened: Callable[..., Tokenizer]) -> None:
    encoded = dialogue.encode(MANY, opened("chatml"))
    assert len(encoded.targets) == len(encoded.ids) and encoded.targets[-1] == IGNORED
    for n, target in enumerate(encoded.targets[:-1]):
        assert target == (encoded.ids[n + 1] if encoded.trained[n + 1] else IGNORED)
    assert not encoded.trained[0]


def test_the_word_of_the_user_that_equals_the_answer_is_not_trained(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("chatml")
    turns = [Turn("user", "paris"), Turn("assistant", "paris"), Turn("user", "paris"), Turn("assistant", "paris paris")]
    assert [tokens.decode(run, special=True) for run in runs(dialogue.encode(turns, tokens))] == ["paris<|im_end|>", "paris paris<|im_end|>"]


def test_answers_of_tools_are_not_trained_and_calls_are(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("chatml")
    turns = [Turn("user", "sum?"), Turn("assistant", '{"call": 1}'), Turn("tool", "2"), Turn("assistant", "two")]
    assert [tokens.decode(run, special=True) for run in runs(dialogue.encode(turns, tokens))] == ['{"call": 1}<|im_end|>', "two<|im_end|>"]


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_spaces_line_ends_and_characters_of_several_tokens_inside_an_answer_are_trained(opened: Callable[..., Tokenizer], kind: str) -> None:
    tokens = opened("chatml", kind)
    answer = "def f():\n        return '🙂'\n\n\t# 夜 naïve \n"
    (run,) = runs(dialogue.encode([Turn("user", "code?"), Turn("assistant", answer)], tokens))
    assert tokens.decode(run, special=True) == f"{answer}<|im_end|>"


def test_offsets_that_leave_out_spaces_lose_no_token(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("chatml")
    tokens.tokenizer.backend_tokenizer.post_processor = tokenizers.processors.ByteLevel(trim_offsets=True)  # as RoBERTa's
    answer = "a    b  \n c"
    (run,) = runs(dialogue.encode([Turn("user", "code?"), Turn("assistant", answer)], tokens))
    assert tokens.decode(run, special=True) == f"{answer}<|im_end|>"


# ------------------------------------------------------------ system prompts and prompts


def test_a_system_turn_that_a_template_drops_or_refuses_stands_at_the_head_of_the_question(opened: Callable[..., Tokenizer]) -> None:
    drops = "{% for message in messages if message['role'] != 'system' %}{{ message['content'] + eos_token }}{% endfor %}"
    for template in ("gemma", drops):
        text = opened(template).render(TOLD, answer=False)
        assert "be brief\n\ncapital of france?" in text and text.count("be brief") == 1
    kept = opened("chatml").render(TOLD, answer=False)
    assert kept.startswith("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\ncapital")


def test_of_a_prompt_too_long_the_oldest_exchanges_go_first(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("chatml")
    asked = TOLD[:-1]
    whole = dialogue.prompt(asked, tokens)
    assert dialogue.prompt(asked, tokens, most=len(whole)) == whole
    shorter = dialogue.prompt(asked, tokens, most=len(whole) - 1)
    assert shorter == dialogue.prompt([TOLD[0], *TOLD[3:-1]], tokens)
    last = dialogue.prompt([TOLD[0], TOLD[5]], tokens)
    assert dialogue.prompt(asked, tokens, most=len(last)) == last
    assert dialogue.prompt(asked, tokens, most=5) == last[-5:]


def test_ends_are_the_end_token_and_what_stands_behind_an_answer(opened: Callable[..., Tokenizer]) -> None:
    for template, end in (("chatml", "<|im_end|>"), ("gemma", "<end_of_turn>"), ("llama3", "<|eot_id|>"), ("llama2", "<eos>"), ("no end", "<eos>")):
        tokens = opened(template)
        assert tokens.ends == {tokens.tokenizer.convert_tokens_to_ids(token) for token in ("<eos>", end)}


# ------------------------------------------------------------ pieces


def exchanges(*lengths: int) -> list[Turn]:
    return [turn for n, length in enumerate(lengths) for turn in (Turn("user", f"q{n}"), Turn("assistant", " ".join([f"a{n}"] * length)))]


def test_a_dialogue_that_fits_is_one_piece(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("chatml")
    whole = dialogue.encode(MANY, tokens)
    assert dialogue.pieces(MANY, tokens, len(whole)) == ([whole], 0)
    assert len(dialogue.pieces(MANY, tokens, len(whole) - 1)[0]) == 2


@pytest.mark.parametrize("template", ["chatml", "gemma", "qwen3", "llama2", "no end"])
def test_long_dialogues_are_split_between_exchanges_and_every_answer_is_whole(opened: Callable[..., Tokenizer], template: str) -> None:
    tokens = opened(template)
    turns = [Turn("system", "be brief"), *exchanges(3, 4, 2, 6, 1, 5, 3)]
    parts, lost = dialogue.pieces(turns, tokens, 100)
    assert lost == 0 and len(parts) > 1 and all(len(part) <= 100 for part in parts)
    assert all("be brief" in tokens.decode(part.ids) for part in parts), "the system turn stands before every piece"
    learnt = [tokens.decode(run).replace("<think>\n\n</think>\n\n", "").strip() for part in parts for run in runs(part)]
    assert learnt == [turn.content for turn in turns if turn.role == "assistant"]


def test_an_exchange_that_fits_nowhere_is_left_out_and_counted(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("chatml")
    turns = exchanges(2, 60, 3)
    parts, lost = dialogue.pieces(turns, tokens, 64)
    assert [tokens.decode(run) for part in parts for run in runs(part)] == ["a0 a0", "a2 a2 a2"]
    assert lost == len(dialogue.encode(turns[2:4], tokens)) > 64
    assert dialogue.pieces(exchanges(60), tokens, 64)[0] == []


def test_a_call_and_the_answer_of_its_tool_stay_together(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("chatml")
    called = [Turn("user", "sum?"), Turn("assistant", "call"), Turn("tool", "2"), Turn("assistant", "two")]
    parts, lost = dialogue.pieces([*called, *called], tokens, len(dialogue.encode(called, tokens)))
    assert lost == 0 and [part.ids for part in parts] == [dialogue.encode(called, tokens).ids] * 2


# ------------------------------------------------------------ choosing a template


def test_a_model_without_template_gets_one_that_its_vocabulary_knows(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("chatml")
    assert tokens.use_template("auto") == "own" == tokens.use_template("own")
    assert tokens.use_template("gemma") == "gemma" and "<start_of_turn>model" in tokens.render(ONE[:1], answer=True)
    tokens.tokenizer.chat_template = None
    assert tokens.use_template("auto") == "chatml"
    with pytest.raises(BadValue, match="neither a known template nor a file") as caught:
        tokens.use_template("chatlm")
    assert "chatml" in caught.value.hint


def test_plain_needs_no_special_token_but_the_end(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("chatml")
    assert tokens.use_template("plain") == "plain"
    encoded = dialogue.encode(TOLD, tokens)
    assert [tokens.decode(run, special=True) for run in runs(encoded)] == [f" {turn.content}<eos>" for turn in TOLD if turn.role == "assistant"]
    assert tokens.decode(encoded.ids).startswith("be brief\n\nUser: capital of france?\nAssistant: paris\nUser:")


def test_a_template_of_ours_begins_with_bos_where_the_tokenizer_does(opened: Callable[..., Tokenizer]) -> None:
    tokens = opened("llama3")
    tokens.use_template("plain")
    ids = dialogue.encode(MANY, tokens).ids
    assert ids[0] == tokens.begin_id and ids.count(tokens.begin_id) == 1


def test_a_template_file_is_read_and_one_that_fails_says_why(opened: Callable[..., Tokenizer], tmp_path: Path) -> None:
    tokens = opened("chatml")
    (tmp_path / "mine.jinja").write_text(LLAMA3)
    assert tokens.use_template(str(tmp_path / "mine.jinja")).endswith("mine.jinja")
    assert dialogue.encode(ONE, tokens).ids[0] == tokens.tokenizer.bos_token_id
    (tmp_path / "never.jinja").write_text("{{ raise_exception('not today') }}")
    with pytest.raises(ModelError, match=r"the chat template fails: not today\."):
        tokens.use_template(str(tmp_path / "never.jinja"))
    (tmp_path / "broken.jinja").write_text("{% for message in messages %}")
    with pytest.raises(ModelError, match="the chat template fails"):
        tokens.use_template(str(tmp_path / "broken.jinja"))


# ------------------------------------------------------------ a real model


@pytest.mark.field
def test_smollm2_is_given_what_its_own_template_gives() -> None:
    from weitiao.errors import WeitiaoError
    from weitiao.models import convert

    try:
        place = convert.ready(locate("smollm2-135m"))
    except WeitiaoError as error:
        pytest.skip(error.message)
    tokens = Tokenizer(place, 8192)
    assert tokens.use_template("auto") == "own"
    for turns in (ONE, MANY, TOLD):
        encoded = dialogue.encode(turns, tokens)
        assert encoded.ids == tokens.tokenizer.apply_chat_template(said(turns), tokenize=True, return_dict=False)
        found = [tokens.decode(run, special=True) for run in runs(encoded)]
        assert found == [f"{turn.content}<|im_end|>" for turn in turns if turn.role == "assistant"]
        prompt = dialogue.prompt(turns[:-1], tokens)
        assert prompt == encoded.ids[: len(prompt)]
        assert prompt == tokens.tokenizer.apply_chat_template(said(turns[:-1]), tokenize=True, add_generation_prompt=True, return_dict=False)
