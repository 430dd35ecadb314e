"""What fits into memory: the micro-batch that is chosen, the setting to change, and what is said when it was not enough."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from weitiao.core.plan import Plan
from weitiao.core.recipe import Recipe
from weitiao.errors import OutOfMemory
from weitiao.inspect.forecast import Body, Forecast, Forward, Ways, forecast, kept_attention
from weitiao.inspect.machine import memory_for_this_process
from weitiao.training.workload import Division, Rows, work_of

MARGIN = 1.1
"""`batch_size: auto` wants so much more than the forecast: a forecast may be wrong by 15 %, and a machine does other things too."""
FEWEST_TOKENS = 128
"""Packs are not made smaller than this: below it a product has too few rows to be fast."""
LORA_SHARE = 0.02
"""Share of the parameters that LoRA trains, about, where its forecast stands in for a count."""
_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory", "bad_alloc")


@dataclass(frozen=True)
class Situation:
    """A model, rows and a machine: all that a forecast needs but for what can still be chosen."""

    body: Body
    rows: Rows
    ways: Ways
    steps: int
    evaluations: int
    free_gb: float | None
    """Memory that this process may use in all; None where the system does not tell."""
    coupled: bool = False
    """Whether the rows of a step see each other."""

    def ways_of(self, choice: Choice) -> Ways:
        """Return how a choice is computed."""
        division = choice.division
        again = 1 - division.batch_size / division.rows_per_step if self.coupled else 0.0
        return dataclasses.replace(self.ways, packed=division.packed, checkpointing=choice.checkpointing, again=again)


@dataclass(frozen=True)
class Choice:
    """What can be chosen, and how one asks for it: settings of the recipe."""

    division: Division
    checkpointing: bool
    lora: bool = False
    settings: str = ""


def outlook(now: Situation, choice: Choice) -> Forecast:
    """Return the forecast of a choice."""
    body = now.body
    if choice.lora:
        body = dataclasses.replace(body, trainable=round(LORA_SHARE * body.parameters), product_learns=False, with_peft=True)
    ways = now.ways_of(choice)

    def need(forward: Forward) -> float:
        return body.counted.kept_bytes * forward.tokens + kept_attention(body.counted, forward, ways)

    return forecast(body, work_of(now.rows, choice.division, steps=now.steps, evaluations=now.evaluations, need=need), ways)


def largest_that_fits(now: Situation, choice: Choice) -> Choice:
    """Return the choice with the largest micro-batch whose forecast fits, else with the smallest."""
    while now.free_gb is not None and outlook(now, choice).memory_gb * MARGIN > now.free_gb:
        if (smaller := halved(choice.division, longest=int(now.rows.train.max()))) is None:
            break
        choice = dataclasses.replace(choice, division=smaller)
    return choice


def advice(now: Situation, choice: Choice, *, method: str, auto: bool) -> tuple[str, float | None]:
    """Return the settings that would bring the forecast below what is free, and the forecast then; if nothing does, what helps most.

    Those come first that leave the result as it is.
    """
    found = [(other.settings, outlook(now, other).memory_gb) for other in _others(now, choice, method=method, auto=auto)]
    enough = [pair for pair in found if now.free_gb is not None and pair[1] * MARGIN <= now.free_gb]
    return enough[0] if enough else min(found, key=lambda pair: pair[1], default=("", None))


def halved(division: Division, *, longest: int = 0) -> Division | None:
    """Return the division with micro-batches of half the size and steps of the same rows; None where they cannot be smaller."""
    if division.pack_tokens is not None:
        rows = division.batch_size if division.unpads else division.rows_per_step
        most = min(division.pack_tokens, rows * longest) if longest else division.pack_tokens  # no forward holds more
        half = max(most // 2, FEWEST_TOKENS, min(longest, division.pack_tokens))
        return dataclasses.replace(division, pack_tokens=half) if half < division.pack_tokens else None
    rows = next((n for n in range(division.batch_size // 2, 0, -1) if division.rows_per_step % n == 0), 0)
    return dataclasses.replace(division, batch_size=rows) if rows else None


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out: Python's, torch's on a GPU, or the RuntimeError of torch's CPU allocator."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def out_of_memory(step: int, settings: str, saved: int | None) -> OutOfMemory:
    """Return the error for memory that ran out in a step, counted from 0. settings: what would need less. saved: the step of the last checkpoint."""
    kept = f" Everything up to step {saved} is saved: with more memory the same command goes on from there." if saved else ""
    return OutOfMemory(f"step {step + 1}: the memory is not enough.{kept}", hint=f"Set {settings}." if settings else "Take a smaller model.")


def in_words(error: BaseException) -> BaseException:
    """Return an error as it is, or OutOfMemory where it says that memory ran out outside of a training step."""
    if not is_out_of_memory(error):
        return error
    said = str(error).strip().partition("\n")[0][:200]
    return OutOfMemory(
        f"the memory is not enough{f': {said}' if said else ''}.", hint="Set evaluate.batch_size lower, free memory on this machine, or take a smaller model."
    )


def smaller(plan: Plan) -> Plan | None:
    """Return the plan with micro-batches of half the size, and a note that says so; None where they cannot be smaller."""
    half = halved(_division(plan), longest=int(plan.tokens["longest"]))
    if half is None:
        return None
    before, now = (
        f"{tokens} tokens" if tokens else f"{rows} rows" for tokens, rows in ((plan.pack_tokens, plan.batch_size), (half.pack_tokens, half.batch_size))
    )
    note = f"Memory ran out with {before} in a forward: it went on with {now}."
    return plan.revised(batch_size=half.batch_size, pack_tokens=half.pack_tokens, notes=[*plan.notes, f"{note} The gradient stays the same."])


def next_setting(recipe: Recipe, plan: Plan) -> str:
    """Return the setting that would need less memory: the first of those that leave the result as it is; empty where there is none."""
    half = halved(_division(plan), longest=int(plan.tokens["longest"]))
    if half is not None and recipe.train.batch_size != "auto":
        return _as_settings(half)
    if not plan.gradient_checkpointing:
        return "train.gradient_checkpointing=true"
    return "method=lora" if recipe.method.name == "full" else ""


def _division(plan: Plan) -> Division:
    return Division(plan.rows_per_step, plan.batch_size, plan.pack_tokens, plan.bucketing, 0, 1, unpads=plan.unpadding)


def peak_gb(device: torch.device) -> float:
    """Return the most memory (GB) that this process has held; on CUDA what its tensors took there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def forget_peak() -> None:
    """Begin anew with the peak, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def free_gb(device: torch.device, *, root: Path = Path("/")) -> float | None:
    """Return the memory that this process may use in all, what it holds already included; None where the system does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return round((free + torch.cuda.memory_reserved(device)) / 1e9, 2)
    return memory_for_this_process(root) if device.type == "cpu" else None


def _others(now: Situation, choice: Choice, *, method: str, auto: bool) -> Iterator[Choice]:
    smaller = [] if auto else list(_halvings(choice.division, longest=int(now.rows.train.max())))
    for division in smaller:
        yield dataclasses.replace(choice, division=division, settings=_as_settings(division))
    if not choice.checkpointing:
        yield dataclasses.replace(choice, checkpointing=True, settings="train.gradient_checkpointing=true")
    if outlook(now, choice).peak_in == "evaluation":
        fewer = dataclasses.replace(choice.division, evaluation_rows=max(1, choice.division.evaluation_rows // 4))
        yield dataclasses.replace(choice, division=fewer, settings=f"evaluate.batch_size={fewer.evaluation_rows}")
    if method == "full":
        yield dataclasses.replace(choice, lora=True, settings="method=lora")
        least = smaller[-1:] or [choice.division]
        settings = ["method=lora", "train.gradient_checkpointing=true", *map(_as_settings, smaller[-1:])]
        yield Choice(least[0], True, True, " ".join(settings))


def _halvings(division: Division, *, longest: int) -> Iterator[Division]:
    while (half := halved(division, longest=longest)) is not None:
        yield half
        division = half


def _as_settings(division: Division) -> str:
    if division.pack_tokens is not None:
        return f"train.pack_tokens={division.pack_tokens}"
    return f"train.batch_size={division.batch_size} train.gradient_accumulation={division.rows_per_step // division.batch_size}"
