"""Short, stable names for content: equal content has an equal fingerprint on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def of_json(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return of_text(text)


def of_text(text: str) -> str:
    """Return the SHA-256 (hex) of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def of_texts(texts: Iterable[str]) -> str:
    """Return the SHA-256 (hex) of a sequence of texts; order and boundaries count."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(framed((text,)))
    return digest.hexdigest()


def framed(texts: Iterable[str]) -> bytes:
    """Return the bytes that `of_texts` hashes for these texts: each behind its length."""
    raw = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join(len(part).to_bytes(8, "little") + part for part in raw)


def of_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
