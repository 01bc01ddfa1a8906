"""Trackers: callbacks that carry metrics to where people compare runs; and the choice of a run's callbacks.

In: the recipe's `training.track` and `training.callbacks`. Out: callbacks for the loop, in the order that they are told
of things. What a tracker writes is a copy: metrics.jsonl remains what reports and comparisons are made from.
"""

from danlu.training.trackers.choice import callbacks_for, require_trackers

__all__ = ["callbacks_for", "require_trackers"]
