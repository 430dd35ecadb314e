"""Tiny random language models of every family that conformance covers, with a byte-level tokenizer and a chat template."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

WINDOW = 16
"""Sliding window of the families that have one."""
PACKING = ("gpt2", "llama", "qwen2", "qwen3", "gemma2", "gemma3", "granite", "cohere", "opt", "mistral")
"""Causal families that keep packed documents apart."""
ENCODER_DECODERS = ("bart", "marian", "t5")
MASKED = ("bert", "roberta", "deberta")
EVERY = (*PACKING, *ENCODER_DECODERS, *MASKED)

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTIONS = ["capital of", "colour of", "number of", "name of"]
THINGS = ["france", "sky", "grass", "dogs", "snow", "night", "fire", "sea", "moon", "gold", "blood", "coal"]
ANSWERS = ["paris", "blue", "green", "seven", "white", "black", "red", "deep", "pale", "yellow", "dark", "hot"]


def dialogues(count: int, *, seed: int = 0, longest: int = 3) -> list[dict[str, Any]]:
    """Return conversations that a tiny model can learn by heart, of one to `longest` exchanges."""
    rng = random.Random(seed)
    found = []
    for n in range(count):
        messages = [{"role": "system", "content": "be brief"}] if n % 4 == 0 else []
        for _ in range(rng.randint(1, longest)):
            thing = rng.randrange(len(THINGS))
            messages.append({"role": "user", "content": f"{rng.choice(QUESTIONS)} {THINGS[thing]} {n}?"})
            messages.append({"role": "assistant", "content": " ".join([ANSWERS[thing]] * rng.randint(1, 3))})
        found.append({"messages": messages})
    return found


def pairs(count: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Return texts and what they are to become: words that a tiny model can learn by heart."""
    rng = random.Random(seed)
    found = []
    for n in range(count):
        things = [rng.randrange(len(THINGS)) for _ in range(rng.randint(1, 4))]
        found.append({"source": " ".join(THINGS[thing] for thing in things) + f" {n}.", "target": " ".join(ANSWERS[thing] for thing in things)})
    return found


def texts(count: int, *, seed: int = 0) -> list[str]:
    """Return short texts of very different lengths."""
    rng = random.Random(seed)
    return [" ".join(rng.choice(THINGS + ANSWERS) for _ in range(rng.choice([3, 6, 12, 40]))) + "." for _ in range(count)]


def tokenizer(**settings: Any) -> Any:
    """Return a byte-level tokenizer trained on such texts."""
    import tokenizers
    import transformers

    special = ["<pad>", "<bos>", "<eos>", "<mask>", "<unk>", "<|im_start|>", "<|im_end|>"]
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([*texts(200), *(m["content"] for d in dialogues(50) for m in d["messages"])], trainer)
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "mask_token": "<mask>", "unk_token": "<unk>", "model_max_length": 256}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, **{**names, **settings})
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return fast


def config(family: str, vocabulary: int) -> Any:
    """Return the configuration of a family: two or three layers, width 32, a window of WINDOW where there is one."""
    import transformers as t

    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    llama = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 260,
        "initializer_range": 0.2,
        **ids,
    }
    grouped = {**llama, "num_key_value_heads": 2}
    gemma = {**grouped, "head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 8, "layer_types": ["sliding_attention", "full_attention"]}
    makers = {
        "gpt2": lambda: t.GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=260, initializer_range=0.2, **ids),
        "llama": lambda: t.LlamaConfig(**grouped, tie_word_embeddings=True),
        "qwen2": lambda: t.Qwen2Config(**grouped),
        "qwen3": lambda: t.Qwen3Config(**grouped, head_dim=8),
        "gemma2": lambda: t.Gemma2Config(**gemma, final_logit_softcapping=3.0, attn_logit_softcapping=2.0),
        "gemma3": lambda: t.Gemma3TextConfig(**gemma),
        "granite": lambda: t.GraniteConfig(**grouped, logits_scaling=4.0, embedding_multiplier=2.0, residual_multiplier=0.5, attention_multiplier=0.3),
        "cohere": lambda: t.CohereConfig(**grouped, logit_scale=0.25),
        "mistral": lambda: t.MistralConfig(**grouped, sliding_window=WINDOW),
        "opt": lambda: t.OPTConfig(
            vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64, max_position_embeddings=260,
            word_embed_proj_dim=32, init_std=0.2, dropout=0.0, **ids,
        ),
        "bart": lambda: t.BartConfig(
            vocab_size=vocabulary, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=64, decoder_ffn_dim=64, init_std=0.2, max_position_embeddings=260, **ids,
        ),
        "marian": lambda: t.MarianConfig(
            vocab_size=vocabulary, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=64, decoder_ffn_dim=64, init_std=0.2, max_position_embeddings=260, decoder_start_token_id=0, **ids,
        ),
        "t5": lambda: t.T5Config(
            vocab_size=vocabulary, d_model=32, d_kv=8, num_layers=2, num_heads=4, d_ff=64, decoder_start_token_id=0, pad_token_id=0, eos_token_id=2
        ),
        "bert": lambda: t.BertConfig(**llama),
        "roberta": lambda: t.RobertaConfig(**llama, type_vocab_size=1),
        "deberta": lambda: t.DebertaV2Config(
            **llama, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16, position_biased_input=False, type_vocab_size=0
        ),
    }  # fmt: skip
    return makers[family]()


def head_of(family: str) -> str:
    """Return the Auto class of a family's language model."""
    return "AutoModelForMaskedLM" if family in MASKED else "AutoModelForSeq2SeqLM" if family in ENCODER_DECODERS else "AutoModelForCausalLM"


def model(family: str) -> Any:
    """Return a random language model of a family that never draws at random."""
    import torch
    import transformers

    still = config(family, 330)
    for name in (name for name in still.to_dict() if "dropout" in name or "pdrop" in name):
        setattr(still, name, 0.0)
    torch.manual_seed(0)
    return getattr(transformers, head_of(family)).from_config(still)


def build(folder: Path, family: str, **tokens: Any) -> Path:
    """Write a random model of a family with its tokenizer; encoders put <bos> and <eos> around a text."""
    import torch
    import transformers
    from tokenizers import processors

    made = tokenizer(**tokens)
    if family in MASKED:
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)])
    elif "chat_template" not in tokens:
        made.chat_template = CHATML
    torch.manual_seed(0)
    model = getattr(transformers, head_of(family)).from_config(config(family, len(made)))
    with torch.no_grad():  # a bias that starts at zero would hide a read-out that forgets it
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith(("bias", "final_logits_bias")) and tensor.is_floating_point():
                tensor.normal_(0, 0.1)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
