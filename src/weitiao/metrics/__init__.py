"""Scores as functions of per-row statistics, so that intervals and tests cost one matrix product.

The formulas are those of scikit-learn, to which the tests hold them.
"""
