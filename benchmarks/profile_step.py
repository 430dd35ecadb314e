"""Where the time of a training step goes: shares of torch's profiler over six steps of a recipe, as torch does it and as weitiao does.

python benchmarks/profile_step.py RECIPE [KEY=VALUE ...]

Page faults and seconds in the system are those of the profiled steps.
"""

from __future__ import annotations

import resource
import sys

import torch
from torch.profiler import ProfilerActivity, profile

from weitiao.core.recipe import Recipe
from weitiao.models import allocator, apart, attention, dropout, load, unpadding, vocabulary
from weitiao.parallel.single import Single
from weitiao.training import loop, optim
from weitiao.training.loader import Loader
from weitiao.training.plan import PACK_TOKENS
from weitiao.training.prepare import prepare

WARM, COUNTED = 4, 6
prepared = prepare(Recipe.load(sys.argv[1], overrides=sys.argv[2:]))
recipe = prepared.recipe
features = recipe.task.encode(prepared.data.splits.train[:4000], prepared.tokenizer)
used = {token for item in features for token in item.input_ids} | {prepared.tokenizer.pad_id}
for name, ours in (("torch's attention and dropout, freed memory given back", False), ("weitiao's", True)):
    model = recipe.method.apply(load.weights(prepared.located, prepared.config, recipe.task.head, seed=1).model)
    packed = unpads = False
    if ours:
        dropout.install(model)
        attention.install(model)
        packed = recipe.task.packs and apart.keeps_documents_apart(model)
        unpads = not recipe.task.packs and unpadding.works(model)
        recipe.method.training_mode(model)
        if not recipe.task.redraws and vocabulary.words(model, used) is not None:
            vocabulary.shrink(model, used)
        if unpads:
            unpadding.Unpadding(model)
    layout = prepared.tokenizer.layout(
        packed=packed, most_tokens=(recipe.train.pack_tokens or PACK_TOKENS) if packed else None, shares=packed and apart.shares_prefix(model)
    )
    loader = Loader(
        features,
        recipe.task,
        layout=layout,
        batch_size=recipe.train.step_rows,
        gradient_accumulation=1,
        seed=1,
        bucketing=ours,
        unpadded_tokens=PACK_TOKENS if unpads else None,
    )
    with allocator.keeping(ours):
        taken = loop.steps(
            model,
            recipe.task.objective(),
            loader,
            optim.optimizer(recipe.method.groups(model), recipe.train),
            loop.Schedule(1e-5, 0, WARM + COUNTED, "constant"),
            method=recipe.method,
            strategy=Single(prepared.device),
            start=0,
            seed=1,
            dtype="fp32",
            max_grad_norm=1.0,
        )
        for _ in range(WARM):
            next(taken)
        before = resource.getrusage(resource.RUSAGE_SELF)
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            done = list(taken)
        after = resource.getrusage(resource.RUSAGE_SELF)
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in rows)
    seconds = sum(step.seconds for step in done)
    print(
        f"{name}: {sum(step.examples for step in done) / seconds:.1f} examples/s, {sum(step.tokens for step in done) / seconds:.0f} tokens/s under the profiler"
    )
    faults, system = after.ru_minflt - before.ru_minflt, after.ru_stime - before.ru_stime
    print(f"  {torch.get_num_threads()} threads; {faults:,} page faults; {system:.1f} s in the system, {after.ru_utime - before.ru_utime:.1f} s outside of it")
    for row in rows[:9]:
        print(f"  {row.self_cpu_time_total / whole:6.1%}  {row.key}")
