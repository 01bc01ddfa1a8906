"""Hyperparameter search: `space` (the distribution of each key) and `samplers` (what to try next).

Samplers know nothing of recipes, data or training.
"""
