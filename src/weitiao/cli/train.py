"""`weitiao train`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape

from weitiao.cli.output import named, print_json, stdout, table
from weitiao.core import registry
from weitiao.core.contracts import Task
from weitiao.core.recipe import Recipe
from weitiao.core.report import before_said, digits_of, number, p_in_words
from weitiao.errors import Conflict

PARTS = {
    "process": "Python and its libraries",
    "optimizer": "optimizer's state",
    "attention": "attention weights",
    "passing": "what comes and goes",
    "file": "the file while it is read",
}
"""Part of a memory forecast -> what it is called, where its own name does not say enough."""


def train(recipe: Path, overrides: list[str], plan: bool, probe: bool, out: Path | None, again: bool, as_json: bool) -> int:
    """Train, or print the plan; return the exit code."""
    if probe and not plan:
        raise Conflict(
            "train: --probe has no meaning without --plan.", hint="--plan --probe measures time and memory on a few steps, and stops; without both, train."
        )
    asked = Recipe.load(recipe, overrides=overrides)  # most mistakes end here, before torch is imported
    if plan:
        from weitiao.training.run import plan as make_plan

        made = make_plan(asked, probed=probe).settings()
        if as_json:
            print_json(made)
        else:
            show_plan(asked, made)
        return 0

    from weitiao.record.console import Console
    from weitiao.training.run import run

    console = Console()
    try:
        report = run(asked, stem=recipe.stem, out=out, again=again, recorders=[console])
    finally:
        console.close()
    if as_json:
        print_json(report)
    else:
        show_report(report)
    return 0


def show_report(report: Mapping[str, Any]) -> None:
    """Print the verdict, the table, the paths and the next command."""
    if report.get("already_finished"):
        stdout.print("this recipe has been trained already; --again trains it anew\n")
    colour = {"better": "green", "worse": "red"}.get(report["verdict"]["level"], "yellow")
    stdout.print(f"[bold {colour}]{report['verdict']['level']}[/]  {escape(report['verdict']['sentence'])}\n")
    trivial, baseline = next(((name, scores) for name, scores in report["baselines"].items() if name != "head_only"), ("", {}))
    columns = [trivial] if baseline else []
    shown = table("metric", *columns, "before", "after", "95 % interval", "p", "n", right=(trivial, "before", "after", "n"))
    for name, entry in report["metrics"].items():
        after = entry["after"]
        without = [baseline[name]["value"]] if name in baseline else []
        values = [*without, entry["before"]["value"], *(after[key] for key in ("value", "low", "high"))]
        *first, now, low, high = (number(value, digits_of([value], beside=values, usual=4)) for value in values)
        shown.add_row(
            named(name),
            *([""] if baseline and not without else []),
            *first,
            f"[bold]{now}[/]",
            f"{low} to {high}",
            p_in_words(entry["p_value"]).removeprefix("p ").removeprefix("= "),
            str(after["n"]),
        )
    stdout.print(shown)
    before = before_said(report["before_is"])
    stdout.print(f"\nbefore is {before}; measured on {report['split']}: {escape(report['split_said'])}")
    if report["selected_on_same_rows"]:
        stdout.print("[yellow]the best weights were chosen on these same rows: expect a little less on new ones[/]")
    for note in report["notes"]:
        stdout.print(f"note: {escape(note)}")
    rate = report["examples_per_second"]
    machine = f"{report['machine']['dtype']} on {report['machine']['device']}"
    stdout.print(
        f"\n{report['steps']} steps in {report['train_seconds']:.1f} s, {number(rate, digits_of([rate], usual=1))} examples/s, "
        f"{report['tokens_per_second']:.0f} tokens/s, peak memory {report['peak_memory_gb']:.2f} GB, {machine}"
    )
    if said := _held(report):
        stdout.print(said)
    stdout.print(f"report    {escape(report['report'])}\nartifact  {escape(report['artifact'])}")
    artifact = escape(shlex.quote(_relative(report["artifact"])))
    stdout.print(f"next      weitiao predict {artifact} {'--chat' if _generates(report['task']) else 'FILE'}")


def _held(report: Mapping[str, Any]) -> str:
    """Return the forecast beside what happened; empty where the plan is of an earlier version."""
    forecast, held = report["forecast"], report.get("forecast_held")
    if not held:
        return ""
    minutes = forecast["seconds_per_step"] * report["steps"] / 60
    return (
        f"forecast  {minutes:.2f} minutes of steps, {forecast['memory_gb']:.2f} GB; "
        f"it took {report['train_seconds'] / 60:.2f} minutes ({held['time']:.0%}) and {report['peak_memory_gb']:.2f} GB ({held['memory']:.0%})"
    )


def _generates(task: str) -> bool:
    """Tell whether a task generates answers."""
    return getattr(registry.find("task", task), "generation", None) is not Task.generation


def show_plan(recipe: Recipe, plan: Mapping[str, Any]) -> None:
    """Print a plan for a person."""
    parameters, forecast, tokens = plan["parameters"], plan["forecast"], plan["tokens"]
    steps = f"{plan['steps']} of {plan['rows_per_step']} rows ({plan['steps_per_epoch']} an epoch), warm-up {plan['warmup_steps']}"
    judged = f"evaluation every {plan['evaluate_every']}" if plan["best"] else "no evaluation on the way"
    lengths = f"mean {tokens['mean']:.0f}, 95 % below {tokens['p95']:.0f}, longest {tokens['longest']:.0f}"
    shown = table("what", "decision")
    for what, decision in (
        ("model", f"{recipe.model_name}, {parameters['total']:,} parameters"),
        ("method", f"{recipe.method.title}: {parameters['trainable']:,} train ({parameters['trainable'] / parameters['total']:.1%})"),
        ("rows", plan["split_said"]),
        ("proof", f"{plan['split']}; best weights by {plan['best']} on dev" if plan["best"] else f"{plan['split']}; the last weights are kept"),
        ("tokens", f"{lengths}; {tokens['share_past_limit']:.1%} of rows past the limit"),
        ("batches", _batches(plan)),
        ("steps", f"{steps}, {judged}"),
        ("learning rate", f"{plan['learning_rate']:g}, {recipe.train.schedule}, {recipe.train.optimizer}"),
        ("precision", f"{plan['dtype']} on {plan['device']}, {plan['threads']} threads"),
        ("time", _time(forecast)),
        ("memory", _memory(forecast)),
    ):
        shown.add_row(what, escape(decision))
    stdout.print(shown)
    for note in plan["notes"]:
        stdout.print(f"note: {escape(note)}")


def _time(forecast: Mapping[str, Any]) -> str:
    took = "from a few steps on the longest batches" if forecast["from"] == "probe" else "from sizes; nothing was run"
    return f"about {forecast['minutes']:.1f} minutes of steps, {forecast['total_minutes']:.1f} in all ({took})"


def _memory(forecast: Mapping[str, Any]) -> str:
    parts = sorted(forecast["parts"].items(), key=lambda part: -abs(part[1]))
    told = ", ".join(f"{PARTS.get(name, name)} {value:.2f}" for name, value in parts if abs(value) >= 0.005)
    free = f" of {forecast['free_gb']:.1f} GB that may be used" if forecast["free_gb"] is not None else ""
    return f"about {forecast['memory_gb']:.1f} GB at the peak{free}, in {forecast['peak_in']}: {told}"


def _batches(plan: Mapping[str, Any]) -> str:
    windows = f"{plan['windows']} windows of the training rows; " if plan["windows"] else ""
    saved = f"; {', '.join(_saved(plan))}" if any(_saved(plan)) else ""
    if plan["packing"]:
        return f"{windows}packed, up to {plan['pack_tokens']} tokens in a forward{saved}; checked when the model is loaded"
    if plan["unpadding"]:
        most = f" and {plan['pack_tokens']} tokens" if plan["pack_tokens"] else ""
        return f"{windows}up to {plan['batch_size']} rows{most} in a forward, whose padding is not computed{saved}; checked when the model is loaded"
    return f"{windows}{plan['batch_size']} in a forward, padded to the longest" + (" of like length" if plan["bucketing"] else "") + saved


def _saved(plan: Mapping[str, Any]) -> Iterator[str]:
    if plan["share_prefix"]:
        yield "a shared prefix computed once"
    if plan["cached_layers"]:
        yield f"{plan['cached_layers']} frozen layers computed once for all epochs"
    if plan["trained_words"] is not None:
        yield f"{plan['trained_words']:,} words of the vocabulary train"


def _relative(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
