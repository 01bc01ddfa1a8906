"""Predictions -> metrics, per class and as a whole, beside the trivial and the linear model on the same split.

In: answers and the truth. Out: plain figures (evaluation.json). Trains nothing but the baselines.
"""
