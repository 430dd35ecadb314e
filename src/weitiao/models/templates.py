"""Chat templates for models that bring none, in Jinja as tokenizers keep them."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from weitiao.errors import BadValue

OWN, AUTO = "own", "auto"

_PLAIN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] | trim }}\n\n"
    "{% elif message['role'] == 'assistant' %}Assistant: {{ message['content'] | trim }}{{ eos_token }}\n"
    "{% elif message['role'] == 'tool' %}Tool: {{ message['content'] | trim }}\n"
    "{% else %}User: {{ message['content'] | trim }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GEMMA = (
    "{% for message in messages %}<start_of_turn>{{ 'model' if message['role'] == 'assistant' else 'user' }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
NAMED = {"plain": _PLAIN, "chatml": _CHATML, "gemma": _GEMMA}
"""Name -> template; `plain` needs no token besides the end token."""
_NEEDS = {"chatml": ("<|im_start|>", "<|im_end|>"), "gemma": ("<start_of_turn>", "<end_of_turn>")}


def chosen(name: str, own: str | None, vocabulary: Container[str], *, begins: bool) -> tuple[str, str]:
    """Return (name, template) for what was asked.

    name: `auto` takes the model's own, else the first whose turn tokens the vocabulary knows, else plain; `own`, a name
    of NAMED, or a file. begins: whether the tokenizer puts a begin token before a text: a template of ours then does too.
    Raises BadValue.
    """
    if name in (AUTO, OWN) and own:
        return OWN, own
    if name == OWN:
        raise BadValue("task.template: the model has no chat template of its own.", hint=f"Set task.template to auto, {', '.join(NAMED)}, or a .jinja file.")
    if name == AUTO:
        name = next((kind for kind, tokens in _NEEDS.items() if all(token in vocabulary for token in tokens)), "plain")
    if name in NAMED:
        absent = [token for token in _NEEDS.get(name, ()) if token not in vocabulary]
        if absent:
            raise BadValue(f"task.template: {name} needs the token {absent[0]}, which the model does not know.", hint="Set task.template=plain.")
        return name, ("{{ bos_token }}" if begins else "") + NAMED[name]
    path = Path(name).expanduser()
    try:
        return name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadValue(
            f"task.template: '{name}' is neither a known template nor a file that can be read.", hint=f"Known: auto, own, {', '.join(NAMED)}."
        ) from None
