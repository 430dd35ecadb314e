"""How methods are named in a comparison: by their names, with + between those that train together."""

from __future__ import annotations


def parts(name: str) -> list[str]:
    """Return the methods that a name stands for."""
    return name.split("+")


def override(name: str) -> str:
    """Return what is laid over a recipe so that it trains with them."""
    found = parts(name)
    return f"method=[{','.join(found)}]" if len(found) > 1 else f"method={name}"
