"""Tables in files: what is written is read, in pieces; what is cut off is said."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from weitiao.models.tables import FileTable


def filled(path: Path, rows: int, width: int) -> np.ndarray:
    values = np.random.default_rng(1).standard_normal((rows, width)).astype(np.float32)
    table = FileTable.reserved(path, (rows, width))
    for start in range(0, rows, 7):
        table[start : start + 7] = values[start : start + 7]
    table.close()
    return values


def test_pieces_come_back_as_they_were_written_and_numpy_reads_the_file(tmp_path: Path) -> None:
    values = filled(tmp_path / "t.npy", 30, 5)
    table = FileTable(tmp_path / "t.npy")
    assert table.shape == (30, 5)
    for piece in (slice(0, 30), slice(4, 9), slice(29, 30), slice(12, 12)):
        assert np.array_equal(table[piece], values[piece])
    assert np.array_equal(np.load(tmp_path / "t.npy"), values)
    np.save(tmp_path / "other.npy", values)
    assert np.array_equal(FileTable(tmp_path / "other.npy")[3:5], values[3:5])


def test_a_file_that_was_cut_off_is_an_error_not_a_crash(tmp_path: Path) -> None:
    filled(tmp_path / "t.npy", 30, 5)
    with (tmp_path / "t.npy").open("r+b") as file:
        file.truncate(400)
    table = FileTable(tmp_path / "t.npy")
    with pytest.raises(OSError, match="ends before its row 30"):
        table[20:30]


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.zeros(4, dtype=np.float32), np.asfortranarray(np.ones((2, 3), dtype=np.float32))])
def test_what_is_no_such_table_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "t.npy", values)
    with pytest.raises(ValueError, match="expected fp32"):
        FileTable(tmp_path / "t.npy")
    with pytest.raises(ValueError, match="for 4 rows of 5"):
        FileTable.reserved(tmp_path / "u.npy", (9, 5))[0:4] = np.zeros((3, 5), dtype=np.float32)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_reading_all_of_a_large_table_takes_the_memory_of_a_piece(tmp_path: Path) -> None:
    def held() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    table = FileTable.reserved(tmp_path / "t.npy", (20_000, 1_000))  # 80 MB
    before = held()
    assert sum(float(table[start : start + 100].sum()) for start in range(0, 20_000, 100)) == 0.0
    assert held() - before < 20e6
