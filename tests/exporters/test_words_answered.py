"""Answers in words, as the labels of an ONNX classifier: compared as words, never as numbers."""

import numpy as np

from danlu.exporters.proof import Deviations


def test_labels_in_words_are_the_same_or_infinitely_far() -> None:
    found = Deviations()
    found.add(np.array(["benign", "malignant"], dtype=object), np.array(["benign", "malignant"]))
    assert found.largest == 0.0
    found.add(np.array(["benign", "malignant"], dtype=object), np.array(["benign", "benign"]))
    assert found.largest == np.inf
