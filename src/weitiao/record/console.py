"""Progress for people, on stderr."""

from __future__ import annotations

import time

from rich.console import Console as Rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from weitiao.core.events import Begun, Counted, Ended, Evaluated, Event, Phase, Stepped
from weitiao.core.report import digits_of, number

QUIET_SECONDS = 10.0
"""Least time between two progress lines where stderr is not a terminal."""


class Console:
    """A progress bar with rate, loss and time left; plain lines where stderr is not a terminal."""

    def __init__(self, rich: Rich | None = None) -> None:
        """rich: where to print, by default stderr."""
        self.rich = rich or Rich(stderr=True, highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}
        self._spoken = time.monotonic()
        self._steps = 0
        self._deaf = False

    def __call__(self, event: Event) -> None:
        """Show one event. Where nobody reads any more (a closed terminal or pipe) training goes on in silence."""
        if self._deaf:
            return
        try:
            self._tell(event)
        except (OSError, SystemExit):  # rich leaves the program on a broken pipe
            self._deaf, self._progress = True, None

    def _tell(self, event: Event) -> None:
        match event:
            case Phase(said):
                self.close()
                self.rich.print(f"{said} ...", style="dim")
            case Begun(step, steps, run):
                self._steps = steps
                if step:
                    self.rich.print(f"going on at step {step} of {steps} in {run}")
            case Stepped():
                self._stepped(event)
            case Counted(done, of):
                self._show("rows", done, of, said=f"{done} of {of} rows done")
                if done >= of:
                    self._drop("rows")
            case Evaluated(step, metrics, best):
                shown = "  ".join(f"{name} {_number(value)}" for name, value in metrics.items())
                self.rich.print(f"step {step:>6}  dev: {shown}{'  (best so far)' if best else ''}")
            case Ended(step, stopped_early, best_step, _):
                self.close()
                if stopped_early:
                    self.rich.print(f"stopped early at step {step}: no improvement since step {best_step}")

    def close(self) -> None:
        """Take the bars down."""
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._bars = None, {}

    def _stepped(self, event: Stepped) -> None:
        rate = event.examples_seen / max(event.train_seconds, 1e-9)
        speed = f"{number(rate, digits_of([rate], usual=1))} examples/s"
        left = event.train_seconds / event.step * (self._steps - event.step)
        said = f"step {event.step:>6} of {self._steps}  loss {event.loss:.4f}  {speed}  about {left / 60:.1f} min left"
        self._show("training", event.step, self._steps, note=f"{speed}  loss {event.loss:.4f}", said=said)

    def _show(self, name: str, done: int, of: int, *, said: str, note: str = "") -> None:
        """Move a bar, or, where there is no terminal, say it now and then."""
        if not self.rich.is_terminal:
            if time.monotonic() - self._spoken >= QUIET_SECONDS:
                self._spoken = time.monotonic()
                self.rich.print(said)
            return
        if self._progress is None:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.rich,
                transient=True,
            )
            self._progress.start()
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=of, note=note)
        self._progress.update(self._bars[name], completed=done, total=of, note=note)

    def _drop(self, name: str) -> None:
        if self._progress is not None and name in self._bars:
            self._progress.remove_task(self._bars.pop(name))


def _number(value: float) -> str:
    return number(value, digits_of([value], usual=4))
