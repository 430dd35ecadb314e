"""Fine-tune language models: any task, any tuning method, on the machine at hand, with proof that the result is better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weitiao.core.version import __version__

if TYPE_CHECKING:
    from weitiao.api import compare_methods, evaluate, examine_data, predict, train
    from weitiao.core.recipe import Recipe
    from weitiao.evaluation.predictor import load

__all__ = ["Recipe", "__version__", "compare_methods", "evaluate", "examine_data", "load", "predict", "train"]

_HOME = {
    "Recipe": "weitiao.core.recipe",
    "compare_methods": "weitiao.api",
    "evaluate": "weitiao.api",
    "examine_data": "weitiao.api",
    "load": "weitiao.evaluation.predictor",
    "predict": "weitiao.api",
    "train": "weitiao.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `import weitiao` costs milliseconds, torch seconds."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'weitiao' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
