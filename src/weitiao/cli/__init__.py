"""The command line: one file = one command; each imports its verb only when called."""
