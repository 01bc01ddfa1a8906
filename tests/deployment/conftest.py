"""A bundle that is deployed, with figures that nobody measured, so that its files can be looked at at once."""

from pathlib import Path

import pytest

from danlu.deployment.container import Resources
from danlu.deployment.measure import Measured
from danlu.deployment.subject import Subject


@pytest.fixture(scope="session")
def subject(table_run: Path) -> Subject:
    """A table's model, answered by numpy."""
    return Subject.open(table_run, "numpy", None)


@pytest.fixture
def resources() -> Resources:
    return Resources(Measured(100 * 2**20, 2.5, 1.5, 400, 256, 8, "a processor"))
