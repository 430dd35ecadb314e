"""Prompts with places, such as {question}, in which something is said."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACE = re.compile(r"\{\w+\}")


def filled(prompt: str, said: Mapping[str, str]) -> str:
    """Return a prompt in which each place says what it stands for; what is said is not looked at again, and unknown places stay as they are."""
    return _PLACE.sub(lambda place: said.get(place[0], place[0]), prompt)
