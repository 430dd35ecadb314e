"""A folder of texts per label."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from weitiao.core import textfile
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record
from weitiao.errors import BadRow, EmptySplit, MissingFile


class Folder(Source):
    """Read a folder that holds one folder of text files per label, or one text file of lines per label."""

    encoding: str = "utf-8"
    """Encoding of the files."""

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per file, labelled by its folder's name; or one per line, labelled by its file's name."""
        top = Path(getattr(self, split))
        if not top.is_dir():
            raise MissingFile(f"there is no folder {top}.", hint="Expected a folder that holds one folder of texts per label.")
        folders = sorted(p for p in top.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))
        files = sorted(p for p in top.iterdir() if p.suffix == ".txt")
        if not folders and not files:
            raise EmptySplit(f"{top} holds neither folders nor .txt files.", hint="Expected LABEL/anything.txt, or LABEL.txt with one text per line.")
        for folder in folders:
            for path in sorted(folder.glob("*.txt")):
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
