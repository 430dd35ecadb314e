"""One file = one method: decides which parameters train, and writes what it trained."""
