"""An explanation as files: explanation.json and values.npz, written together."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from danlu.artifacts.files import json_bytes, translate_write_errors, write_together
from danlu.explanation.results import Explanation

DOCUMENT, ARRAYS = "explanation.json", "values.npz"


def write_explanation(found: Explanation, folder: Path) -> Explanation:
    """Write explanation.json and values.npz; return the result with the path of the arrays.

    Raises:
        ArtifactError: they cannot be written.
    """
    written = replace(found, arrays=str(folder / ARRAYS))
    arrays = io.BytesIO()
    np.savez(arrays, allow_pickle=False, **written.to_arrays())
    with translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_together(folder, {DOCUMENT: json_bytes(written.to_json()), ARRAYS: arrays.getvalue()})
    return written
