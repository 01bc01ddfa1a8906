"""Compare rows with the data that a bundle's model was trained on, before anyone predicts them; imports no torch."""

from typing import Any

from danlu.artifacts.bundle import Output
from danlu.artifacts.files import StrPath
from danlu.data.audit.against import compare_with_training
from danlu.data.kinds.table import get_kind
from danlu.data.reading.later import read_as_trained, saved_missing_values
from danlu.data.reading.missing import without_missing
from danlu.models.bundle_form import open_checked
from danlu.models.read_for import read_words_for
from danlu.tasks.table import parse_target


def check_against(bundle: StrPath, source: object) -> dict[str, Any]:
    """Compare the rows of a source with a bundle's training data.

    Args:
        bundle: folder of a bundle or a run.
        source: what `read_for` takes.

    Raises:
        ArtifactError: the bundle is damaged.
        DataError: the source cannot be read.
    """
    opened = open_checked(bundle)
    manifest = opened.manifest
    written, missing_values = read_words_for(opened, source, labelled=False), saved_missing_values(manifest.reading)
    read = read_as_trained(written, manifest.columns, missing_values)
    read = get_kind(manifest.kind).read_samples(read, [each["name"] for each in manifest.columns])
    target = parse_target(manifest.output)
    names = (*target.columns, *getattr(target, "names", ()), *_labels_as_columns(manifest.output))
    words = without_missing(written.frame, missing_values)[0]
    compared = compare_with_training(read, words, manifest.columns, names, opened.reference())
    return {"format": 1, "bundle": manifest.digest, **compared}


def _labels_as_columns(output: Output) -> list[str]:
    """Return the labels of a target that may have a column for each."""
    return [str(label) for label in output["labels"]] if output.get("task") == "multi-label" else []
