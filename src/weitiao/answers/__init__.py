"""What tasks share whose answers are texts."""
