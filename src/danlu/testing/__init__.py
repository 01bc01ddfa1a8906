"""Checks for authors of plugins: what danlu expects of a component, tried on real data.

    from danlu.testing import check_optimizer
    check_optimizer(MyOptimizer)

Each function takes a class, or options made from it, and raises `CheckFailed`, an AssertionError, whose message says
what is wrong. danlu's own components pass the same checks. They train for a few seconds on the data that comes with
danlu and need no network.
"""

from danlu.testing.metrics import check_metric as check_metric
from danlu.testing.models import check_model as check_model
from danlu.testing.optimizers import check_optimizer as check_optimizer
from danlu.testing.options import CheckFailed as CheckFailed
from danlu.testing.tasks import check_task as check_task

__all__ = ["CheckFailed", "check_metric", "check_model", "check_optimizer", "check_task"]
