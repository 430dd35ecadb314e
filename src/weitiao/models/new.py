"""A model from a configuration, its weights drawn and its tokenizer trained on the user's texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from weitiao.core import environment, files, fingerprint
from weitiao.core.contracts import Head
from weitiao.core.recipe import NewModel
from weitiao.core.registry import did_you_mean
from weitiao.core.textfile import shown
from weitiao.errors import BadValue, ModelError
from weitiao.models.load import _auto, _quiet, check_head
from weitiao.models.locate import Located

SMALL = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 1024}
"""Sizes where the recipe names none: a model that trains on two cores."""
PAD, UNKNOWN, BEGIN, END, MASK = "<pad>", "<unk>", "<bos>", "<eos>", "<mask>"


def make(new: NewModel, texts: Sequence[str], head: Head, *, seed: int) -> Located:
    """Return a folder in the cache with tokenizer, configuration and fresh weights; equal settings, texts and seed give the same one.

    Raises BadValue for an architecture or a size that transformers does not know, ModelError where the sizes do not go together.
    """
    key = fingerprint.of_json({"new": new.settings(), "texts": fingerprint.of_texts(texts), "head": head.auto_class, "seed": seed})
    name = f"new {new.architecture}"
    folder = environment.cache_folder() / "new" / f"{new.architecture}-{new.tokenizer}-{key[:12]}"
    if not files.is_complete(folder):
        tokenizer = _tokenizer(new, texts)
        config = _configuration(new, tokenizer)
        check_head(config, head, asked=name)
        torch.manual_seed(seed)
        try:
            with _quiet():
                model = _auto(head, config).from_config(config)
        except (ValueError, TypeError, RuntimeError, KeyError, ZeroDivisionError) as error:
            raise _refused(new, error) from None
        with files.folder_being_written(folder) as target, _quiet():
            model.save_pretrained(target, safe_serialization=True)
            tokenizer.save_pretrained(target)
    return Located(name, str(folder), True, name)


def _configuration(new: NewModel, tokenizer: Any) -> Any:
    from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassError
    from transformers import CONFIG_MAPPING, AutoConfig

    known = sorted(CONFIG_MAPPING.keys())
    if new.architecture not in known:
        raise BadValue(
            f"model.architecture: transformers knows no '{new.architecture}'.{did_you_mean(new.architecture, known)}", hint="Usual: llama, gpt2, qwen2, bert."
        )
    usual = AutoConfig.for_model(new.architecture)
    names = {*usual.to_dict(), *usual.attribute_map}
    if unknown := sorted(set(new.configuration) - names):
        raise BadValue(
            f"model.configuration: {new.architecture} has no setting '{unknown[0]}'.{did_you_mean(unknown[0], names)}",
            hint=f"Sizes are named as in transformers: {', '.join(SMALL)}.",
        )
    theirs = usual.attribute_map
    chosen = {**SMALL, **{next((name for name, real in theirs.items() if real == key), key): value for key, value in new.configuration.items()}}
    sizes = ("hidden_size", "num_attention_heads")
    if wrong := next((name for name in sizes if not isinstance(chosen[name], int) or chosen[name] < 1), None):
        raise BadValue(f"model.configuration.{theirs.get(wrong, wrong)}: expected a whole number from 1, got {shown(chosen[wrong])}.", hint="Mend the size.")
    width, heads = (chosen[name] for name in sizes)
    for name, value in (("intermediate_size", 4 * width), ("num_key_value_heads", heads), ("head_dim", width // heads)):
        if name in names and name not in chosen:
            chosen[name] = value
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    try:
        return AutoConfig.for_model(new.architecture, **{theirs.get(name, name): value for name, value in chosen.items()}, vocab_size=len(tokenizer), **ids)
    except StrictDataclassClassValidationError as error:
        raise _refused(new, error.__cause__ or error) from None
    except (ValueError, TypeError, StrictDataclassError) as error:
        said = " ".join(str(error).split()).rstrip(".")[:200]
        raise BadValue(f"model.configuration: {said}.", hint="Sizes are named and typed as in transformers.") from None


def _refused(new: NewModel, error: BaseException) -> ModelError:
    said = str(error).strip().partition("\n")[0].rstrip(".")[:200]
    return ModelError(f"model.configuration: {new.architecture} cannot be made with these sizes: {said}.", hint="Change model.configuration.")


def _tokenizer(new: NewModel, texts: Sequence[str]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, UNKNOWN, BEGIN, END, MASK]
    if new.tokenizer == "bpe":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=new.vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
        made.train_from_iterator(_pieces(texts), trainer)
    else:
        made = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
        if new.tokenizer == "characters":
            made.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
            made.decoder = decoders.Fuse()
        else:  # a line end is a word of its own, as in the Penn Treebank
            made.normalizer = normalizers.Replace(Regex("[ \\t]*\\r?\\n"), f" {END} ")
            made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        made.model = models.WordLevel(_most_frequent(made, texts, special, new.vocabulary), unk_token=UNKNOWN)
    made.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, made.token_to_id(BEGIN))])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token=PAD, unk_token=UNKNOWN, bos_token=BEGIN, eos_token=END, mask_token=MASK)


def _most_frequent(tokenizer: Any, texts: Sequence[str], special: Sequence[str], most: int) -> dict[str, int]:
    """Return the most frequent words with their ids; the library's own trainer counts a special token that stands in the text twice."""
    counts: Counter[str] = Counter()
    for piece in _pieces(texts):
        normal = tokenizer.normalizer.normalize_str(piece) if tokenizer.normalizer else piece
        counts.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    words = sorted((word for word in counts if word not in special), key=lambda word: (-counts[word], word))
    return {word: n for n, word in enumerate([*special, *words[: max(0, most - len(special))]])}


def _pieces(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        for start in range(0, len(text), 100_000):
            yield text[start : start + 100_000]
