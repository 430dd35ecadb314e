"""What was decided for this machine and these rows, written once and obeyed by every resumed run."""

from __future__ import annotations

from typing import Any, Literal

from weitiao.core.component import Settings

FORMAT = 1


class Plan(Settings):
    """Every decision of a run, probed or computed. `plan.json` holds it; a resumed run never probes again."""

    format: int = FORMAT
    """Version of this document."""
    recipe: str
    """Fingerprint of the recipe."""
    data: str
    """Fingerprint of all rows, in their splits."""
    rows: dict[str, int]
    """Rows in train, dev and test."""
    split: Literal["test", "dev"]
    """The proof rows: where before and after are measured."""
    split_said: str
    """Where each split came from."""
    selected_on_same_rows: bool
    """Whether the proof rows were also used to choose the best weights."""
    best: str | None
    """Metric on dev that chooses the best weights; None where nothing is chosen."""
    steps: int
    """Optimizer steps in all."""
    steps_per_epoch: int
    """Optimizer steps in one pass over the training rows."""
    rows_per_step: int
    """Rows in one optimizer step."""
    batch_size: int
    """Rows in one forward."""
    warmup_steps: int
    """Steps over which the learning rate rises."""
    learning_rate: float
    """Peak learning rate."""
    evaluate_every: int
    """Steps between evaluations."""
    save_every: int
    """Steps between checkpoints."""
    bucketing: bool
    """Whether rows of like length share a batch."""
    packing: bool = False
    """Whether batches are packed: rows one behind the other, each seeing only itself."""
    unpadding: bool = False
    """Whether batches are padded for the head alone: the body computes their tokens one behind the other, each row seeing only itself."""
    pack_tokens: int | None = None
    """Tokens in one forward without padding, at most; a longer row stands alone."""
    share_prefix: bool = False
    """Whether tokens that all rows of a packed forward begin with are computed once."""
    readout: str | None = None
    """How the likelihood of tokens is read: from the hidden states of labelled positions, or from full logits. null where the task has its own head."""
    windows: int | None = None
    """Windows of the training rows, where some rows are read in several."""
    cached_layers: int = 0
    """Frozen layers at the beginning whose states are computed once and kept on disk; 0 where none are."""
    trained_words: int | None = None
    """Words of the vocabulary that occur in the training rows, where only these stand in the word embedding while it trains."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward."""
    device: str
    """Where the model lives."""
    dtype: Literal["fp32", "bf16"]
    """Precision of the matrix products."""
    precision: dict[str, Any]
    """What the choice of dtype rests on."""
    threads: int
    """Threads of matrix products. The bits of a result depend on it."""
    parameters: dict[str, int]
    """Parameters in total, and how many train."""
    tokens: dict[str, float]
    """Tokens of a training row: mean, 95th percentile, longest; share of rows past the limit."""
    forecast: dict[str, Any]
    """Expected time and peak memory (GB) of this process, what they are made of, and whether they come from sizes or from a probe."""
    notes: list[str]
    """What a person should know before starting."""
