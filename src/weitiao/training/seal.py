"""From a trained model to a sealed artifact, opened again to see that it says the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import Module

from weitiao.core import artifact, card, files
from weitiao.core.contracts import Features, Prediction, Strategy
from weitiao.errors import Damaged
from weitiao.evaluation.predict import furthest, outputs
from weitiao.models import whole
from weitiao.training.prepare import Prepared

TOLERANCE = 1e-4
"""Largest difference of an output between the model in memory and the one read back (fp32)."""


def seal(
    target: Path,
    prepared: Prepared,
    model: Module,
    *,
    strategy: Strategy,
    features: Sequence[Features],
    said: Tensor | list[Tensor],
    summary: dict[str, Any],
    version: str,
) -> dict[str, Any]:
    """Write the artifact and return the report with its hash.

    features, said: some proof rows and what the model in memory said about them; the written model is read back and
    must say the same. Raises Damaged where it does not: then no artifact is left.
    """
    recipe, tokenizer = prepared.recipe, prepared.tokenizer
    with files.folder_being_written(target) as folder:
        recipe.method.save(model, folder)
        tokenizer.save(folder / "tokenizer", recipe.task.max_length)
        if (folder / whole.FOLDER).is_dir():
            tokenizer.save(folder / whole.FOLDER, recipe.task.max_length)
            recipe.task.accompany(folder / whole.FOLDER, model.config)
        files.write_text(folder / "recipe.yaml", recipe.as_yaml())
        files.write_json(folder / "task.json", recipe.task.settings())
        again = strategy.wrap(recipe.method.load(folder, recipe.task.head))
        tokenizer.suit(again)
        read_back = outputs(again, recipe.task, features, layout=tokenizer.layout(), strategy=strategy, batch_size=len(features)).values
        apart, largest = furthest(said, read_back)
        if not apart <= TOLERANCE * max(1.0, largest):
            raise Damaged(
                f"what was written to {target} differs from the model in memory by {apart:.2g}.", hint="The disk may be failing; run the command again."
            )
        digest = artifact.hash_so_far(folder)
        summary = {**summary, "hashes": {**summary["hashes"], "artifact": digest}}
        files.write_json(folder / "report.json", summary)
        files.write_text(folder / "README.md", card.card(summary))
        base = {"model": prepared.located.public, "revision": getattr(prepared.config, "_commit_hash", None)}
        artifact.seal(folder, base=base, recipe=recipe, parent=None, version=version, created=summary["created"])
    return summary


def write_predictions(path: Path, predictions: Sequence[Prediction], targets: Sequence[Any]) -> None:
    """Write id, prediction, target and scores, one row per line."""
    lines = [json.dumps(_line(p, t), ensure_ascii=False) for p, t in zip(predictions, targets, strict=True)]
    files.write_text(path, "\n".join(lines) + "\n")


def _line(prediction: Prediction, target: Any) -> dict[str, Any]:
    line = {"id": prediction.id, "prediction": prediction.value, "target": target, "scores": {k: round(v, 6) for k, v in prediction.scores.items()}}
    return {**line, "measures": dict(prediction.measures)} if prediction.measures else line
