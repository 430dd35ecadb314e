"""The only door to transformers for whole models: finding, loading, tokenizing, precision, anatomy."""
