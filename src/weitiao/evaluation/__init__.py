"""Predictions, scores with intervals, before against after, and the page that shows them."""
