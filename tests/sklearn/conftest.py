"""Real data for the estimators: tables of scikit-learn, and one fitted estimator of each sort."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from danlu.sklearn import DanluClassifier, DanluRegressor

SHORT = {"epochs": 8, "batch_size": 32}


@pytest.fixture(scope="session")
def iris() -> tuple[pd.DataFrame, pd.Series]:
    """Iris with the names of its species, in an order of no meaning."""
    data = load_iris(as_frame=True)
    species = data.target.map(dict(enumerate(data.target_names))).rename("species")
    order = np.random.default_rng(0).permutation(len(species))
    return data.data.iloc[order].reset_index(drop=True), species.iloc[order].reset_index(drop=True)


@pytest.fixture(scope="session")
def cancer() -> tuple[np.ndarray, np.ndarray]:
    return load_breast_cancer(return_X_y=True)


@pytest.fixture(scope="session")
def diabetes() -> tuple[pd.DataFrame, pd.Series]:
    return load_diabetes(return_X_y=True, as_frame=True)


@pytest.fixture(scope="session")
def species_model(iris: tuple[pd.DataFrame, pd.Series]) -> DanluClassifier:
    return DanluClassifier(training={"epochs": 60, "batch_size": 16}).fit(*iris)


@pytest.fixture(scope="session")
def progression_model(diabetes: tuple[pd.DataFrame, pd.Series]) -> DanluRegressor:
    return DanluRegressor(training={"epochs": 30}).fit(*diabetes)
