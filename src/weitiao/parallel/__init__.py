"""One file = one way of using devices."""
