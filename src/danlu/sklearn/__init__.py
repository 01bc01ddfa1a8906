"""Estimators with scikit-learn's habits, trained by danlu: `fit`, `predict`, `get_params`, `clone`, pickles.

In: X and y as scikit-learn takes them, and the sections of a recipe as parameters. Out: a fitted estimator that holds
its bundle. Imported only where a program asks for it, since it imports scikit-learn.
"""

from danlu.sklearn.estimators import DanluClassifier, DanluRegressor

__all__ = ["DanluClassifier", "DanluRegressor"]
