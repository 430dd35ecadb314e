"""What must be known of an architecture by its name, because nothing else tells it."""

POSITIONS_BEHIND_PADDING = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "data2vec-text", "roberta-prelayernorm"})
"""Families whose positions start behind the pad id: the first token stands at pad_token_id + 1."""

NORM_CLOSES_LAYER = frozenset({"bart", "marian", "blenderbot-small", "plbart", "mvp", "led"})
"""Families whose `final_layer_norm` stands behind the residual of the feed-forward network; elsewhere one of this name stands before the network."""

FUSED_IN_BLOCKS = frozenset({"gpt2", "phi3", "modernbert", "mpt"})
"""Families whose one projection makes all queries, then all keys, then all values."""
FUSED_PER_HEAD = frozenset({"gpt_neox", "gpt_neox_japanese", "bloom", "persimmon"})
"""Families whose one projection makes query, key and value of the first head, then of the second."""
