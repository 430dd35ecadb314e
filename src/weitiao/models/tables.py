"""A table of numbers in a file, read and written piece by piece.

A mapped file would count as memory of the process, page by page as it is touched, and kill the process where the disk is full
or the file is cut off. What is read here comes from the system's own cache of the disk, and errors are OSErrors.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


class FileTable:
    """fp32 values (rows, width) in a `.npy` file."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        """Open a file that is there. Raises OSError, and ValueError where it is no such table."""
        self._file = path.open("r+b" if writable else "rb", buffering=0)
        version = np.lib.format.read_magic(self._file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, by_column, dtype = read(self._file)
        if by_column or dtype != np.float32 or len(self.shape) != 2:
            raise ValueError(f"{path} holds {dtype} {self.shape}, expected fp32 (rows, width)")
        self._start, self._row = self._file.tell(), 4 * self.shape[1]

    @classmethod
    def reserved(cls, path: Path, shape: tuple[int, int]) -> FileTable:
        """Make a file whose room on the disk is certain. Raises OSError where there is too little."""
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            size = file.tell() + 4 * shape[0] * shape[1]
            file.truncate(size)
            file.flush()
            if hasattr(os, "posix_fallocate") and size:
                os.posix_fallocate(file.fileno(), 0, size)
        return cls(path, writable=True)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return some rows (n, width). Raises OSError where the file ends before them."""
        start, stop, _ = rows.indices(self.shape[0])
        found = np.empty((max(0, stop - start), self.shape[1]), dtype=np.float32)
        room = found.data.cast("B") if found.size else memoryview(b"")
        self._file.seek(self._start + start * self._row)
        while room:
            if not (read := self._file.readinto(room)):
                raise OSError(f"{self._file.name} ends before its row {stop}")
            room = room[read:]
        return found

    def __setitem__(self, rows: slice, values: np.ndarray) -> None:
        """Write some rows (n, width)."""
        start, stop, _ = rows.indices(self.shape[0])
        if values.shape != (stop - start, self.shape[1]):
            raise ValueError(f"{values.shape} values for {stop - start} rows of {self.shape[1]}")
        left = np.ascontiguousarray(values, dtype=np.float32).data.cast("B") if values.size else memoryview(b"")
        self._file.seek(self._start + start * self._row)
        while left:
            left = left[self._file.write(left) :]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
