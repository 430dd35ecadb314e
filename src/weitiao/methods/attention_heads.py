"""Chosen heads of attention train, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from weitiao.core.contracts import Batch, Capability, Head, Method, Objective
from weitiao.errors import NoTargets

if TYPE_CHECKING:
    from torch.nn import Module

    from weitiao.models.heads import Attention


class AttentionHeads(Method):
    """Train the projections of attention heads and a new classification head; by default of all attention heads."""

    heads: Literal["all"] | list[tuple[NonNegativeInt, NonNegativeInt]] | None = None
    """`all`, or a list of [attention, head], both counted from 0 at the input, such as [[10, 3], [11, 0]]. In an encoder-decoder the
    encoder's attentions come first, then those of each decoder layer: to itself, to the encoder."""
    most_important: PositiveInt | None = None
    """Train the k heads that matter most for the training rows, by the gradient of the loss (arXiv:1905.10650)."""
    rows: PositiveInt = 256
    """Training rows by which heads are compared, at most."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.DELTA, Capability.ENTRIES})
    learning_rate: ClassVar[float] = 2e-4
    paper: ClassVar[str] = "Michel, Levy and Neubig, 2019 (arXiv:1905.10650); Voita et al., 2019 (arXiv:1905.09418)"

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if self.heads is not None and self.most_important is not None:
            raise ValueError("heads and most_important exclude each other: set one")
        return self

    def calibrate(self, model: Module, objective: Objective, batches: Iterable[Batch]) -> None:
        """Find the most important heads, where these are asked for."""
        if self.most_important is None:
            return
        from weitiao.models import heads, importance

        found = heads.attentions(model)
        self._enough(found)
        scores = importance.of_heads(model, objective, batches, found, rows=self.rows)
        best = scores.flatten().topk(self.most_important).indices.sort().values
        self.settle(model, {"heads": best})

    def apply(self, model: Module) -> Module:
        """Let the entries that belong to the heads train.

        A head of keys and values that several heads share trains where all of these are chosen; the bias of the output
        projection belongs to no head and stays. Raises NoTargets for heads that are not there, or cannot be told apart.
        """
        from weitiao.models import heads, woven
        from weitiao.models.head import train_only

        found = heads.attentions(model)
        names: set[str] = set()
        for number, chosen in self._chosen(found, model).items():
            names |= woven.weave(model, found[number].parts(model, chosen))
        return train_only(model, names, lacking="method.heads: the list is empty.", hint="Name [attention, head] pairs, or leave it out.")

    def _chosen(self, found: list[Attention], model: Module) -> dict[int, set[int]]:
        if self.most_important is not None:
            self._enough(found)
            most = max(attention.heads for attention in found)
            if "heads" in (settled := self.settled(model)):
                pairs = [divmod(place, most) for place in settled["heads"].tolist()]
            elif next(model.parameters()).device.type != "meta":
                raise RuntimeError("calibrate chooses the heads: it comes before apply")
            else:  # a plan only counts them
                pairs = [(number, head) for number, attention in enumerate(found) for head in range(attention.heads)][: self.most_important]
        elif isinstance(self.heads, list):
            pairs = list(self.heads)
        else:
            pairs = [(number, head) for number, attention in enumerate(found) for head in range(attention.heads)]
        chosen: dict[int, set[int]] = {}
        for number, head in pairs:
            if number >= len(found):
                raise NoTargets(f"method.heads: there is no attention {number}, the model has {len(found)}.", hint=f"They are numbered 0 to {len(found) - 1}.")
            if head >= found[number].heads:
                raise NoTargets(
                    f"method.heads: attention {number} has no head {head}, but {found[number].heads} heads.",
                    hint=f"Heads are numbered 0 to {found[number].heads - 1}.",
                )
            chosen.setdefault(number, set()).add(head)
        return chosen

    def _enough(self, found: list[Attention]) -> None:
        total = sum(attention.heads for attention in found)
        if (self.most_important or 0) > total:
            raise NoTargets(f"method.most_important: {self.most_important} heads were asked for, and the model has {total}.", hint=f"Set {total} or fewer.")

    def save(self, model: Module, folder: Path) -> None:
        """Write `delta/`: the entries that train and their places, and the new head."""
        from weitiao.models import delta

        delta.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the entries of `delta/` in their places: nothing is woven any more."""
        from weitiao.models import delta

        return delta.load(folder, head)
