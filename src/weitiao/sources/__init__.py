"""One file = one way in. A source yields records: a mapping, and the file and line it stood on."""
