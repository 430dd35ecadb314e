"""Where the time of a training step goes: shares of torch's profiler over six steps of a recipe, ours and with torch's dropout.

python benchmarks/profile_step.py RECIPE [KEY=VALUE ...]
"""

from __future__ import annotations

import sys

import torch
from torch.profiler import ProfilerActivity, profile

from weitiao.core.recipe import Recipe
from weitiao.models import attention, dropout, load
from weitiao.parallel.single import Single
from weitiao.training import loop, optim
from weitiao.training.loader import Loader
from weitiao.training.prepare import prepare

WARM, COUNTED = 10, 6
prepared = prepare(Recipe.load(sys.argv[1], overrides=sys.argv[2:]))
recipe = prepared.recipe
features = recipe.task.encode(prepared.data.splits.train[:4000], prepared.tokenizer)
loader = Loader(features, recipe.task, layout=prepared.tokenizer.layout(), batch_size=recipe.train.batch_size, gradient_accumulation=1, seed=1, bucketing=True)
for name in ("torch's dropout", "ours"):
    model = recipe.method.apply(load.weights(prepared.located, prepared.config, recipe.task.head, seed=1).model)
    if name == "ours":
        dropout.install(model)
        attention.install(model)
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
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        done = list(taken)
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in rows)
    rate = sum(step.examples for step in done) / sum(step.seconds for step in done)
    print(f"{name}: {rate:.0f} examples/s under the profiler; {torch.get_num_threads()} threads")
    for row in rows[:9]:
        print(f"  {row.self_cpu_time_total / whole:6.1%}  {row.key}")
