"""The one place below the command line that reads environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def cache_folder() -> Path:
    """Return where probes and conversions are kept: `$HF_HOME/weitiao`, else `~/.cache/weitiao`."""
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "weitiao"


def features_folder() -> Path:
    """Return where the token ids of rows are kept from one run to the next."""
    return cache_folder() / "features"


def hub_is_offline() -> bool:
    """Tell whether HF_HUB_OFFLINE asks not to reach a hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def quiet_tokenizers() -> None:
    """Keep the tokenizers library from warning after a fork; it still works in parallel."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def variables(names: Iterable[str]) -> dict[str, str]:
    """Return those of the variables that are set, for `environment.json`."""
    return {name: os.environ[name] for name in names if name in os.environ}
