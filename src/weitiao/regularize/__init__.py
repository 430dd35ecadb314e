"""One file = one addition to loss, weights or gradient."""
