"""Trackers: callbacks that copy metrics to tools where people compare runs; and the choice of a run's callbacks.

In: the recipe's `training.track` and `training.callbacks`. Out: callbacks for the loop, in the order in which they are
called. A tracker writes a copy: reports and comparisons are made from metrics.jsonl.
"""

from danlu.training.trackers.choice import build_callbacks, check_trackers

__all__ = ["build_callbacks", "check_trackers"]
