"""Which of several ways to train is the best for these rows on this machine: tried, not guessed."""
