"""Generated texts: those of transformers, whoever else is in the batch."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny_language
from weitiao.core.contracts import Answer, Generation
from weitiao.models import attention, decode, fallback, generate, incremental, sampling
from weitiao.models.cache import Cache
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer, positions

CPU = torch.device("cpu")
DECODERS = tiny_language.PACKING


class Tiny:
    """A tiny model, its tokenizer and prompts of mixed length, some longer than the window, some that begin alike."""

    def __init__(self, folder: Path, family: str) -> None:
        self.model: Any = getattr(transformers, tiny_language.head_of(family)).from_pretrained(folder).eval()
        self.tokenizer = Tokenizer(Located(str(folder), str(folder), True, str(folder)), positions(self.model.config))
        rng = random.Random(0)
        opening = [rng.randrange(10, 300) for _ in range(11)]
        lengths = [3, 29, 1, 12, 40, 7, 7, 2, 21, 5, 33]
        self.prompts = [[*(opening if n % 2 else []), *(rng.randrange(10, 300) for _ in range(length))] for n, length in enumerate(lengths)]

    def answers(self, prompts: Sequence[Sequence[int]] | None = None, **settings: Any) -> list[Answer]:
        seed = settings.pop("seed", 0)
        on_batch = settings.pop("on_batch", None)
        generation = Generation(**{"max_new_tokens": 24, **settings})
        return generate.answers(self.model, self.prompts if prompts is None else prompts, self.tokenizer, generation, device=CPU, seed=seed, on_batch=on_batch)

    def plain(self, prompt: Sequence[int], count: int, ends: Sequence[int] = (2,)) -> list[int]:
        """Return what transformers' generate says of one prompt alone."""
        ids = torch.tensor([list(prompt)])
        settings = transformers.GenerationConfig(max_new_tokens=count, do_sample=False, eos_token_id=list(ends), pad_token_id=0)
        made = self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        return made[0, len(prompt) :].tolist()

    def tokens(self, prompts: Sequence[Sequence[int]], limits: Sequence[int], **settings: Any) -> list[list[int]]:
        """Return the tokens of our own loop."""
        made: list[list[int]] = [[] for _ in prompts]
        ended = settings.pop("ended", lambda ids: ids[-1] == 2)
        choose = sampling.Chooser(prompts, Generation(max(limits)), seed=0)
        with incremental.continuing(self.model):
            decoding = decode.Decoding(self.model, prompts, limits, choose=choose, ended=ended, device=CPU, **settings)
            while decoding.busy:
                for number, token, _ in decoding.step():
                    made[number].append(token)
        return made


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    root, built = tmp_path_factory.mktemp("generate"), dict[str, Tiny]()

    def made(family: str) -> Tiny:
        if family not in built:
            built[family] = Tiny(tiny_language.build(root / family, family), family)
        return built[family]

    return made


# ---------------------------------------------------------------- the same tokens


@pytest.mark.parametrize("family", DECODERS)
def test_the_tokens_are_those_of_transformers_whatever_the_rows_and_pieces(tiny: Callable[[str], Tiny], family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny(family)
    assert incremental.proof(one.model).reach > 1000, "the family is continued by our own loop"
    limits = [24 - 2 * (n % 5) for n in range(len(one.prompts))]
    expected = [one.plain(prompt, limit) for prompt, limit in zip(one.prompts, limits, strict=True)]
    assert one.tokens(one.prompts, limits) == expected
    monkeypatch.setitem(decode.TOKENS, "cpu", 9)
    assert one.tokens(one.prompts, limits, rows=3) == expected, "three rows, prompts in pieces"


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_attention_of_training_on_a_cpu_changes_nothing_and_is_there_again_afterwards(tiny: Callable[[str], Tiny], family: str) -> None:
    one = tiny(family)
    before = one.answers()
    installed = one.model.config._attn_implementation
    try:
        assert attention.install(one.model)
        assert one.answers() == before
        assert one.model.config._attn_implementation == attention.NAME
    finally:
        one.model.set_attn_implementation(installed)


def test_an_adapter_on_the_model_is_heard(tiny: Callable[[str], Tiny], tmp_path: Path) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    from weitiao.models import low_rank

    one = Tiny(tiny_language.build(tmp_path / "llama", "llama"), "llama")
    before = one.answers()
    torch.manual_seed(1)
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=64, init_lora_weights=False, target_modules="all-linear"), one.model)
    low_rank.install(one.model)
    assert incremental.proof(one.model).reach
    assert one.answers() != before
    assert one.tokens(one.prompts, [8] * len(one.prompts)) == [one.plain(prompt, 8) for prompt in one.prompts]


def test_a_wrapped_adapter_model_is_continued_too(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    one = Tiny(tiny_language.build(tmp_path / "llama", "llama"), "llama")
    one.model = get_peft_model(one.model, LoraConfig(r=4, lora_alpha=64, init_lora_weights=False, target_modules="all-linear", task_type="CAUSAL_LM")).eval()
    assert [answer.text for answer in one.answers(max_new_tokens=8)] == [
        one.tokenizer.decode(one.plain(prompt, 8, sorted(one.tokenizer.ends))).strip() for prompt in one.prompts
    ]


@pytest.mark.parametrize("family", tiny_language.ENCODER_DECODERS)
def test_an_encoder_decoder_goes_the_way_of_transformers(tiny: Callable[[str], Tiny], family: str) -> None:
    one = tiny(family)
    assert incremental.proof(one.model).reach == 0
    ends = sorted(one.tokenizer.ends)
    forced = one.model.generation_config.forced_eos_token_id is not None  # an end that is forced stands behind what the model says
    for prompt, answer in zip(one.prompts, one.answers(max_new_tokens=6), strict=True):
        ids = torch.tensor([prompt])
        settings = transformers.GenerationConfig(max_new_tokens=6 + forced, do_sample=False, eos_token_id=ends, pad_token_id=0)
        alone = one.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)[0, 1:].tolist()
        kept = [token for token in alone if token not in ends]
        assert answer.text == one.tokenizer.decode(kept).strip()


def test_a_model_whose_logits_would_differ_goes_the_way_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Tiny(tiny_language.build(tmp_path / "llama", "llama"), "llama")
    expected = one.answers()
    layer = one.model.model.layers[0].self_attn
    layer.register_forward_hook(lambda module, inputs, output: (output[0] + output[0].mean(1, keepdim=True), *output[1:]))  # tokens hear each other
    assert incremental.proof(one.model).reach == 0, "a hook put on after the first check is seen"
    calls = []
    theirs = fallback.generated
    monkeypatch.setattr(fallback, "generated", lambda *given, **more: calls.append(1) or theirs(*given, **more))
    assert one.answers() != expected and calls


def test_a_window_too_wide_to_try_is_trusted_up_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Tiny(tiny_language.build(tmp_path / "mistral", "mistral"), "mistral")
    monkeypatch.setattr(incremental, "CHECKED_WINDOW", 8)
    assert incremental.proof(one.model).reach == tiny_language.WINDOW


# ---------------------------------------------------------------- the batch


def test_who_else_is_in_the_batch_changes_nothing(tiny: Callable[[str], Tiny]) -> None:
    one = tiny("gemma2")
    together = one.answers()
    assert [one.answers([prompt])[0] for prompt in one.prompts] == together
    backwards = one.answers(one.prompts[::-1])
    assert backwards[::-1] == together
    assert one.answers([*one.prompts, *one.prompts]) == [*together, *together]


def test_rows_that_leave_and_enter_do_not_disturb_the_others(tiny: Callable[[str], Tiny]) -> None:
    one = tiny("llama")
    rng = random.Random(3)
    limits = [rng.choice([1, 2, 5, 17, 30]) for _ in one.prompts]
    alone = [one.plain(prompt, limit) for prompt, limit in zip(one.prompts, limits, strict=True)]
    for rows in (1, 2, 4, 64):
        assert one.tokens(one.prompts, limits, rows=rows) == alone, rows


def test_rows_are_as_many_as_memory_has_places_for(tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny("llama")
    seen = []
    whole = Cache.resized
    monkeypatch.setattr(Cache, "resized", lambda self, rows, places, lengths: seen.append(rows * places) or whole(self, rows, places, lengths))
    expected = one.tokens(one.prompts, [10] * len(one.prompts))
    most = 130
    bytes_of_a_place = incremental.proof(one.model).bytes_of_a_place
    assert bytes_of_a_place == 2 * 2 * 2 * 8 * 4, "layers, keys and values, heads, width, bytes"
    monkeypatch.setattr(decode, "free_bytes", lambda device: int(most * bytes_of_a_place / decode.MEMORY_SHARE) + 1)
    seen.clear()
    assert one.tokens(one.prompts, [10] * len(one.prompts)) == expected
    assert seen and max(seen) <= most
    monkeypatch.setattr(decode, "free_bytes", lambda device: 0)
    assert one.tokens(one.prompts, [10] * len(one.prompts)) == expected, "one at a time, whatever memory says"


def test_no_prompts_get_no_answers_and_an_empty_prompt_gets_one(tiny: Callable[[str], Tiny]) -> None:
    one = tiny("llama")
    assert one.answers([]) == []
    assert one.answers([[], one.prompts[0]])[1] == one.answers([one.prompts[0]])[0]


def test_progress_counts_up_to_all_prompts(tiny: Callable[[str], Tiny]) -> None:
    told: list[tuple[int, int]] = []
    one = tiny("llama")
    one.answers(on_batch=lambda done, of: told.append((done, of)))
    assert told == sorted(set(told)) and told[-1] == (len(one.prompts), len(one.prompts)) and told[0][0] > 0


def test_training_mode_is_left_as_it_was(tiny: Callable[[str], Tiny]) -> None:
    one = tiny("llama")
    one.model.train()
    one.answers(one.prompts[:1], max_new_tokens=1)
    assert one.model.training
    one.model.eval()


# ---------------------------------------------------------------- the end


def test_an_end_token_ends_a_text_and_is_not_part_of_it(tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny("llama")
    prompts = one.prompts[:5]
    free = [one.plain(prompt, 24) for prompt in prompts]
    end = free[0][4]
    monkeypatch.setattr(Tokenizer, "ends", property(lambda self: frozenset({2, end})))
    for ids, answer in zip(free, one.answers(prompts), strict=True):
        said = list(itertools.takewhile(lambda token: token not in (2, end), ids))
        stopped = len(said) < len(ids)
        assert answer == Answer(one.tokenizer.decode(said).strip(), len(said), stopped)
    assert one.answers(prompts)[0].stopped


def test_blanks_around_a_text_are_kept_where_they_belong_to_it(tiny: Callable[[str], Tiny]) -> None:
    one = tiny("llama")
    said = one.answers(temperature=2.0, keeps_blanks=True)
    assert any(answer.text != answer.text.strip() for answer in said)
    assert [answer.text.strip() for answer in said] == [answer.text for answer in one.answers(temperature=2.0)]


@pytest.mark.parametrize("own", [True, False])
def test_a_stop_string_ends_a_text_and_is_not_part_of_it(tiny: Callable[[str], Tiny], own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny("llama")
    if not own:
        monkeypatch.setattr(incremental, "proof", lambda model: incremental.Proof(0))
    free = one.answers(one.prompts[:6])
    stop = readable(free, 2)
    for before, answer in zip(free, one.answers(one.prompts[:6], stop=("never said", stop)), strict=True):
        assert answer.text == before.text.split(stop)[0].strip()
        assert answer.stopped == (before.stopped or stop in before.text)
        assert answer.tokens < before.tokens or stop not in before.text[: -len(stop)], "what a batch is padded with is not counted"


def test_a_text_ends_where_the_context_is_full(tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny("gpt2")
    monkeypatch.setattr(Tokenizer, "ends", property(lambda self: frozenset()))
    longest = one.tokenizer.longest
    assert longest is not None
    long = (one.prompts[4] * 10)[: longest - 5]
    found = one.answers([long, one.prompts[0]], max_new_tokens=30)
    assert [(answer.tokens, answer.stopped) for answer in found] == [(5, False), (30, False)], "one text's end is not the others'"


def readable(found: Sequence[Answer], length: int) -> str:
    """Return something that one of the answers says in its middle: whole characters, though tiny models say half ones."""
    return next(answer.text[n : n + length] for answer in found for n in range(2, len(answer.text) - length) if answer.text[n : n + length].isascii())


# ---------------------------------------------------------------- drawing


def test_a_drawn_text_depends_on_its_prompt_and_the_seed_alone(tiny: Callable[[str], Tiny]) -> None:
    one = tiny("llama")
    settings = {"temperature": 1.5, "top_p": 0.9}
    together = one.answers(seed=4, **settings)
    torch.manual_seed(99)
    assert one.answers(seed=4, **settings) == together
    assert one.answers(one.prompts[::-2], seed=4, **settings) == together[::-2]
    assert one.answers(seed=5, **settings) != together
    same = one.answers([one.prompts[0]] * 3, seed=4, **settings)
    assert same[0] == together[0] and len({answer.text for answer in same}) == 3, "equal prompts get answers of their own"


def test_tokens_are_drawn_with_their_probabilities() -> None:
    probabilities = torch.tensor([[0.1, 0.0, 0.6, 0.3]])
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    found = sampling.drawn(probabilities.expand(1000, 4), uniform, 1.0).bincount(minlength=4)
    assert found.tolist() == [100, 0, 600, 300]
    kept = sampling.drawn(probabilities.expand(1000, 4), uniform, 0.65).bincount(minlength=4)
    assert kept[[0, 1]].tolist() == [0, 0] and abs(int(kept[2]) - 667) <= 1, "the smallest set that has the probability"
    assert sampling.drawn(probabilities.expand(1000, 4), uniform, 1e-9).unique().tolist() == [2]


def test_a_flat_distribution_needs_more_than_the_tokens_sorted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_PROBABLE", 3)
    flat = torch.full((500, 50), 0.02)
    uniform = (torch.arange(500, dtype=torch.float64) + 0.5) / 500
    assert len(sampling.drawn(flat, uniform, 0.79).unique()) == 40


# ---------------------------------------------------------------- one at a time


def test_a_stream_is_the_same_text_piece_by_piece(tiny: Callable[[str], Tiny]) -> None:
    one = tiny("gemma3")
    settings = Generation(24, stop=("e ",))
    for prompt in one.prompts:
        pieces: list[str] = []
        answer = generate.stream(one.model, prompt, one.tokenizer, settings, device=CPU, on_text=pieces.append)
        assert "".join(pieces).strip() == answer.text
        assert answer == one.answers([prompt], stop=("e ",))[0]


@pytest.mark.parametrize("own", [True, False])
def test_a_stop_string_is_not_shown_even_in_part(tiny: Callable[[str], Tiny], own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny("llama")
    if not own:
        monkeypatch.setattr(incremental, "proof", lambda model: incremental.Proof(0))
    free = one.answers()
    stop = readable(free, 3)
    prompt, whole = next((prompt, answer.text) for prompt, answer in zip(one.prompts, free, strict=True) if stop in answer.text)
    pieces: list[str] = []
    answer = generate.stream(one.model, prompt, one.tokenizer, Generation(24, stop=(stop,)), device=CPU, on_text=pieces.append)
    assert "".join(pieces).strip() == answer.text == whole.split(stop)[0].strip()


def test_what_was_read_before_is_not_computed_again_and_changes_no_answer(tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny("gemma3")
    counted: list[int] = []
    whole = incremental.logits
    monkeypatch.setattr(incremental, "logits", lambda model, ids, *more: counted.append(len(ids)) or whole(model, ids, *more))
    known = decode.Known()
    conversation = list(one.prompts[4])
    for turn in range(4):
        fresh = generate.stream(one.model, conversation, one.tokenizer, Generation(10), device=CPU, on_text=lambda piece: None)
        counted.clear()
        assert generate.stream(one.model, conversation, one.tokenizer, Generation(10), device=CPU, on_text=lambda piece: None, known=known) == fresh
        assert turn == 0 or counted[0] <= len(one.prompts[5]) + 1, "only the new turn and the last token of the answer"
        conversation = [*known.ids, *one.tokens([conversation], [10])[0][-1:], *one.prompts[5]]
    other = one.prompts[8]
    again = generate.stream(one.model, other, one.tokenizer, Generation(10), device=CPU, on_text=lambda piece: None, known=known)
    assert again == generate.stream(one.model, other, one.tokenizer, Generation(10), device=CPU, on_text=lambda piece: None), "another conversation"


def test_an_interrupted_stream_leaves_the_model_and_what_was_read_in_order(tiny: Callable[[str], Tiny]) -> None:
    one = tiny("llama")
    known = decode.Known()
    before = one.model.config._attn_implementation
    heard: list[str] = []

    def interrupted(piece: str) -> None:
        heard.append(piece)
        if len(heard) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate.stream(one.model, one.prompts[1], one.tokenizer, Generation(24), device=CPU, on_text=interrupted, known=known)
    assert one.model.config._attn_implementation == before
    longer = [*known.ids, 50, 60]
    assert len(known.ids) >= len(one.prompts[1])
    found = generate.stream(one.model, longer, one.tokenizer, Generation(12), device=CPU, on_text=lambda piece: None, known=known)
    assert found == one.answers([longer], max_new_tokens=12)[0]
