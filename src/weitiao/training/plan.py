"""Decisions: a pure function of the recipe and of facts, and the gathering of those facts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import Module

from weitiao.core.contracts import Capability
from weitiao.core.plan import Plan
from weitiao.core.recipe import Recipe
from weitiao.errors import Conflict
from weitiao.inspect.forecast import Body, Forecast, Ways, terms
from weitiao.models import apart, attention, dropout, frozen, load, precision, readout, sizes, unpadding, vocabulary
from weitiao.models.anatomy import anatomy
from weitiao.training import memory, optim
from weitiao.training.loader import forward_cost, steps_per_epoch
from weitiao.training.memory import Choice, Situation
from weitiao.training.prepare import Encoded, Prepared, token_facts
from weitiao.training.workload import Division, Rows, forwards_of_steps, order_of, rows_of

_TOO_LITTLE = "The forecast of "

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
    lengths: Rows
    """Tokens of every row."""
    body: Body
    device: str
    dtype: str
    precision: dict[str, Any]
    threads: int
    packing: bool = False
    """Whether the task's rows can be packed and the model keeps them apart."""
    unpads: bool = False
    """Whether the body can leave out the padding of the task's batches."""
    shares: bool = False
    """Whether packed rows may share what they begin with: the model was tried, and nothing in it draws at random."""
    readout: str | None = None
    frozen_layers: int = 0
    """Layers at the beginning whose states for a row never change, so that they can be kept."""
    room_for_states: bool = True
    """Whether the disk has room for those states."""
    resting: int = 0
    """Trainable parameters of the words that do not occur in the training rows."""
    trained_words: int | None = None
    """Words that occur in the training rows, where the word embedding can be left with these alone."""
    free_gb: float | None = None
    """Memory that this process may use in all; None where the system does not tell."""
    coupled: bool = False
    """Whether the rows of a step see each other."""
    notes: tuple[str, ...] = ()


def make_plan(recipe: Recipe, facts: Facts) -> Plan:
    """Return every decision of a run."""
    train = recipe.train
    per_epoch = steps_per_epoch(facts.windows, train.step_rows)
    steps = train.steps or max(1, math.ceil(train.epochs * per_epoch))
    every = min(recipe.evaluate.every or per_epoch, steps)
    selects = recipe.evaluate.best is not False
    packing = facts.packing and train.packing is not False
    unpads = facts.unpads and train.packing is not False
    cached = facts.frozen_layers if _keeps_states(train.cache_features, facts, epochs=steps / per_epoch) else 0
    shares = packing and facts.shares and train.share_prefix and not cached
    choice = _choice(recipe, packing, facts.device, shares=shares, keeps=cached > 0, unpads=unpads)
    now = _situation(recipe, facts, steps=steps, evaluations=math.ceil(steps / every) + 1 if selects else 0, passed=cached)
    if train.batch_size == "auto":
        choice = memory.largest_that_fits(now, choice)
    seen, division = memory.outlook(now, choice), choice.division
    told = _told(recipe, now, choice, seen)
    notes = list(facts.notes)
    if train.cache_features and not cached:
        why = "the disk has no room for their states" if facts.frozen_layers else "the first layer trains, or something random happens below it"
        notes.append(f"train.cache_features: nothing is kept, because {why}.")
    if train.packing and not (facts.packing or facts.unpads):
        why = "this model does not keep packed rows apart (or the task has none to pack)"
        if Capability.ROWS_APART in recipe.method.capabilities:
            why = f"{recipe.method.name} puts something before every row"
        notes.append(f"train.packing: {why}, so rows of like length are padded.")
    if facts.readout == "full logits":
        notes.append("Logits of this architecture cannot be read out of its hidden states, so they are computed in full: more memory, the same loss.")
    if facts.tokens["share_past_limit"] > 0:
        notes.append(
            f"{facts.tokens['share_past_limit']:.1%} of the training rows are longer than task.max_length={recipe.task.max_length} and lose what does not fit."
        )
    if told["change"]:
        notes.append(_too_little(told, now.free_gb))
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
        rows_per_step=division.rows_per_step,
        batch_size=division.batch_size,
        warmup_steps=math.ceil(train.warmup_ratio * steps),
        learning_rate=train.learning_rate or recipe.method.usual_rate,
        evaluate_every=every,
        save_every=train.save_every or every,
        bucketing=train.bucketing and not packing,
        packing=packing,
        unpadding=unpads,
        pack_tokens=division.pack_tokens,
        share_prefix=shares,
        readout=facts.readout,
        windows=facts.windows if facts.windows != facts.rows["train"] else None,
        cached_layers=cached,
        trained_words=facts.trained_words if _compacts(recipe) else None,
        gradient_checkpointing=train.gradient_checkpointing,
        device=facts.device,
        dtype="bf16" if facts.dtype == "bf16" else "fp32",
        precision=facts.precision,
        threads=facts.threads,
        parameters={"total": facts.body.parameters, "trainable": facts.body.trainable},
        tokens=facts.tokens,
        forecast=told,
        notes=notes,
    )


def _keeps_states(asked: bool | None, facts: Facts, *, epochs: float) -> bool:
    return facts.frozen_layers > 0 and facts.room_for_states and (epochs > 1 if asked is None else asked)


def _compacts(recipe: Recipe) -> bool:
    """Tell whether words without a gradient stay out of training: not where a regularizer, or momentum over decay, would move them."""
    train = recipe.train
    return train.compact_vocabulary and not recipe.regularize and (train.optimizer == "adamw" or not train.weight_decay)


def _choice(recipe: Recipe, packing: bool, device: str, *, shares: bool, keeps: bool, unpads: bool) -> Choice:
    """Return what the recipe asks for; of `batch_size: auto` the largest micro-batch."""
    train, coupled = recipe.train, recipe.task.objective().coupled
    division = Division(
        rows_per_step=train.step_rows,
        batch_size=train.step_rows if isinstance(train.batch_size, str) else train.batch_size,
        pack_tokens=(train.pack_tokens or (PACK_TOKENS if device == "cpu" else PACK_TOKENS_ELSEWHERE)) if packing or (unpads and not coupled) else None,
        bucketing=train.bucketing and not packing,
        seed=train.seed,
        evaluation_rows=recipe.evaluate.batch_size,
        shares=shares,
        keeps=keeps,
        forward_cost=forward_cost(device, coupled=coupled),
        unpads=unpads,
    )
    return Choice(division, train.gradient_checkpointing)


def _situation(recipe: Recipe, facts: Facts, *, steps: int, evaluations: int, passed: int) -> Situation:
    speeds, train = facts.precision, recipe.train
    ways = Ways(
        tflops=speeds.get(f"{facts.dtype}_tflops", 0.2),
        evaluation_tflops=speeds.get("fp32_tflops", 0.2),
        gigabytes_per_second=speeds.get("gigabytes_per_second", 10.0),
        packed=False,
        cpu=facts.device == "cpu",
        bf16=facts.dtype == "bf16",
        optimizer=train.optimizer,
        momentum=train.momentum > 0,
    )
    body = replace(facts.body, passed=passed, resting=facts.resting if _compacts(recipe) else 0)
    return Situation(body, facts.lengths, ways, steps, evaluations, facts.free_gb, facts.coupled)


def _told(recipe: Recipe, now: Situation, choice: Choice, seen: Forecast) -> dict[str, Any]:
    """Return the forecast as the plan tells it, with the settings to change where it is more than what is free."""
    told = {**seen.as_dict(), "free_gb": now.free_gb, "change": None, "memory_gb_then": None}
    if now.free_gb is not None and told["memory_gb"] > now.free_gb:
        settings, then = memory.advice(now, choice, method=recipe.method.name, auto=recipe.train.batch_size == "auto")
        told |= {"change": settings or None, "memory_gb_then": None if then is None else round(then, 3)}
    return told


def _too_little(told: dict[str, Any], free_gb: float | None) -> str:
    return (
        f"{_TOO_LITTLE}{told['memory_gb']:.1f} GB is more than the {free_gb:.1f} GB that this process may use: the system may end it without a word. "
        f"With {told['change']} the forecast is {told['memory_gb_then']:.1f} GB."
    )


def _packs(recipe: Recipe) -> bool:
    """Tell whether rows of the task can be packed, and the method puts nothing before each of them."""
    return recipe.task.packs and Capability.ROWS_APART not in recipe.method.capabilities


def _unpads(recipe: Recipe, device: torch.device) -> bool:
    """Tell whether the body may leave out padding: rows that cannot be packed, and on a CPU, where it is worth it."""
    return device.type == "cpu" and not recipe.task.packs and Capability.ROWS_APART not in recipe.method.capabilities


def shown(known: Facts, recipe: Recipe, model: Module) -> Facts:
    """Return the facts with what the loaded model shows when it is tried: precision on a GPU, whether rows stay apart without padding, the read-out."""
    task, device = recipe.task, next(model.parameters()).device
    if recipe.train.dtype == "auto" and known.dtype == "bf16" and device.type == "cuda":
        tried = precision.of_model(model, device)
        slower = bool(tried) and tried["bf16_forward_seconds"] >= tried["fp32_forward_seconds"]
        known = replace(known, dtype="fp32" if slower else "bf16", precision={**known.precision, **tried})
    if task.reads_out:
        known = replace(known, readout="labelled positions" if readout.of(model) is not None else "full logits")
    if recipe.train.packing is False or not (_packs(recipe) or known.unpads):
        return replace(known, packing=False, unpads=False)
    attention.install(model)
    if known.unpads:
        return replace(known, packing=False, unpads=unpadding.works(model))
    packing = apart.keeps_documents_apart(model)
    return replace(known, packing=packing, shares=known.shares and packing and apart.shares_prefix(model))


def promised(recipe: Recipe, facts: Facts, plan: Plan, steps: Sequence[int]) -> list[dict[str, float]]:
    """Return the work of each of these steps, as `inspect/forecast.py` adds it up to seconds."""
    now, choice = _situation(recipe, facts, steps=plan.steps, evaluations=0, passed=plan.cached_layers), _decided(recipe, plan)
    ways = now.ways_of(choice)
    order = order_of(facts.lengths, choice.division)
    return [terms(now.body, tuple(forwards), 1, ways) for forwards in forwards_of_steps(facts.lengths, choice.division, order, steps)]


def revised_by_probe(recipe: Recipe, facts: Facts, plan: Plan, *, pace: float, memory_gb: float) -> Plan:
    """Return the plan with the forecast that a probe gives.

    pace: seconds that a step took for each that sizes promised. memory_gb: peak of the probe, in which nothing was evaluated.
    """
    evaluations = math.ceil(plan.steps / plan.evaluate_every) + 1 if plan.best else 0
    now, choice = _situation(recipe, facts, steps=plan.steps, evaluations=evaluations, passed=plan.cached_layers), _decided(recipe, plan)
    seen = memory.outlook(now, choice)
    phases = {**seen.phases, "steps": {**seen.phases["steps"], "other": memory_gb - sum(seen.phases["steps"].values())}}
    seconds = {phase: value if phase == "loading" else value * pace for phase, value in seen.seconds.items()}
    told = {**_told(recipe, now, choice, replace(seen, phases=phases, seconds=seconds)), "from": "probe"}
    notes = [note for note in plan.notes if not note.startswith(_TOO_LITTLE)]
    return plan.revised(forecast=told, notes=[*notes, *([_too_little(told, now.free_gb)] if told["change"] else [])])


def _decided(recipe: Recipe, plan: Plan) -> Choice:
    """Return what a plan has chosen."""
    division = Division(
        rows_per_step=plan.rows_per_step,
        batch_size=plan.batch_size,
        pack_tokens=plan.pack_tokens,
        bucketing=plan.bucketing,
        seed=recipe.train.seed,
        evaluation_rows=recipe.evaluate.batch_size,
        shares=plan.share_prefix,
        keeps=plan.cached_layers > 0,
        forward_cost=forward_cost(plan.device, coupled=recipe.task.objective().coupled),
        unpads=plan.unpadding,
    )
    return Choice(division, plan.gradient_checkpointing)


def facts(asked: Recipe, prepared: Prepared, encoded: Encoded) -> Facts:
    """Return the facts of this recipe on this machine: counts a model without weights, probes the precision.

    Packing and read-out are what is expected; what the model itself shows when it is loaded takes their place.
    """
    recipe, data, head = prepared.recipe, prepared.data, prepared.recipe.task.head
    coupled = recipe.task.objective().coupled
    if coupled and recipe.train.step_rows < 2:
        raise Conflict(
            f"train: a step of one row has nothing to compare it with, and {recipe.task.name} learns by comparing.",
            hint="Set train.batch_size or train.gradient_accumulation higher: 32 rows in a step are few; more forwards in a step need no more memory.",
        )
    model = recipe.method.apply(load.skeleton(prepared.config, head))
    optim.by_layer(recipe.method.groups(model), model, recipe.train.layer_decay)  # what cannot be done is said before a weight is loaded
    recipe.method.training_mode(model)
    unchanging, pooled = (0, False) if recipe.task.redraws else frozen.prefix(model)
    states = len(encoded.train) if pooled else int(encoded.train.lengths.sum())
    random, words = dropout.is_random(model), None if recipe.task.redraws else vocabulary.words(model, [*encoded.train.words, prepared.tokenizer.pad_id])
    dtype, measured = precision.choose(recipe.train.dtype, prepared.device)
    if "gigabytes_per_second" not in measured:
        measured = {**measured, **precision.speeds(prepared.device)}
    config = prepared.config.get_text_config()
    tokens = token_facts(encoded.train)
    known = head.is_body or load.labels_in_checkpoint(prepared.located) == list(head.config.get("id2label", {}).values())
    return Facts(
        data=data.fingerprint,
        windows=len(encoded.train),
        packing=_packs(recipe) and not getattr(config, "is_encoder_decoder", False),
        unpads=_unpads(recipe, prepared.device) and not attention.has_relative_positions(model) and not getattr(config, "is_encoder_decoder", False),
        readout="labelled positions" if recipe.task.reads_out else None,
        shares=_packs(recipe) and not random and not getattr(config, "is_encoder_decoder", False),
        frozen_layers=unchanging,
        trained_words=words,
        resting=vocabulary.resting(model, words),
        room_for_states=frozen.fits(frozen.size(states, int(getattr(config, "hidden_size", 0) or 0))),
        rows={"train": len(data.splits.train), "dev": len(data.splits.dev), "test": len(data.splits.test)},
        split=data.split,
        split_said=data.splits.said,
        selected_on_same_rows=data.selected_on_same_rows,
        metric=recipe.task.metrics()[0].name,
        tokens=tokens,
        lengths=rows_of(recipe.task, encoded.train, encoded.dev, encoded.proof, head_is_new=recipe.task.probes and not known),
        body=_body(recipe, model, config, length=max(2, round(tokens["p95"]))),
        device=str(prepared.device),
        dtype=dtype,
        precision=measured,
        threads=torch.get_num_threads(),
        free_gb=memory.free_gb(prepared.device),
        coupled=coupled,
        notes=prepared.notes,
    )


def _body(recipe: Recipe, model: Module, config: Any, *, length: int) -> Body:
    """Return the sizes of a model on the meta device, which is of no use afterwards."""
    any_model: Any = model
    parameters = list(model.parameters())
    product = any_model.get_output_embeddings() if recipe.task.reads_out else None
    weight = getattr(product, "weight", None)
    described = Body(
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        counted=_guessed(model, config),
        product=weight.numel() if weight is not None else 0,
        product_learns=weight is not None and bool(weight.requires_grad),
        vocabulary=int(weight.shape[0]) if weight is not None else 0,
        with_peft=Capability.ADAPTER in recipe.method.capabilities,
    )
    counted = sizes.counted(model, length=length, training_mode=recipe.method.training_mode)
    return described if counted is None else replace(described, counted=counted)


def _guessed(model: Module, config: Any) -> sizes.Counted:
    parts, named = anatomy(model), dict(model.named_parameters())
    lowest = next((n for n, layer in enumerate(parts.layers) if any(named[p].requires_grad for p in layer)), len(parts.layers))
    if any(named[p].requires_grad for p in parts.embeddings):
        lowest = 0
    passed = 1 / len(parts.stacks)  # a token goes through the encoder or the decoder
    return sizes.guessed(
        in_layers=round(passed * sum(named[p].numel() for layer in parts.layers for p in layer)),
        learnt_share=1 - lowest / max(len(parts.layers), 1),
        layers=round(passed * len(parts.layers)),
        width=int(getattr(config, "hidden_size", 0) or 512),
        heads=int(getattr(config, "num_attention_heads", 0) or 8),
    )
