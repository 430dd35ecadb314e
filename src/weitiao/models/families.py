"""What must be known of an architecture by its name, because nothing else tells it."""

POSITIONS_BEHIND_PADDING = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "data2vec-text", "roberta-prelayernorm"})
"""Families whose positions start behind the pad id: the first token stands at pad_token_id + 1."""
