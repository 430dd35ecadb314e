"""Decisions: a pure function of the recipe and of facts, and the gathering of those facts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from weitiao.core.plan import Plan
from weitiao.core.recipe import Recipe
from weitiao.inspect.forecast import Body, Work, forecast
from weitiao.models import dropout, frozen, load, precision, vocabulary
from weitiao.models.anatomy import anatomy
from weitiao.training.loader import steps_per_epoch
from weitiao.training.prepare import Encoded, Prepared, token_facts

PACK_TOKENS, PACK_TOKENS_ELSEWHERE = 1024, 4096
"""Tokens in a packed forward on a CPU and on other devices. On two cores of a Xeon 768 to 1,024 were as fast as 2,048, with half the memory."""


@dataclass(frozen=True)
class Facts:
    """What a plan rests on: sizes of the data and the model, and what this machine is."""

    data: str
    rows: dict[str, int]
    windows: int
    """Features of the training rows: as many as rows, or more."""
    split: str
    split_said: str
    selected_on_same_rows: bool
    metric: str
    tokens: dict[str, float]
    body: Body
    device: str
    dtype: str
    precision: dict[str, Any]
    threads: int
    packing: bool = False
    """Whether the task's rows can be packed and the model keeps them apart."""
    shares: bool = False
    """Whether packed rows may share what they begin with: the model was tried, and nothing in it draws at random."""
    readout: str | None = None
    frozen_layers: int = 0
    """Layers at the beginning whose states for a row never change, so that they can be kept."""
    room_for_states: bool = True
    """Whether the disk has room for those states."""
    trained_words: int | None = None
    """Words that occur in the training rows, where the word embedding can be left with these alone."""
    notes: tuple[str, ...] = ()


def make_plan(recipe: Recipe, facts: Facts) -> Plan:
    """Return every decision of a run."""
    train = recipe.train
    rows_per_step = train.batch_size * train.gradient_accumulation
    per_epoch = steps_per_epoch(facts.windows, rows_per_step)
    steps = train.steps or max(1, math.ceil(train.epochs * per_epoch))
    every = min(recipe.evaluate.every or per_epoch, steps)
    selects = recipe.evaluate.best is not False
    packing = facts.packing and train.packing is not False
    pack_tokens = train.pack_tokens or (PACK_TOKENS if facts.device == "cpu" else PACK_TOKENS_ELSEWHERE)
    rows_together, usual = (rows_per_step, facts.tokens["mean"]) if packing else (train.batch_size, facts.tokens["p95"])
    together = min(rows_together, facts.windows) * usual
    work = Work(
        tokens_per_forward=min(together, max(pack_tokens, facts.tokens["longest"])) if packing else together,
        longest=facts.tokens["p95"],
        tokens=facts.windows * facts.tokens["mean"] * steps / per_epoch,
        steps=steps,
        tflops=facts.precision.get(f"{facts.dtype}_tflops", 0.2),
    )
    notes = list(facts.notes)
    cached = facts.frozen_layers if _keeps_states(train.cache_features, facts, epochs=steps / per_epoch) else 0
    if train.cache_features and not cached:
        why = "the disk has no room for their states" if facts.frozen_layers else "the first layer trains, or something random happens below it"
        notes.append(f"train.cache_features: nothing is kept, because {why}.")
    if train.packing and not facts.packing:
        notes.append("train.packing: this model does not keep packed rows apart (or the task has none to pack), so rows of like length are padded.")
    if facts.readout == "full logits":
        notes.append("Logits of this architecture cannot be read out of its hidden states, so they are computed in full: more memory, the same loss.")
    if facts.tokens["share_past_limit"] > 0:
        notes.append(
            f"{facts.tokens['share_past_limit']:.1%} of the training rows are longer than task.max_length={recipe.task.max_length} and lose what does not fit."
        )
    return Plan(
        recipe=recipe.fingerprint,
        data=facts.data,
        rows=facts.rows,
        split="test" if facts.split == "test" else "dev",
        split_said=facts.split_said,
        selected_on_same_rows=facts.selected_on_same_rows,
        best=(recipe.evaluate.best or facts.metric) if selects else None,
        steps=steps,
        steps_per_epoch=per_epoch,
        rows_per_step=rows_per_step,
        batch_size=train.batch_size,
        warmup_steps=math.ceil(train.warmup_ratio * steps),
        learning_rate=train.learning_rate or recipe.method.learning_rate,
        evaluate_every=every,
        save_every=train.save_every or every,
        bucketing=train.bucketing and not packing,
        packing=packing,
        pack_tokens=pack_tokens if packing else None,
        shares=packing and facts.shares and train.share_beginnings and not cached,
        readout=facts.readout,
        windows=facts.windows if facts.windows != facts.rows["train"] else None,
        cached_layers=cached,
        trained_words=facts.trained_words
        if train.compact_vocabulary and not recipe.regularize and (train.optimizer == "adamw" or not train.weight_decay)
        else None,
        gradient_checkpointing=train.gradient_checkpointing,
        device=facts.device,
        dtype="bf16" if facts.dtype == "bf16" else "fp32",
        precision=facts.precision,
        threads=facts.threads,
        parameters={"total": facts.body.parameters, "trainable": facts.body.trainable},
        tokens=facts.tokens,
        forecast=forecast(facts.body, work),
        notes=notes,
    )


def _keeps_states(asked: bool | None, facts: Facts, *, epochs: float) -> bool:
    return facts.frozen_layers > 0 and facts.room_for_states and (epochs > 1 if asked is None else asked)


def facts(asked: Recipe, prepared: Prepared, encoded: Encoded) -> Facts:
    """Return the facts of this recipe on this machine: counts a model without weights, probes the precision.

    Packing and read-out are what is expected; what the model itself shows when it is loaded takes their place.
    """
    recipe, data = prepared.recipe, prepared.data
    model = recipe.method.apply(load.skeleton(prepared.config, recipe.task.head))
    named = dict(model.named_parameters())
    parts = anatomy(model)
    lowest = next((n for n, layer in enumerate(parts.layers) if any(named[p].requires_grad for p in layer)), len(parts.layers))
    if any(named[p].requires_grad for p in parts.embeddings):
        lowest = 0
    config = prepared.config.get_text_config()
    recipe.method.training_mode(model)
    unchanging, pooled = (0, False) if recipe.task.redraws else frozen.prefix(model)
    states = len(encoded.train) if pooled else int(encoded.train.lengths.sum())
    dtype, measured = precision.choose(recipe.train.dtype, prepared.device)
    if "fp32_tflops" not in measured:
        measured = {**measured, **precision.speeds(prepared.device)}
    return Facts(
        data=data.fingerprint,
        windows=len(encoded.train),
        packing=recipe.task.packs and not getattr(config, "is_encoder_decoder", False),
        readout="labelled positions" if recipe.task.reads_out else None,
        shares=recipe.task.packs and not dropout.is_random(model) and not getattr(config, "is_encoder_decoder", False),
        frozen_layers=unchanging,
        trained_words=None if recipe.task.redraws else vocabulary.words(model, [*encoded.train.words, prepared.tokenizer.pad_id]),
        room_for_states=frozen.fits(frozen.size(states, int(getattr(config, "hidden_size", 0) or 0))),
        rows={"train": len(data.splits.train), "dev": len(data.splits.dev), "test": len(data.splits.test)},
        split=data.split,
        split_said=data.splits.said,
        selected_on_same_rows=data.selected_on_same_rows,
        metric=recipe.task.metrics()[0].name,
        tokens=token_facts(encoded.train),
        body=Body(
            parameters=sum(p.numel() for p in named.values()),
            trainable=sum(p.numel() for p in named.values() if p.requires_grad),
            in_layers=sum(named[p].numel() for layer in parts.layers for p in layer),
            trained_depth=1 - lowest / max(len(parts.layers), 1),
            width=int(getattr(config, "hidden_size", 0) or 512),
            layers=len(parts.layers),
            heads=int(getattr(config, "num_attention_heads", 0) or 8),
        ),
        device=str(prepared.device),
        dtype=dtype,
        precision=measured,
        threads=torch.get_num_threads(),
        notes=prepared.notes,
    )
