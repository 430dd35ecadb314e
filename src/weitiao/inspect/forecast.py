"""What a run will need, from sizes alone: nothing is loaded and nothing is run."""

from __future__ import annotations

from dataclasses import dataclass

PROCESS_GB = 0.55
"""Python with torch, transformers and a tokenizer, before any weights."""
EFFICIENCY = 0.55
"""Share of the measured matrix-product speed that a training step reaches with attention, norms and dropout between."""
KEPT_PER_TOKEN = 40
"""Values a layer keeps per token and unit of width for its backward: inputs of every product, activations, masks."""


@dataclass(frozen=True)
class Body:
    """The sizes of a model under a method."""

    parameters: int
    trainable: int
    in_layers: int
    """Parameters inside the layers: those that every token is multiplied with."""
    trained_depth: float
    """Share of the layers that the backward goes through."""
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Work:
    """How much is asked of it, and how fast the machine is."""

    tokens_per_forward: float
    longest: float
    """Tokens of the longest row of a usual batch."""
    tokens: float
    """Tokens of all steps together."""
    steps: int
    tflops: float
    """Measured speed of matrix products in the chosen precision, TFLOP/s."""


def forecast(body: Body, work: Work) -> dict[str, float]:
    """Return `minutes` of training and `memory_gb`, the peak of the process."""
    forward = 2.0 * body.in_layers * work.tokens
    share = min(1.0, body.trainable / max(body.parameters, 1))  # a frozen weight passes the gradient on but needs none of its own
    backward = (1 + share) * forward * body.trained_depth
    optimizer = 24.0 * body.trainable * work.steps  # about 24 bytes of traffic per parameter, at about 1e10 bytes a second
    seconds = (forward + backward) / (work.tflops * 1e12 * EFFICIENCY) + optimizer / 1e10
    attention = body.heads * work.longest * work.tokens_per_forward * 3
    kept = body.layers * body.trained_depth * (KEPT_PER_TOKEN * body.width * work.tokens_per_forward + attention)
    memory = PROCESS_GB + (4.0 * body.parameters + 16.0 * body.trainable + 4.0 * kept) / 1e9
    return {"minutes": round(seconds / 60, 2), "memory_gb": round(memory, 2)}
