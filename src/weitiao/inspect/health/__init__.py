"""What may be wrong with rows that can all be read: each file looks for one kind of thing, and says where it stands."""
