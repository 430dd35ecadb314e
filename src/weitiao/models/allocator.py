"""Memory that was freed stays with the process while it trains.

A training step frees gigabytes and asks for the same gigabytes at the next step. The C library gives them back to the
operating system in between and gets them again page by page, each filled with zeros (`benchmarks/profile_step.py` counts
them). Asking glibc also ends its own adjusting of thresholds, so the usual values stay from then on.

Batches that are only looked at come in many shapes, and what one leaves does not fit the next: there the heap would grow
with every batch, so `trim` is called in between.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Numbers of the settings in glibc's malloc.h."""
_USUAL = ((_MMAP_MAX, 65536), (_TRIM_THRESHOLD, 128 * 1024))
"""What glibc begins with."""


@contextlib.contextmanager
def keeping(wanted: bool) -> Iterator[bool]:
    """Let the process keep freed memory inside the block, and tell whether it does: only glibc on Linux can be asked."""
    library = _library() if wanted else None
    kept = library is not None and bool(library.mallopt(_TRIM_THRESHOLD, -1)) and bool(library.mallopt(_MMAP_MAX, 0))
    try:
        yield kept
    finally:
        if library is not None:
            for setting, value in _USUAL:
                library.mallopt(setting, value)
            library.malloc_trim(0)


def trim() -> None:
    """Give freed memory back to the system, where glibc can be asked; takes about half a millisecond."""
    if (library := _library()) is not None:
        library.malloc_trim(0)


@functools.cache
def _library() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        if library.gnu_get_libc_version and library.mallopt and library.malloc_trim:
            return library
    return None
