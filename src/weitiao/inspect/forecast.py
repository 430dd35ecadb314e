"""What a run will need, from sizes alone: memory at its peak, part by part, and time.

The model says what it keeps, multiplies and moves per token (`models/sizes.py`), the training rows say how many tokens stand
together (`training/loader.py`), the machine how fast it multiplies and copies (`models/precision.py`). The rest is arithmetic
and the few numbers of `Fitted`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from weitiao.models.attention import KEPT_UP_TO
from weitiao.models.readout import CHUNK
from weitiao.models.sizes import Counted


@dataclass(frozen=True)
class Fitted:
    """The numbers that no size tells: fitted by `benchmarks/forecast.py` to its grid of real runs, which prints them anew.

    Times are multiples of what the measured speeds promise. Fitted to 15 runs on one thread of a Xeon (AVX-512), glibc, torch
    2.13, fp32. On two threads, over all 24 runs of the grid, the time of a step is within 25 % in 22 (median 9 %), memory within 15 %
    in 19 (median 8 %): too much for a forward or two of 2,048 tokens a step, too little for MiniLM in full at 256 tokens and for LoRA
    with checkpointing. `operation_s`, `step_s` and `products` were set first, because runs of real models hardly show them; GPUs and
    bf16 were never measured.
    """

    process_gb: float = 0.58
    """Python with torch, transformers, the tokenizer and the rows, before any weights."""
    peft_gb: float = 0.05
    """PEFT beside it."""
    loading: float = 2.0
    """Copies of the weights while they are read: the mapped file counts until it is let go."""
    heap: float = 1.7
    """What lies in memory for each byte of tensors below HEAP_UP_TO that are kept for the backward: between them the allocator leaves gaps."""
    computed_again: float = 2.0
    """Layers whose activations exist at a time where they are computed again."""
    passing: float = 5.2
    """Results as large as the largest one of a layer that exist at a time, forward or backward."""
    products: float = 1.1
    """Time of matrix products: shapes, gradients and threads are less kind than the products that are measured."""
    elementwise: float = 5.5
    """Time of what is read and written between the products."""
    attention: float = 2.0
    """Time of products and passes inside documents."""
    mapped: float = 18.9
    """Time of writing to attention weights so large that the system maps fresh pages for each of them."""
    operation_s: float = 2e-5
    """Seconds of an operation whatever its size."""
    optimizer: float = 1.75
    """Time of reading and writing weights, gradients and the optimizer's state."""
    step_s: float = 0.002
    """Seconds of a step besides: collating, the generator, the record."""
    loading_s: float = 3.0
    """Seconds before the weights are there, from a warm disk, and to seal the artifact and write the report."""


FITTED = Fitted()
HEAP_UP_TO = 2**25
"""Bytes from which on glibc maps a tensor on its own, without gaps, and gives it back when it is let go."""
DISK = 1e9
"""Bytes a second that weights are read and written with, about."""


@dataclass(frozen=True)
class Body:
    """The sizes of a model under a method."""

    parameters: int
    trainable: int
    counted: Counted
    product: int = 0
    """Parameters of the output embedding, where the task reads likelihoods out of hidden states; else 0."""
    product_learns: bool = False
    vocabulary: int = 0
    with_peft: bool = False
    """Whether PEFT is imported for the method."""
    passed: int = 0
    """Frozen layers at the beginning that steps pass by, because what they say is kept."""
    resting: int = 0
    """Trainable parameters that take no part in the steps: words that do not occur."""

    @property
    def learning(self) -> int:
        """Parameters that have gradients and optimizer state."""
        return self.trainable - self.resting

    @property
    def in_steps(self) -> Counted:
        """What a step does per token."""
        counted = self.counted
        left = 1 - self.passed / max(counted.layers, 1)
        return replace(
            counted,
            forward_flops=counted.forward_flops * left,
            forward_bytes=counted.forward_bytes * left,
            forward_operations=round(counted.forward_operations * left),
            calls=counted.calls[self.passed :],
        )


@dataclass(frozen=True)
class Forward:
    """One forward: how many tokens stand together."""

    tokens: float
    """Padding included."""
    squares: float
    """Squared lengths, summed over the documents that attention keeps apart, or over padded rows."""
    kept_squares: float
    """Those of documents whose attention weights are kept for the backward."""
    asked: float = 0.0
    """Tokens whose likelihood is read out."""


@dataclass(frozen=True)
class Work:
    """What is asked of a model."""

    steps: int
    forwards: tuple[Forward, ...]
    """The forwards of some steps, alike to all of them."""
    tried_steps: int
    """Steps that these forwards make."""
    largest: Forward
    """The forward that needs most memory."""
    before: tuple[Forward, ...] = ()
    """What is measured before training; and, but for the fitting of a linear head, after it."""
    after: tuple[Forward, ...] = ()
    dev: tuple[Forward, ...] = ()
    evaluations: int = 0
    generated: float = 0.0
    """Forwards that generating answers takes, before; each multiplies all weights with a few tokens."""
    states: tuple[Forward, ...] = ()
    """What is computed once where layers are passed by."""


@dataclass(frozen=True)
class Ways:
    """How it is computed, and how fast the machine is."""

    tflops: float
    """Measured speed of matrix products in the chosen precision, TFLOP/s."""
    evaluation_tflops: float
    """The same in fp32, which before and after are measured in."""
    gigabytes_per_second: float
    """Measured speed of reading and writing."""
    packed: bool
    cpu: bool = True
    checkpointing: bool = False
    again: float = 0.0
    """Forwards without a backward that each micro-batch takes besides, where the rows of a step see each other (`training/coupled.py`)."""
    bf16: bool = False
    optimizer: str = "adamw"
    momentum: bool = True


@dataclass(frozen=True)
class Forecast:
    """Memory by part (GB) of the phase that needs most, and seconds by phase."""

    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    steps: int = 1

    @property
    def peak_in(self) -> str:
        """The phase that needs most memory."""
        return max(self.phases, key=lambda phase: sum(self.phases[phase].values()))

    @property
    def memory_gb(self) -> float:
        """The peak of the process."""
        return sum(self.phases[self.peak_in].values())

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "from": "sizes",
            "minutes": round(self.seconds["steps"] / 60, 3),
            "total_minutes": round(sum(self.seconds.values()) / 60, 3),
            "seconds_per_step": round(self.seconds["steps"] / max(self.steps, 1), 4),
            "seconds": {phase: round(value, 1) for phase, value in self.seconds.items()},
            "memory_gb": round(self.memory_gb, 3),
            "peak_in": self.peak_in,
            "parts": {part: round(value, 3) for part, value in self.phases[self.peak_in].items()},
        }


def forecast(body: Body, work: Work, ways: Ways, fitted: Fitted = FITTED) -> Forecast:
    """Return what a run will need."""
    return Forecast(memory(body, work, ways, fitted), _seconds(body, work, ways, fitted), work.steps)


# ------------------------------------------------------------ memory


def memory(body: Body, work: Work, ways: Ways, fitted: Fitted = FITTED) -> dict[str, dict[str, float]]:
    """Return GB by phase and part. On a CPU the process counts, on other devices what lies there."""
    process = {"process": fitted.process_gb + (fitted.peft_gb if body.with_peft else 0.0)} if ways.cpu else {}
    weights = 4.0 * body.parameters
    judged = [*work.before, *work.after, *work.dev]
    phases = {"evaluation": {"weights": weights, "passing": max((_passing(body, forward, ways, fitted) for forward in judged), default=0.0)}}
    if ways.cpu:
        phases["loading"] = {"weights": weights, "file": (fitted.loading - 1) * weights}
    phases["steps"] = _in_steps(body, work, ways, fitted, weights)
    return {phase: {**process, **{part: value / 1e9 for part, value in parts.items()}} for phase, parts in phases.items()}


def _in_steps(body: Body, work: Work, ways: Ways, fitted: Fitted, weights: float) -> dict[str, float]:
    counted, largest = body.counted, work.largest
    frozen = 4.0 * (body.parameters - body.trainable)
    if ways.bf16:  # the frozen matrices are kept in both precisions (the fp32 ones on the CPU), the trained ones cast in each forward
        weights = 4.0 * body.trainable + (1.5 if ways.cpu else 0.5) * frozen + 2.0 * body.trainable
    states = {"adamw": 8.0, "sgd": 4.0 if ways.momentum else 0.0}[ways.optimizer] * body.learning
    heap = fitted.heap if ways.cpu else 1.0
    exact = sum(alike for _, alike in counted.kept) * largest.tokens
    kept = sum(alike * largest.tokens * (heap if one * largest.tokens < HEAP_UP_TO else 1.0) for one, alike in counted.kept)
    attention = kept_attention(counted, largest, ways) * (heap if ways.packed else 1.0)  # small tensors, one a document; else one large
    if ways.checkpointing:
        held = (4.0 * counted.width * counted.layers + fitted.computed_again * counted.kept_in_layer) * largest.tokens
        kept *= min(1.0, held / max(exact, 1.0))
        attention *= min(1.0, fitted.computed_again / max(counted.layers, 1))
    # Gradients come up while activations are let go, and lie in the gaps that were left between those.
    gradients = 4.0 * (body.learning + (body.product if body.product_learns else 0))  # that of the output embedding is formed beside the logits
    return {
        "weights": weights,
        "optimizer": states,
        "gradients": max(0.0, gradients - (heap - 1) / heap * kept),
        "activations": (0.75 if ways.bf16 else 1.0) * kept,
        "attention": attention,
        "passing": _passing(body, largest, ways, fitted) if counted.kept else 0.0,
    }


def kept_attention(counted: Counted, forward: Forward, ways: Ways) -> float:
    """Return the bytes that attention keeps: in each layer, the attention weights of every head and document, or what torch's own keeps."""
    total = 0.0
    for call in counted.calls:
        if not call.learns:
            continue
        if ways.cpu and call.dropout:  # weights, which of them are dropped, and what is left of them
            total += 9.0 * call.heads * forward.squares
        elif ways.cpu and ways.packed:
            total += 4.0 * call.heads * forward.kept_squares
        else:  # its result, and keys and values once per head
            total += 4.0 * call.width * (call.heads + 2 * (call.heads - call.groups)) * forward.tokens
    return total


def _passing(body: Body, forward: Forward, ways: Ways, fitted: Fitted) -> float:
    """Return the bytes that come and go within a layer or the read-out."""
    heads = max((call.heads for call in body.counted.calls), default=0)
    inside = 3 * 4.0 * heads * forward.squares if ways.cpu and not ways.packed and any(call.dropout for call in body.counted.calls) else 0.0
    logits = 2 * 4.0 * min(forward.asked * body.vocabulary, CHUNK)  # once more while they are summed
    return max(fitted.passing * body.counted.widest * forward.tokens, inside, logits)


# ------------------------------------------------------------ time


def terms(body: Body, forwards: tuple[Forward, ...], steps: float, ways: Ways, *, learns: bool = True, passes: bool | None = None) -> dict[str, float]:
    """Return the seconds of forwards (and their backwards, where it `learns`) as the measured speeds promise them, by kind of work.

    passes: whether frozen layers are passed by; as in steps where it learns. `operations` and `steps` are numbers, not seconds.
    """
    counted = body.in_steps if (learns if passes is None else passes) else body.counted
    speed, copied = (ways.tflops if learns else ways.evaluation_tflops) * 1e12, ways.gigabytes_per_second * 1e9
    tokens = sum(forward.tokens for forward in forwards)
    asked = sum(forward.asked for forward in forwards)
    squares = sum(forward.squares for forward in forwards)
    again = (2 if ways.checkpointing else 1) + ways.again if learns else 1
    flops = counted.forward_flops * again + (counted.backward_flops if learns else 0.0)
    moved = counted.forward_bytes * again + (counted.backward_bytes if learns else 0.0)
    operations = counted.forward_operations * again + (counted.backward_operations if learns else 0)
    inside = mapped = 0.0
    for call in counted.calls:
        back = learns and call.learns
        products = call.heads * call.width * (4.0 * again + 8.0 * back)
        traffic = 4.0 * call.heads * (8.0 * again + 10.0 * back)
        inside += squares * (products / speed + traffic / copied)
        if ways.cpu and call.dropout and not ways.packed:
            large = sum(forward.squares for forward in forwards if 4.0 * call.heads * forward.squares >= HEAP_UP_TO)
            mapped += 4.0 * call.heads * large * (4.0 * again + 4.0 * back) / copied
    read_out = 2.0 * body.product * (1 + (1 + body.product_learns) * learns)
    logits = 4.0 * body.vocabulary * (4 + 4 * learns)
    trained = {"adamw": 28.0, "sgd": 20.0}[ways.optimizer] + 16.0  # and the gradient: written, normed, clipped
    return {
        "products": (tokens * flops + asked * read_out) / speed,
        "elementwise": (tokens * moved + asked * logits * bool(body.product)) / copied,
        "attention": inside,
        "mapped": mapped,
        "operations": float(operations * len(forwards)),
        "optimizer": steps * trained * body.learning / copied,
        "steps": float(steps),
    }


def seconds_of(found: dict[str, float], fitted: Fitted = FITTED) -> float:
    """Return the seconds of work in these terms."""
    return (
        fitted.products * found["products"]
        + fitted.elementwise * found["elementwise"]
        + fitted.attention * found["attention"]
        + fitted.mapped * found["mapped"]
        + fitted.operation_s * found["operations"]
        + fitted.optimizer * found["optimizer"]
        + fitted.step_s * found["steps"]
    )


def _seconds(body: Body, work: Work, ways: Ways, fitted: Fitted) -> dict[str, float]:
    step = seconds_of(terms(body, work.forwards, work.tried_steps, ways), fitted) / max(work.tried_steps, 1)

    def judged(forwards: tuple[Forward, ...], *, passes: bool = False) -> float:
        return seconds_of(terms(body, forwards, 0, ways, learns=False, passes=passes), fitted)

    reading = 4.0 * body.parameters / (ways.gigabytes_per_second * 1e9)  # each generated token reads every weight
    generating = work.generated * (reading + fitted.operation_s * body.counted.forward_operations)
    weights = 4.0 * body.parameters / DISK
    return {
        "loading": fitted.loading_s + 2 * weights,
        "before": judged(work.before) + generating,
        "steps": step * work.steps + judged(work.states),
        "evaluations": judged(work.dev, passes=True) * work.evaluations,
        "after": judged(work.after) + generating + fitted.loading_s + 3 * weights,
    }


def kept_square(length: int) -> float:
    """Return the square of a document's length if its attention weights are kept for the backward, else 0."""
    return float(length) ** 2 if length <= KEPT_UP_TO else 0.0
