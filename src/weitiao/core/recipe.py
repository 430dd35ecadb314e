"""The recipe: what is asked for, frozen and fully validated before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from weitiao.core import document, fingerprint, registry, resolve
from weitiao.core.component import Settings
from weitiao.core.contracts import Method, Regularizer, Source, Task
from weitiao.errors import BadValue, MissingFile, RecipeError, UnknownSetting

Share = Annotated[float, Field(ge=0, lt=1)]
ROWS_PER_STEP = 32
"""Rows in one optimizer step where nothing is said."""


class Train(Settings):
    """How the steps are taken."""

    epochs: PositiveFloat = 3
    """Times every training row is seen; a fraction stops inside an epoch."""
    steps: PositiveInt | None = None
    """Optimizer steps; takes the place of `epochs`."""
    batch_size: PositiveInt | Literal["auto"] = 32
    """Rows in one forward. auto: as many of the step's rows as memory holds by the forecast, and half as many whenever it runs out."""
    gradient_accumulation: PositiveInt = 1
    """Forwards in one optimizer step: a step sees batch_size x gradient_accumulation rows. The gradient does not depend on how they are divided."""
    rows_per_step: PositiveInt | None = None
    """Rows in one optimizer step where batch_size is auto, which divides them and leaves the gradient as it is. Default: 32."""
    learning_rate: PositiveFloat | None = None
    """Peak learning rate. Default: what usually suits the method."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of a layer as a multiple of that of the layer above (arXiv:2003.10555, arXiv:1801.06146): the head has the full
    rate, the embeddings the lowest. 1 gives all the same; 0.8 to 0.95 are usual."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled decay (AdamW, arXiv:1711.05101) of matrices; biases and norms are spared. With sgd it is the classic L2 decay."""
    warmup_ratio: Share = 0.06
    """Share of the steps over which the learning rate rises from zero."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """What the learning rate does after the rise: falls to zero in a line or a half cosine, or stays."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """The optimizer."""
    momentum: Share = 0.9
    """Momentum of sgd."""
    adam_beta1: Share = 0.9
    """Decay of AdamW's mean of gradients."""
    adam_beta2: Share = 0.999
    """Decay of AdamW's mean of squared gradients."""
    adam_epsilon: PositiveFloat = 1e-8
    """AdamW's guard against division by zero."""
    max_grad_norm: PositiveFloat | None = 1.0
    """Gradients are scaled down to this norm; null leaves them."""
    dropout: Share | None = None
    """Overrides every dropout probability of the model; null keeps the model's own."""
    bucketing: bool = True
    """Divide a step into forwards of rows of like length, so that little is padded. The rows of a step stay as random, its gradient
    the same. Packed batches need none."""
    packing: bool | None = None
    """Compute rows one behind the other without padding, each seeing only itself. Default: where the model, tried on a few rows, keeps
    them apart; for tasks with a head, whose body alone leaves padding out, on a CPU. The gradient is the same."""
    pack_tokens: PositiveInt | None = None
    """Tokens in one forward without padding, about: more need more memory. The gradient does not depend on it. Default: 1024 on a CPU,
    where more only leave its caches, else 4096."""
    share_prefix: bool = True
    """Compute tokens that all rows of a packed forward begin with, such as a system prompt, once for all of them. Not under dropout,
    and only where nothing is learnt at these tokens. The gradient is the same."""
    keep_memory: bool = True
    """Keep freed memory in the process while it trains, and do not give it back to the operating system at every step (glibc)."""
    cache_features: bool | None = None
    """Compute what frozen layers say about the rows once, keep it on disk, and read it back in every epoch. Default: where layers
    at the beginning of the model are frozen, rows are seen more than once, and the disk has room. The gradient is the same."""
    compact_vocabulary: bool = True
    """While it trains, let the word embedding hold only the words that occur in the training rows: the others get no gradient, so they
    need neither gradients nor optimizer state. Not where an output embedding is tied to it. What is learnt is the same."""
    gradient_checkpointing: bool = False
    """Keep less for the backward and compute it again (arXiv:1604.06174): less memory, about a third more time, the same gradient."""
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the matrix products. auto measures once whether bf16 multiplies faster here. The weights stay fp32, so small updates are never lost."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    save_every: PositiveInt | None = None
    """Steps between checkpoints to resume from. Default: with every evaluation."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Seed of the head's first weights, the row order and dropout."""

    @model_validator(mode="after")
    def _one_size_of_a_step(self) -> Self:
        if self.batch_size == "auto" and self.gradient_accumulation != 1:
            raise ValueError("gradient_accumulation follows from memory where batch_size is auto: set rows_per_step")
        if self.batch_size != "auto" and self.rows_per_step is not None:
            raise ValueError("rows_per_step goes with batch_size: auto; a number of rows is batch_size x gradient_accumulation")
        return self

    @property
    def step_rows(self) -> int:
        """Rows in one optimizer step."""
        return (self.rows_per_step or ROWS_PER_STEP) if isinstance(self.batch_size, str) else self.batch_size * self.gradient_accumulation


class Evaluate(Settings):
    """When and by what the model is judged while it trains."""

    every: PositiveInt | None = None
    """Steps between evaluations on dev. Default: once per epoch."""
    best: str | Literal[False] | None = None
    """Metric of the task, or `loss`, by which the best weights are kept and restored. Default: the task's main metric.
    false keeps the last weights and needs no dev rows."""
    patience: PositiveInt | None = 3
    """Evaluations without improvement after which training stops; null never stops early."""
    batch_size: PositiveInt = 64
    """Rows in one forward of evaluation and prediction."""


class NewModel(Settings):
    """A model from a configuration: fresh weights, and a tokenizer trained on the training rows."""

    architecture: str = "llama"
    """A model type of transformers, such as llama, gpt2 or bert."""
    tokenizer: Literal["bpe", "characters", "words"] = "bpe"
    """bpe: byte pairs, any text. characters: every character is a token. words: what stands between spaces, and the line end; the rest is unknown."""
    vocabulary: PositiveInt = 8000
    """Tokens, at most."""
    configuration: dict[str, Any] = Field(default_factory=dict)
    """Sizes under the names transformers gives them, such as hidden_size, num_hidden_layers, num_attention_heads. Default: a small model."""


COMPONENTS = {"data": "source", "task": "task", "method": "method"}
"""Section of the recipe -> the kind of component its `name` picks."""
SECTIONS: dict[str, type[Settings]] = {"train": Train, "evaluate": Evaluate, "model": NewModel}
"""Section of the recipe -> its settings; `model` is a name as a rule, and has settings where it is new."""


class Recipe(Settings):
    """One recipe in, one proven artifact out."""

    model: str | NewModel
    """Hub id, folder, .gguf file, package:NAME, or a short name such as minilm; or the settings of a new model."""
    data: Source
    """Where the rows are: a source and its settings."""
    task: Task
    """What the rows mean."""
    method: Method
    """Which parameters train."""
    train: Train = Train()
    """How the steps are taken."""
    evaluate: Evaluate = Evaluate()
    """When and by what the model is judged."""
    regularize: tuple[Regularizer, ...] = ()
    """Additions to loss, weights or gradient, such as l1 and l2."""

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] | Recipe, *, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Recipe:
        """Return the recipe of a YAML file or a mapping, with overrides laid over it.

        overrides: `key=value` strings with dotted keys, or a mapping of dotted keys. Paths inside a file are
        relative to that file; paths in a mapping or an override are relative to the working folder.
        Raises RecipeError listing every problem at once, MissingFile where there is no such file.
        """
        lines: dict[str, int] = {}
        where, folder = "", Path.cwd()
        if isinstance(source, Recipe):
            raw: Any = source.settings()
        elif isinstance(source, Mapping):
            raw = _copied(source)
        else:
            path = Path(source)
            raw, lines = document.parse(_recipe_text(path), where=str(path))
            where, folder = str(path), path.resolve().parent
        if not isinstance(raw, dict):
            raise BadValue(
                f"{where or 'recipe'}: expected sections such as model, data and task, got {type(raw).__name__}.",
                hint="`weitiao init FILE` writes a recipe to start from.",
            )
        if isinstance(raw.get("method"), list):
            raw["method"] = _listed(raw["method"])
        _absolute_paths(raw, folder)
        for key, value in _pairs(overrides):
            laid = document.nested(key, value)
            _absolute_paths(laid, Path.cwd(), source=_name(raw.get("data")))
            _lay(raw, laid)
            for place in [place for place in lines if place == key or place.startswith(f"{key}.")]:
                del lines[place]  # what was typed is not on that line of the file
        return _build(raw, where, lines)

    def settings(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values: what its YAML would say, defaults written out."""
        return {
            "model": self.model if isinstance(self.model, str) else self.model.settings(),
            **{section: getattr(self, section).settings() for section in COMPONENTS},
            "train": self.train.settings(),
            "evaluate": self.evaluate.settings(),
            "regularize": [regularizer.settings() for regularizer in self.regularize],
        }

    def as_yaml(self) -> str:
        """Return the recipe as YAML, defaults written out."""
        return document.as_yaml(self.settings())

    @property
    def fingerprint(self) -> str:
        """A hash of everything asked for; equal recipes, equal fingerprints."""
        return fingerprint.of_json(self.settings())

    @property
    def model_name(self) -> str:
        """How the model is called in reports."""
        return self.model if isinstance(self.model, str) else f"new {self.model.architecture}"

    def with_task(self, task: Task) -> Self:
        """Return the recipe with a task that has seen the training rows."""
        return self.model_copy(update={"task": task})


def _recipe_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingFile(f"there is no recipe {path}.", hint="`weitiao init FILE` writes one for a data file.") from None
    except IsADirectoryError:
        raise BadValue(f"{path} is a folder, expected a YAML file.", hint="Name the recipe inside it.") from None
    except UnicodeDecodeError as error:
        raise BadValue(f"{path} is not UTF-8 (byte {error.start}).", hint="Save the recipe as UTF-8.") from None


def _pairs(overrides: Sequence[str] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        return [(key, _copied(value)) for key, value in overrides.items()]
    pairs = []
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise BadValue(f"'{item}' is not an override.", hint="Write key=value, such as train.epochs=1 or method=full.")
        pairs.append((key.strip(), document.value_of(text, where=key.strip())))
    return pairs


def _copied(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.settings()
    if isinstance(value, Mapping):
        return {str(key): _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _lay(under: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        below = under.get(key)
        if isinstance(below, str) and key in COMPONENTS and isinstance(value, dict):
            below = under[key] = {"name": below}
        if isinstance(value, dict) and isinstance(below, dict):
            _lay(below, value)
        elif isinstance(value, str) and key in COMPONENTS and isinstance(below, dict) and below.get("name") == value:
            continue
        else:
            under[key] = value


def _source(name: Any) -> type[Source]:
    """Return the source of this name: which of its settings are paths depends on it; a package's, for example, are not paths of this file system."""
    if isinstance(name, str) and name in registry.names("source"):
        found = registry.find("source", name)
        assert issubclass(found, Source)
        return found
    return Source


def _name(section: Any) -> Any:
    return section.get("name") if isinstance(section, dict) else section


def _absolute_paths(raw: dict[str, Any], folder: Path, *, source: Any = None) -> None:
    if isinstance(raw.get("data"), dict):
        _absolute_source(raw["data"], folder, name=source)
    model = raw.get("model")
    a_file = isinstance(model, str) and model.lower().endswith(".gguf")
    if isinstance(model, str) and model and ":" not in model and (a_file or model.startswith((".", "/", "~")) or (folder / model).is_dir()):
        # not resolved: a file in a hub's cache is a link to a blob without the ending that tells what it is
        raw["model"] = os.path.normpath(folder / Path(model).expanduser())
    task = raw.get("task")
    if isinstance(task, dict) and isinstance(task.get("template"), str) and task["template"].endswith((".jinja", ".jinja2", ".j2")):
        task["template"] = os.path.normpath(folder / Path(task["template"]).expanduser())
    if isinstance(task, dict) and isinstance(task.get("classifier"), str):
        task["classifier"] = os.path.normpath(folder / Path(task["classifier"]).expanduser())
    for method in _methods(raw.get("method")):
        if isinstance(method.get("adapter"), str) and (folder / method["adapter"]).expanduser().is_dir():
            method["adapter"] = os.path.normpath(folder / Path(method["adapter"]).expanduser())


def _listed(methods: list[Any]) -> dict[str, Any]:
    """Return what a list in the place of a method stands for."""
    return {"name": "combined", "methods": methods}


def _methods(section: Any) -> list[dict[str, Any]]:
    """Return the methods of a section that have settings: one, or those of a list."""
    if isinstance(section, dict):
        held = section.get("methods")
        return [section, *(_methods(held) if isinstance(held, list) else [])]
    return [item for item in section if isinstance(item, dict)] if isinstance(section, list) else []


def _absolute_source(data: dict[str, Any], folder: Path, *, name: Any = None) -> None:
    source = _source(data.get("name", name))
    for key in source.paths:
        if isinstance(data.get(key), str):
            data[key] = os.path.normpath(folder / Path(data[key]).expanduser())
    for key in source.holds:
        for held in data[key] if isinstance(data.get(key), list) else []:
            if isinstance(held, dict):
                _absolute_source(held, folder)


def _build(raw: dict[str, Any], where: str, lines: Mapping[str, int]) -> Recipe:
    problems: list[RecipeError] = []

    def report(kind: type[RecipeError], key: str, message: str, hint: str) -> None:
        place = f"{where}:{lines[key]}: " if key in lines else ""
        problems.append(kind(f"{place}{message}", hint=hint))

    for key in raw:
        if key not in Recipe.model_fields:
            known = list(Recipe.model_fields)
            report(UnknownSetting, key, f"{key}: a recipe has no section '{key}'.{registry.did_you_mean(key, known)}", f"Sections: {', '.join(known)}.")

    built: dict[str, Any] = {}
    for key, field in Recipe.model_fields.items():
        if key not in raw or raw[key] is None:
            if key == "method":
                built[key] = registry.find("method", "full")()
            elif field.is_required():
                report(BadValue, key, f"{key}: missing. {field.description}", "`weitiao init FILE` writes a complete recipe.")
            continue
        value = raw[key]
        if key == "method" and isinstance(value, list):
            value = _listed(value)
        if key in COMPONENTS:
            built[key] = resolve.component(COMPONENTS[key], key, value, report)
        elif key in SECTIONS and isinstance(value, dict if key == "model" else object):
            built[key] = resolve.settings(SECTIONS[key], key, value, report)
        elif key == "regularize":
            items = value if isinstance(value, list) else [value]
            built[key] = tuple(resolve.component("regularizer", f"regularize.{n}", item, report) for n, item in enumerate(items))
        elif isinstance(value, str) and value.strip():
            built[key] = value
        else:
            report(BadValue, key, f"{key}: expected text, got {value!r}.", field.description or "")
    if not problems:
        _check_best(built, report)
    if problems:
        if len(problems) == 1:
            raise problems[0]
        listed = "\n".join(f"  {p.message}" for p in problems)
        hints = list(dict.fromkeys(p.hint for p in problems))
        raise RecipeError(f"{len(problems)} problems in {where or 'the recipe'}:\n{listed}", hint=" ".join(hints[:3]), problems=problems)
    return Recipe.model_construct(**built)


def _check_best(built: Mapping[str, Any], report: Any) -> None:
    judged: Evaluate = built.get("evaluate") or Evaluate()
    metrics = built["task"].metrics()
    known = list(dict.fromkeys(["loss", *(metric.name for metric in metrics if not metric.needs_answer)]))
    if judged.best in [metric.name for metric in metrics if metric.needs_answer]:
        message = f"evaluate.best: {judged.best} scores generated answers, and none are generated for dev rows."
        report(BadValue, "evaluate.best", message, f"Known: {', '.join(known)}, or false.")
    elif isinstance(judged.best, str) and judged.best not in known:
        message = f"evaluate.best: {built['task'].name} has no metric '{judged.best}'.{registry.did_you_mean(judged.best, known)}"
        report(BadValue, "evaluate.best", message, f"Known: {', '.join(known)}, or false.")
