"""What a checkpoint may lack: the modules of a new head, which train and are saved whatever the method."""

from __future__ import annotations

from collections.abc import Collection

from torch.nn import Module

from weitiao.errors import NoTargets

TASKS = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForQuestionAnsweringSimple": "QUESTION_ANS",
}
"""How the names of classes end whose head a checkpoint may lack -> what PEFT calls their task."""


def new_modules(model: Module) -> list[str]:
    """Return the dotted names of the modules of a head that its checkpoint may lack, the pooler before it included; none for a language model."""
    if not type(model).__name__.endswith(tuple(TASKS)):
        return []
    body = str(model.base_model_prefix)
    above = [name for name, module in model.named_children() if name != body and any(True for _ in module.parameters())]
    return above + [f"{body}.{name}" for name, _ in model.get_submodule(body).named_children() if name == "pooler"]


def new_parameters(model: Module) -> set[str]:
    """Return the names of the parameters of such a head."""
    prefixes = tuple(f"{name}." for name in new_modules(model))
    return {name for name, _ in model.named_parameters() if prefixes and name.startswith(prefixes)}


def train_only(model: Module, chosen: Collection[str], *, lacking: str, hint: str) -> Module:
    """Return the model with only the chosen parameters and a new head training. Raises NoTargets, saying what is `lacking`, where none is chosen."""
    if not chosen:
        raise NoTargets(lacking, hint=hint)
    trained = set(chosen) | new_parameters(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return model
