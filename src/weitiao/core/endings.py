"""Which source reads a file, by the ending of its name."""

from __future__ import annotations

READERS = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), "csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    **dict.fromkeys((".conll", ".bio", ".iob", ".iob2", ".bioes", ".bmes"), "conll"),
    ".parquet": "parquet",
}
"""Ending -> source. Endings that say less, and formats inside JSON, are known only where a recipe or a look into the file tells."""
