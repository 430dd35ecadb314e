"""Progress for people, on stderr."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console as Rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from weitiao.core.events import Begun, Ended, Evaluated, Event, Phase, Saved, Stepped

QUIET_SECONDS = 10.0
"""Least time between two progress lines where stderr is not a terminal."""


class Console:
    """A progress bar with rate, loss and time left; plain lines where stderr is not a terminal."""

    def __init__(self, rich: Rich | None = None) -> None:
        """rich: where to print, by default stderr."""
        self.rich = rich or Rich(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: Any = None
        self._spoken = 0.0
        self._steps = 0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Phase(said):
                self._close()
                self.rich.print(f"[dim]{said} ...[/dim]" if self.rich.is_terminal else f"{said} ...")
            case Begun(step, steps, run):
                self._steps = steps
                if step:
                    self.rich.print(f"going on at step {step} of {steps} in {run}")
                if self.rich.is_terminal:
                    self._open(step, steps)
            case Stepped():
                self._stepped(event)
            case Evaluated(step, metrics, best):
                shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
                self.rich.print(f"step {step:>6}  dev: {shown}{'  (best so far)' if best else ''}")
            case Ended(step, stopped_early, best_step, _):
                self._close()
                if stopped_early:
                    self.rich.print(f"stopped early at step {step}: no improvement since step {best_step}")
            case Saved():
                pass

    def close(self) -> None:
        """Take the bar down."""
        self._close()

    def _open(self, step: int, steps: int) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}  {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self.rich, transient=True)
        self._task = self._bar.add_task("training", total=steps, completed=step, rate="", loss="")
        self._bar.start()

    def _stepped(self, event: Stepped) -> None:
        rate = f"{event.examples_seen / max(event.train_seconds, 1e-9):.0f} examples/s"
        loss = f"loss {event.loss:.4f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=event.step, rate=rate, loss=loss)
        elif time.monotonic() - self._spoken >= QUIET_SECONDS:
            self._spoken = time.monotonic()
            left = event.train_seconds / event.step * (self._steps - event.step)
            self.rich.print(f"step {event.step:>6} of {self._steps}  {loss}  {rate}  about {left / 60:.1f} min left")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
