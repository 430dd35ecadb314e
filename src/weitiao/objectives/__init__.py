"""One file = one loss, as sums and counts that are divided once."""
