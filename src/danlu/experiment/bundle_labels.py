"""Labelled rows for a bundle without its run: what its manifest says stands in for recipe and profile.

In: rows as `read_for(..., labelled=True)` reads them. Out: rows as `labelled_data.read_labelled` gives them.
"""

from danlu.artifacts.bundle import Manifest
from danlu.data.columns import Column
from danlu.data.descriptors import RawData
from danlu.data.kinds.table import get_kind
from danlu.errors import DataError
from danlu.experiment.labelled_data import LabelledData, read_labelled
from danlu.recipe.sections.data import Clean, Data
from danlu.tasks.base import Target
from danlu.tasks.multi_label import MultiLabelTarget
from danlu.tasks.multi_output import MultiNumericTarget


def target_columns(target: Target) -> tuple[str, ...]:
    """Return the columns that hold what a bundle predicts; none if it does not say."""
    if isinstance(target, MultiLabelTarget):
        return ()
    return target.names if isinstance(target, MultiNumericTarget) else target.columns


def labelled_for_bundle(manifest: Manifest, target: Target, read: RawData) -> LabelledData:
    """Bring rows into the form of a bundle's training data; unanswered ones go.

    Raises:
        DataError: the target is missing, unknown to the model, or written in a way that only the run knows.
    """
    names = target_columns(target)
    if not names:
        raise DataError(
            f"{read.origin}: a bundle of {target.task} does not say how its answers are written; give the run",
            code="DL210",
        )
    section = Data(
        source="memory:rows",
        target=names if isinstance(target, MultiNumericTarget) else names[0],
        task=target.task,
        clean=Clean(unlabelled="drop"),
    )
    columns = [
        Column(name=each["name"], type=each["type"], reason="", used=True, missing=0, unique=0)
        for each in manifest.columns
    ]
    return read_labelled(read, get_kind(manifest.kind), target, section, columns)
