"""Looks at the data of a recipe before anybody trains on it: what is wrong, where, and what to do; and writes a cleaned copy."""
