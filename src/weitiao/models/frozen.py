"""What frozen layers say about rows: computed once, kept on disk, handed to every later forward.

Below the first layer that trains nothing changes from step to step, so its output for a row is always the same: the second
epoch needs none of it computed again, nor does another run on the same rows. A forward that is given the states under
`frozen_states` goes past those layers; one without them runs as ever. Valid only where nothing below is random: dropout
must be off there (`Method.training_mode`), and rows must be the same tokens in every epoch (`Task.redraws`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn import Module

from weitiao.core import entries, environment, files, fingerprint
from weitiao.core.contracts import Batch, Features, Layout, Strategy, Task
from weitiao.core.version import __version__
from weitiao.errors import NoTargets
from weitiao.models import precision, readout, unpadding
from weitiao.models.anatomy import anatomy, body_of
from weitiao.models.dropout import draws, is_random
from weitiao.models.layout import divided, lengths
from weitiao.models.tables import FileTable

GIVEN = "frozen_states"
"""Name under which a forward is given what the frozen layers say."""
STATES, FACTS = "states.npy", "facts.json"
TOKENS = 4096
"""Tokens of a forward in which the states are computed, at most."""
CHECKED_ROWS = 4
TOLERANCE = 1e-4
"""Largest difference of hidden states with and without the cache, relative to the largest (in the precision of the run)."""
MOST_OF_THE_DISK = 0.25
"""Share of the free disk that states may take."""
MOST_BYTES = 8_000_000_000
"""Size of all states in the cache, at most, before the oldest go."""


class Prefix:
    """The frozen beginning of a model, and the way past it."""

    def __init__(self, model: Module, task: Task, *, layout: Layout, strategy: Strategy, dtype: str) -> None:
        """The model must be in its mode for training steps; dtype: the precision of the run's products."""
        self.model, self.task, self.layout, self.strategy, self.dtype = model, task, layout, strategy, dtype
        self.layers, self.pooled = prefix(model)
        self._given: Tensor | None = None
        self._taken: Tensor | None = None
        self._taking = False
        stack: Any = model.get_submodule(anatomy(model).stacks[0])
        for number, layer in enumerate(stack):
            self._pass(layer, number)
        if self.pooled:
            self._pass(body_of(model).pooler, len(stack))
        for module in {id(m): m for m in (model, body_of(model))}.values():
            module.register_forward_pre_hook(self._receive, with_kwargs=True)
        body_of(model).register_forward_hook(self._forget, always_call=True)

    # ------------------------------------------------------------ the way past

    def _pass(self, module: Any, number: int) -> None:
        """Let a module hand on its input where the states above it are given; names and parameters stay."""
        own = module.forward
        slot = number == (len(anatomy(self.model).layers) if self.pooled else self.layers - 1)

        def forward(module: Module, *args: Any, **kwargs: Any) -> Any:
            if self._given is not None and number < self.layers + self.pooled:
                hidden = args[0] if args else kwargs["hidden_states"]
                return unpadding.fit(self.model, self._given).to(hidden.dtype) if slot else hidden
            if self._taking and not slot and number >= self.layers:
                return args[0] if args else kwargs["hidden_states"]
            found = own(*args, **kwargs)
            if self._taking and slot:
                if not isinstance(found, Tensor):
                    raise TypeError(f"{type(module).__name__} returns {type(found).__name__}")
                self._taken = found
            return found

        module.forward = MethodType(forward, module)

    def _receive(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if GIVEN in kwargs:
            self._given = kwargs.pop(GIVEN)
        return args, kwargs

    def _forget(self, module: Module, args: tuple[Any, ...], output: Any) -> None:
        self._given = None

    def _of(self, batch: Batch) -> Tensor:
        """Return what the frozen part says about a batch, (rows, longest, width), (1, tokens, width) or (rows, width)."""
        self._taking, self._taken = True, None
        try:
            with unpadding.paused(self.model):
                readout.hidden_states(self.model, batch)
        finally:
            self._taking = False
        if self._taken is None:
            raise TypeError("the frozen layers were not called")
        return self._taken

    # ------------------------------------------------------------ computing and keeping

    def works(self, features: Sequence[Features]) -> bool:
        """Tell whether the model says the same with and without given states, tried on a few rows."""
        few = np.argsort(lengths(features), kind="stable")[:: max(1, len(features) // CHECKED_ROWS)][:CHECKED_ROWS].tolist()
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode(), precision.autocast(self.dtype, self.strategy.device):
                batch = self._batch(features, few)
                expected = _last(self.model, batch, pooled=self.pooled)
                sizes = self._sizes(features)[few]
                states = _rows(self._of(batch).float().cpu(), batch, sizes.tolist())
                starts = np.concatenate([[0], np.cumsum(sizes)])
                again = FrozenStates(torch.cat(states).numpy(), starts, self.pooled).attached(self._batch(features, few), range(len(few)))
                found = _last(self.model, again.to(self.strategy.device), pooled=self.pooled)
            return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())
        except (TypeError, RuntimeError, KeyError, AttributeError, IndexError, ValueError):
            return False
        finally:
            self._given = None
            self.model.train(was_training)

    def known(self, features: Sequence[Features], *, on_batch: Callable[[int], None] | None = None) -> FrozenStates:
        """Return the states of all features, from the cache if they are there, else computed and put there.

        Raises OSError where the cache cannot be written. on_batch gets the number of features done.
        """
        starts = np.concatenate([[0], np.cumsum(self._sizes(features))])
        entry = environment.cache_folder() / "states" / self._fingerprint(features)
        with files.locked(entry.with_name(f"{entry.name}.lock")):  # a second process waits, and finds what the first computed
            if (values := _opened(entry)) is None:
                with files.folder_being_written(entry) as new:
                    with contextlib.closing(FileTable.reserved(new / STATES, (int(starts[-1]), self._width))) as table:
                        self._compute(table, features, starts, on_batch)
                    files.write_json(new / FACTS, {"sha256": fingerprint.of_file(new / STATES)})
                entries.make_room(entry.parent, keep=entry, most_bytes=MOST_BYTES)
                values = FileTable(entry / STATES)
        entries.use(entry)
        return FrozenStates(values, starts, self.pooled)

    @property
    def _width(self) -> int:
        config: Any = self.model.config
        return int(config.get_text_config().hidden_size)

    def _sizes(self, features: Sequence[Features]) -> np.ndarray:
        """Return how many states each of the features has, (n,)."""
        return np.ones(len(features), dtype=int) if self.pooled else lengths(features)

    def _batch(self, features: Sequence[Features], chosen: Sequence[int]) -> Batch:
        return self.task.collate([features[n] for n in chosen], self.layout).to(self.strategy.device)

    def _compute(self, values: FileTable, features: Sequence[Features], starts: np.ndarray, on_batch: Callable[[int], None] | None) -> None:
        every, sizes = lengths(features), self._sizes(features)
        order = np.argsort(-every, kind="stable").tolist()
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode(), precision.autocast(self.dtype, self.strategy.device):
                for piece in divided(every[order].tolist(), most_rows=len(order), most_tokens=TOKENS):
                    chosen = order[piece]
                    batch = self._batch(features, chosen)
                    for n, state in zip(chosen, _rows(self._of(batch).float().cpu(), batch, sizes[chosen].tolist()), strict=True):
                        values[starts[n] : starts[n + 1]] = state.numpy()
                    if on_batch is not None:
                        on_batch(piece.stop)
        finally:
            self.model.train(was_training)

    def _fingerprint(self, features: Sequence[Features]) -> str:
        """Return a name for the states: of the weights they come from, of the tokens, and of what else makes their bits."""
        config: Any = self.model.config
        said = {"layers": self.layers, "pooled": self.pooled, "dtype": self.dtype, "packed": self.layout.packed, "configuration": config.to_dict()}
        said |= {"weitiao": __version__, "torch": torch.__version__, "transformers": transformers.__version__, "format": 2}
        digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
        parts = anatomy(self.model)
        below = {*parts.embeddings, *(name for layer in parts.layers[: self.layers] for name in layer), *(parts.head if self.pooled else ())}
        for name, parameter in self.model.named_parameters():
            if name in below and not parameter.requires_grad:
                digest.update(name.encode() + parameter.detach().float().cpu().contiguous().numpy().tobytes())
        for feature in features:
            digest.update(np.asarray([feature.second, len(feature.places), *feature.places, *feature.input_ids], dtype=np.int64).tobytes() + b"|")
        return digest.hexdigest()[:24]


@dataclass(frozen=True)
class FrozenStates:
    """States of features, in their order."""

    values: np.ndarray | FileTable
    """(tokens of all features, width), one feature behind the other; (features, width) where pooled."""
    starts: np.ndarray
    """Where each feature begins, and the end of the last."""
    pooled: bool

    def attached(self, batch: Batch, chosen: Sequence[int]) -> Batch:
        """Return the batch of the chosen features with their states among its inputs."""
        together = torch.cat([torch.from_numpy(self.values[self.starts[n] : self.starts[n + 1]]) for n in chosen])
        if self.pooled or batch.lengths is not None:
            states = together if self.pooled else together[None]
        else:
            states = together.new_zeros((*batch.inputs["input_ids"].shape, together.shape[-1]))
            states[batch.inputs["attention_mask"].bool()] = together  # the lines of a row stand in the order of its tokens
        batch.inputs[GIVEN] = states
        return batch


def prefix(model: Module) -> tuple[int, bool]:
    """Return how many layers from the input up are frozen, nothing below them training and nothing in them random, and whether the pooler is too.

    The model must be in its mode for training steps. (0, False) where there is nothing to keep.
    """
    config: Any = model.config
    body = body_of(model)
    try:
        parts = anatomy(model)
    except NoTargets:
        return 0, False
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if getattr(config, "is_encoder_decoder", False) or learns & set(parts.embeddings) or _is_random_outside(body, parts.stacks[0], model):
        return 0, False
    stack: Any = model.get_submodule(parts.stacks[0])
    layers = 0
    for layer, names in zip(stack, parts.layers, strict=True):
        if learns & set(names) or is_random(layer):
            break
        layers += 1
    pooler = getattr(body, "pooler", None)
    whole = layers == len(parts.layers) and isinstance(pooler, Module) and not any(p.requires_grad for p in pooler.parameters()) and not is_random(pooler)
    return layers, whole


def _is_random_outside(body: Module, stack: str, model: Module) -> bool:
    """Tell whether anything in the body but its layers and its pooler draws at random, such as GPT-2's dropout behind the embeddings."""
    apart = {id(part) for part in model.get_submodule(stack).modules()}
    pooler = getattr(body, "pooler", None)
    apart |= {id(part) for part in pooler.modules()} if isinstance(pooler, Module) else set()
    return any(draws(part) for part in body.modules() if id(part) not in apart)


def _last(model: Module, batch: Batch, *, pooled: bool) -> Tensor:
    """Return what comes out of the body: hidden states, or the pooler's output, where there is no padding."""
    if pooled:
        found: Tensor = body_of(model)(**batch.inputs).pooler_output
        return found.float()
    states = readout.hidden_states(model, batch).float()
    return states[0] if batch.lengths is not None else states[batch.inputs["attention_mask"].bool()]


def _rows(states: Tensor, batch: Batch, sizes: Sequence[int]) -> list[Tensor]:
    """Return the states of each feature, padding left out. sizes: how many each of them has."""
    if states.ndim == 3:
        states = states[0] if batch.lengths is not None else states[batch.inputs["attention_mask"].cpu().bool()]
    return list(torch.split(states, list(sizes)))


def size(tokens: int, width: int) -> int:
    """Return the bytes that states take."""
    return 4 * tokens * width


def fits(needed: int) -> bool:
    """Tell whether the cache's disk has room for states of so many bytes."""
    folder = environment.cache_folder()
    while not folder.exists():
        folder = folder.parent
    return needed <= min(MOST_BYTES, MOST_OF_THE_DISK * shutil.disk_usage(folder).free)


def _opened(entry: Path) -> FileTable | None:
    """Return the states of an entry; None where there are none, or the file is not what was written."""
    if not files.is_complete(entry):
        return None
    try:
        if files.read_json(entry / FACTS)["sha256"] != fingerprint.of_file(entry / STATES):
            return None
        return FileTable(entry / STATES)
    except (OSError, ValueError, KeyError, TypeError):
        return None
