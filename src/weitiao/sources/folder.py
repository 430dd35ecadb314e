"""A folder of texts per label."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from weitiao.core import textfile
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record
from weitiao.errors import BadRow, EmptySplit, MissingFile

SPLITS: dict[Split, tuple[str, ...]] = {"train": ("train", "training"), "dev": ("dev", "val", "valid", "validation"), "test": ("test", "testing")}
"""Split -> names of folders that hold it, and are no labels."""


class Folder(Source):
    """Read a folder that holds one folder of text files per label, or one text file of lines per label."""

    leave_out: list[str] | None = None
    """Folders (or files of lines) beside the labels that are none, such as unsup."""
    encoding: str = "utf-8"
    """Encoding of the files."""

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per file in a label's folder, however deep; or one per line, labelled by its .txt file's name."""
        top = Path(getattr(self, split))
        folders, files = self.labels(top)
        for folder in folders:
            texts = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path, folder)]
            if not texts:
                bad(f"{folder}: the folder of this label holds no files")
            for path in texts:
                try:
                    text = "".join(line for _, line in textfile.lines(path, self.encoding))
                except (BadRow, EmptySplit) as error:
                    bad(error.message.rstrip("."))
                    continue
                yield Record({"text": text.strip(), "label": folder.name}, str(path), None)
        if not folders:
            for path in files:
                for number, line in textfile.lines(path, self.encoding):
                    if line.strip():
                        yield Record({"text": line.strip(), "label": path.stem}, str(path), number)

    def labels(self, top: Path) -> tuple[list[Path], list[Path]]:
        """Return the folders that are labels, and the .txt files that are where there are no folders. Raises MissingFile, EmptySplit."""
        if not top.is_dir():
            raise MissingFile(f"there is no folder {top}.", hint="Expected a folder that holds one folder of texts per label.")
        left_out = self.leave_out or []
        folders = [folder for folder in _folders(top) if folder.name not in left_out]
        files = sorted(p for p in top.iterdir() if p.suffix == ".txt" and p.is_file() and p.stem not in left_out)
        if splits := splits_in(top):
            named = " and ".join(f"data.{split}={path}" for split, path in splits.items())
            raise EmptySplit(f"{top} holds the folders {', '.join(p.name for p in splits.values())}, which are splits, and no labels.", hint=f"Set {named}.")
        if not folders and not files:
            raise EmptySplit(f"{top} holds neither folders nor .txt files.", hint="Expected LABEL/anything.txt, or LABEL.txt with one text per line.")
        return folders, files


def named_like_splits(top: Path) -> dict[Split, Path]:
    """Return the folders inside that are splits by their names."""
    inside = {path.name.lower(): path for path in _folders(top)}
    found: dict[Split, Path] = {}
    for split, names in SPLITS.items():
        path = next((inside[name] for name in names if name in inside), None)
        if path is not None:
            found[split] = path
    return found


def splits_in(top: Path) -> dict[Split, Path]:
    """Return the splits in a folder that holds nothing but splits; none where train is missing, or beside it stands something else, such as a label."""
    found = named_like_splits(top)
    hold_labels = all(any(path.is_dir() or path.suffix == ".txt" for path in folder.iterdir()) for folder in found.values())
    return found if "train" in found and hold_labels and len(found) == len(_folders(top)) else {}


def _folders(top: Path) -> list[Path]:
    return sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))


def _is_hidden(path: Path, top: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(top).parts)
