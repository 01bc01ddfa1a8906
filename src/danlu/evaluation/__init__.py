"""Metrics, intervals and baselines: from a model's predictions to the figures of evaluation.json.

In: predictions and the truth. Out: plain values. Nothing is trained here but the baselines.
"""
