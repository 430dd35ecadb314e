"""One file = one task: reads records as rows, turns rows into batches, outputs into predictions and scores."""
