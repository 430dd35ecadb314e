"""Decisions: a pure function of the recipe and of facts, and the gathering of those facts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from weitiao.core.plan import Plan
from weitiao.core.recipe import Recipe
from weitiao.inspect.forecast import Body, Work, forecast
from weitiao.models import load, precision
from weitiao.models.anatomy import anatomy
from weitiao.training.loader import steps_per_epoch
from weitiao.training.prepare import Encoded, Prepared, token_facts


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
    readout: str | None = None
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
    rows_together, usual = (rows_per_step, facts.tokens["mean"]) if packing else (train.batch_size, facts.tokens["p95"])
    together = min(rows_together, facts.windows) * usual
    work = Work(
        tokens_per_forward=min(together, max(train.pack_tokens, facts.tokens["longest"])) if packing else together,
        longest=facts.tokens["p95"],
        tokens=facts.windows * facts.tokens["mean"] * steps / per_epoch,
        steps=steps,
        tflops=facts.precision.get(f"{facts.dtype}_tflops", 0.2),
    )
    notes = list(facts.notes)
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
        pack_tokens=train.pack_tokens if packing else None,
        readout=facts.readout,
        windows=facts.windows if facts.windows != facts.rows["train"] else None,
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
    dtype, measured = precision.choose(recipe.train.dtype, prepared.device)
    if "fp32_tflops" not in measured:
        measured = {**measured, **precision.speeds(prepared.device)}
    config = prepared.config.get_text_config()
    return Facts(
        data=data.fingerprint,
        windows=len(encoded.train),
        packing=recipe.task.packs and not getattr(config, "is_encoder_decoder", False),
        readout="labelled positions" if recipe.task.reads_out else None,
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
