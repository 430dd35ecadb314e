"""One event per line in a file; every curve is drawn from it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from weitiao.core import files
from weitiao.core.events import Counted, Event, Saved


class Jsonl:
    """Append events to a file; a checkpoint's events are on the disk before the checkpoint counts."""

    def __init__(self, path: Path, *, keep_to_step: int) -> None:
        """Open the log, dropping what an interrupted run wrote after the step that it is resumed from."""
        kept = [event for event in read(path) if event.get("step", 0) <= keep_to_step and event["event"] != "phase"]
        files.write_text(path, "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in kept))
        self._file = path.open("a", encoding="utf-8", newline="\n")

    def __call__(self, event: Event) -> None:
        """Write one event; counts of rows are for people who wait, not for curves."""
        if isinstance(event, Counted):
            return
        self._file.write(json.dumps(event.as_dict(), ensure_ascii=False, default=str) + "\n")
        if isinstance(event, Saved):
            self.flush()

    def flush(self) -> None:
        """Put everything written so far on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close."""
        if not self._file.closed:
            self.flush()
            self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log; a last line cut short by a kill is dropped."""
    if not path.is_file():
        return []
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return events
