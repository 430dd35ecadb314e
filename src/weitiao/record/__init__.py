"""One file = one recorder of what a run tells."""
