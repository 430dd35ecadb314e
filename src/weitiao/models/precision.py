"""Which precision multiplies faster here, measured once and remembered.

The weights stay fp32 whatever is chosen: bf16 is the precision of the products (autocast), so an update that is
too small for bf16 is never lost. bf16 keeps 8 bits of mantissa: at learning rate 1e-6 it would drop most updates.
"""

from __future__ import annotations

import contextlib
import json
import platform
import time
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import Embedding, Module

from weitiao.core import environment, files

WORTH_IT = 1.5
"""bf16 is chosen from this ratio of speeds on: below it, casting weights and activations eats the gain."""

_RUNS = 15
_TRIED = (8, 256)
"""Rows and tokens in a row of the batch that a model is tried with."""
_ELEMENTS = 2**22
_SHAPES = {"cpu": ((512, 384, 1536), (512, 768, 768), (512, 1536, 384))}
_SHAPES_ELSEWHERE = ((4096, 1024, 4096), (4096, 2048, 2048), (4096, 4096, 1024))
"""(rows, columns of the input, of the output). On a GPU small products measure how fast they are started, not how fast they are."""


def choose(asked: str, device: torch.device) -> tuple[str, dict[str, Any]]:
    """Return (fp32 or bf16, what was measured). `asked` other than auto is obeyed."""
    if asked != "auto":
        return asked, {"asked": asked}
    measured = speeds(device)
    ratio = measured["bf16_tflops"] / max(measured["fp32_tflops"], 1e-9)
    return ("bf16" if ratio >= WORTH_IT else "fp32"), {**measured, "ratio": round(ratio, 2), "bf16_from_ratio": WORTH_IT}


def speeds(device: torch.device) -> dict[str, float]:
    """Return TFLOP/s of matrix products in fp32 and bf16, from the cache if measured before, and how fast sums are read and written (GB/s).

    The last takes a moment and is measured each time, the fastest ever seen kept: other work on the machine can only slow it down.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    key = f"{device.type}|{name}|{_cpu_model()}|threads={torch.get_num_threads()}|torch={torch.__version__}"
    cache = environment.cache_folder() / "precision.json"
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        known = dict(json.loads(cache.read_text(encoding="utf-8")))
    held = known.get(key)
    held = {name: value for name, value in held.items() if isinstance(value, float)} if isinstance(held, dict) else {}
    if held.keys() >= {"fp32_tflops", "bf16_tflops", "gigabytes_per_second"}:
        if (copied := round(_copied(device), 2)) > held["gigabytes_per_second"]:
            held["gigabytes_per_second"] = copied
            with contextlib.suppress(OSError):
                files.write_json(cache, {**known, key: held})
        return held
    found = {**_measure(device), **held}  # what an earlier version measured stays: a machine should not change its mind about bf16
    with contextlib.suppress(OSError):  # a read-only home only means measuring again
        files.write_json(cache, {**known, key: found})
    return found


def of_model(model: Module, device: torch.device) -> dict[str, float]:
    """Return seconds of a forward of this model in fp32 and in bf16: on a GPU what a product takes says little about a model of small ones.

    Empty where the model takes more than tokens and cannot be asked so.

    Casting weights and activations is work of its own for a GPU, and starting it may take longer than the products of a
    small model save: on an H100 MiniLM trained 3.4 times and LoRA of SmolLM2-135M 1.4 times as fast in fp32.
    """
    body: Any = getattr(model, "base_model", model)
    config: Any = body.config.get_text_config()
    length = min(_TRIED[1], int(getattr(config, "max_position_embeddings", None) or _TRIED[1]) // 2)
    ids = torch.arange(3, 3 + _TRIED[0] * length, device=device).remainder_(int(config.vocab_size)).view(_TRIED[0], length)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **({"decoder_input_ids": ids} if config.is_encoder_decoder else {})}
    best = {"fp32_forward_seconds": float("inf"), "bf16_forward_seconds": float("inf")}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for _ in range(4):  # the first of each warms up
                for name, dtype in zip(best, ("fp32", "bf16"), strict=True):
                    start = time.perf_counter()
                    with autocast(dtype, device):
                        body(**inputs)
                    if device.type == "cuda":
                        torch.cuda.synchronize(device)
                    best[name] = min(best[name], time.perf_counter() - start)
    except (TypeError, ValueError):
        return {}
    finally:
        model.train(was_training)
    return {name: round(seconds, 6) for name, seconds in best.items()}


def autocast(dtype: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context of a forward in this precision."""
    context: AbstractContextManager[Any] = torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bf16")
    return context


def _measure(device: torch.device) -> dict[str, float]:
    """Return the best of several runs in turn: other work on the machine can only slow a product down."""
    kinds = {"fp32_tflops": torch.float32, "bf16_tflops": torch.bfloat16}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for rows, inner, columns in _SHAPES.get(device.type, _SHAPES_ELSEWHERE):
        operands = {
            name: (torch.randn(rows, inner, dtype=dtype, device=device), torch.randn(columns, inner, dtype=dtype, device=device))
            for name, dtype in kinds.items()
        }
        best = dict.fromkeys(kinds, float("inf"))
        for _ in range(_RUNS):
            for name, (a, b) in operands.items():
                start = time.perf_counter()
                torch.nn.functional.linear(a, b)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                best[name] = min(best[name], time.perf_counter() - start)
        for name, seconds in best.items():
            rates[name].append(2 * rows * inner * columns / seconds / 1e12)
    return {**{name: round(median(values), 4) for name, values in rates.items()}, "gigabytes_per_second": round(_copied(device), 2)}


def _copied(device: torch.device) -> float:
    """Return GB/s of the sum of two tensors as large as the activations of a small model: two are read, one is written."""
    a, b, c = (torch.zeros(_ELEMENTS, device=device) for _ in range(3))
    best = float("inf")
    for _ in range(_RUNS):
        start = time.perf_counter()
        torch.add(a, b, out=c)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 3 * 4 * _ELEMENTS / best / 1e9


def _cpu_model() -> str:
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        amx = "amx" if "amx_bf16" in fields.get("flags", "") else "no-amx"
        return f"{fields.get('model name', '')}/{fields.get('model', '')}/{amx}"
    return platform.processor()


def cast_frozen(model: Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Cast the matrices that do not train, and nothing else; return them as they were, on the CPU, for `put_back`.

    Autocast would cast them again in every forward. `model.to(bfloat16)` would cast buffers too: rotary frequencies in
    bf16 move the logits of SmolLM2 by 0.4. Embeddings stay, so that the residual stream keeps fp32.
    """
    spared = {id(module.weight) for module in model.modules() if isinstance(module, Embedding)}
    before = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and parameter.ndim > 1 and parameter.is_floating_point() and id(parameter) not in spared:
            before[name] = parameter.data.cpu()
            parameter.data = parameter.data.to(dtype)
    return before


def put_back(model: Module, before: dict[str, Tensor]) -> None:
    """Give cast parameters the values and the precision that they had."""
    for name, parameter in model.named_parameters():
        if name in before:
            parameter.data = before[name].to(parameter.device)
