"""Small tensors that follow from shapes, kept for the next call with the same ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
T = TypeVar("T")


def remembered(most: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keep what a function returns for as many calls.

    Its tensors are made outside inference mode: what an evaluation was first to ask for, a training step may ask for next, and a
    tensor of inference mode cannot be kept for a backward.
    """

    def decorate(make: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(make)
        def made(*args: P.args, **kwargs: P.kwargs) -> T:
            with torch.inference_mode(False):
                return make(*args, **kwargs)

        return cast("Callable[P, T]", functools.lru_cache(maxsize=most)(made))

    return decorate
