"""Data sets of the Hugging Face hub."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from weitiao.core import environment
from weitiao.core.contracts import Source, Split
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record
from weitiao.errors import BadRow, BadValue, MissingExtra, MissingFile, WeitiaoError
from weitiao.models.locate import silent_hub

_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
"""`csv` and the like are no ids to the library: it would read whatever lies in the working folder."""
_MEDIA = ("Image", "Audio", "Video", "Pdf")
"""Columns that are no text: left out, so that nothing has to decode them."""


class Hub(Source):
    """Read a data set of the Hugging Face hub with the `datasets` library; its cache serves where there is no network."""

    dataset: str
    """Id of the data set on the hub, such as stanfordnlp/imdb. Code that a data set may bring is never run."""
    config: str | None = None
    """Configuration of the data set, where it has several."""
    revision: str | None = None
    """Branch, tag or commit. Default: the newest."""
    train: str | None = None
    """Name of the split with the training rows, such as train; train[:1000] takes its first rows."""
    dev: str | None = None
    """Name of the split with the rows for model selection, such as validation; split off `train` when absent."""
    test: str | None = None
    """Name of the split with the proof rows; split off `train`, or held back from `dev`, when absent."""

    paths: ClassVar[tuple[str, ...]] = ()

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per row; the number of a label that has a name becomes the name."""
        name = getattr(self, split)
        rows = self._rows(split, name)
        for number, row in enumerate(rows, start=1):
            values = {column: _plain(value, rows.features[column]) for column, value in row.items()}
            yield Record(values, f"hub:{self.dataset}[{name}]", number)

    def _rows(self, split: Split, name: str) -> Any:
        if importlib.util.find_spec("datasets") is None:
            raise MissingExtra("data sets of the hub are read with the package datasets, which is not installed.", hint="pip install 'weitiao[hub]'")
        if not _ID.fullmatch(self.dataset) or Path(self.dataset).is_dir():
            found = "is a folder here, which would be read instead" if Path(self.dataset).is_dir() else "is not owner/name"
            hint = "Expected an id such as stanfordnlp/imdb; files on this disk are read by csv, json and folder."
            raise BadValue(f"data.dataset: '{self.dataset}' {found}.", hint=hint)
        host = silent_hub()
        with _quiet(offline=host is not None):
            import datasets

            try:
                rows = datasets.load_dataset(self.dataset, self.config, split=name, revision=self.revision)
            except Exception as error:  # readers of every format, the hub client and the disk can each fail in their own way
                raise self._translated(error, split, name, host) from None
            if (host or environment.hub_is_offline()) and not self._asked_for(rows):
                raise self._missing(f"its revision {self.revision} is not in the local cache, and the hub was not asked")
            return rows.remove_columns([column for column, feature in rows.features.items() if type(feature).__name__ in _MEDIA])

    def _asked_for(self, rows: Any) -> bool:
        """Tell whether rows from the cache are of the commit that is asked for: alone, the library takes the latest it has."""
        commit = self.revision if re.fullmatch(r"[0-9a-f]{40}", self.revision or "") else None
        return commit is None or any(commit in file["filename"] for file in rows.cache_files)

    def _translated(self, error: Exception, split: Split, name: str, host: str | None) -> WeitiaoError:
        """Return what went wrong as one sentence."""
        from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

        text = " ".join(str(error).split())
        alone = "HF_HUB_OFFLINE is set" if environment.hub_is_offline() else f"{host or 'the hub'} cannot be reached"
        known = re.findall(r"'([^']*)'", text.partition("[")[2].partition("]")[0])
        if text.startswith("Unknown split"):
            return BadValue(f"data.{split}: {self.dataset} has no split '{name}'.{did_you_mean(name, known)}", hint=f"Known: {', '.join(known)}.")
        if text.startswith("Config name is missing"):
            return BadValue(f"data.config: missing; {self.dataset} has several configurations.", hint=f"Known: {', '.join(known)}.")
        if text.startswith("BuilderConfig") and self.config:
            return BadValue(f"data.config: {self.dataset} has no '{self.config}'.{did_you_mean(self.config, known)}", hint=f"Known: {', '.join(known)}.")
        if "scripts are no longer supported" in text:
            return BadValue(f"data.dataset: {self.dataset} is read by code of its own, which is never run.", hint="Look on the hub for a copy in parquet.")
        if "gated dataset" in text:
            return MissingFile(
                f"the data set '{self.dataset}' is gated: the hub gives it only to those who accepted its terms.",
                hint=f"Accept them on the page of {self.dataset} on the hub, then log in here: hf auth login (or set HF_TOKEN).",
            )
        if text.startswith("Revision"):
            return BadValue(f"data.revision: {self.dataset} has no revision '{self.revision}'.", hint="Name a branch, a tag or a commit of the data set.")
        if isinstance(error, DatasetNotFoundError):
            return self._missing("the hub does not know it, or it is private")
        if text.startswith("Couldn't find cache"):
            return self._missing(f"its configuration '{self.config}' is not in the local cache and {alone}")
        if isinstance(error, ConnectionError):
            return self._missing(f"it is not in the local cache and {alone}")
        if isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
            text = " ".join(str(error.__cause__).split())
        return BadRow(
            f"the data set '{self.dataset}' cannot be read: {text[:200].rstrip('.')}.", hint="Look at its page on the hub: does its viewer show rows?"
        )

    def _missing(self, reason: str) -> MissingFile:
        hint = "Check the id, or that there is a network; files on this disk are read by csv, json and folder."
        return MissingFile(f"there is no data set '{self.dataset}': {reason}.", hint=hint)


def _plain(value: Any, feature: Any) -> Any:
    """Return a value as JSON has it, labels by their names."""
    kind = type(feature).__name__
    if value is None:
        return None
    if kind == "ClassLabel" and isinstance(value, int):
        return feature.int2str(value) if value >= 0 else None  # -1 marks a row whose label is kept secret
    if isinstance(value, dict):
        inside = feature if isinstance(feature, dict) else {}
        return {key: _plain(item, inside.get(key)) for key, item in value.items()}
    if isinstance(value, list):
        inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
        return [_plain(item, inner) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool) else str(value)


@contextlib.contextmanager
def _quiet(*, offline: bool) -> Iterator[None]:
    """Keep bars and warnings of the libraries off the terminal; offline: let them look into their cache only.

    Told nothing, they try a silent hub for half a minute before they look into their cache.
    """
    import datasets
    from huggingface_hub import constants
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    with contextlib.ExitStack() as undone:
        for name in ("datasets", "huggingface_hub"):
            logger = logging.getLogger(name)
            undone.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        if not datasets.are_progress_bars_disabled():
            datasets.disable_progress_bars()
            undone.callback(datasets.enable_progress_bars)
        if not are_progress_bars_disabled():
            disable_progress_bars()
            undone.callback(enable_progress_bars)
        for module in (constants, datasets.config) if offline else ():
            undone.callback(setattr, module, "HF_HUB_OFFLINE", module.HF_HUB_OFFLINE)
            module.HF_HUB_OFFLINE = True
        yield
