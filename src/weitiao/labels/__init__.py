"""What tasks share that say one thing about a whole input: a label, several labels, or a number."""
