"""What makes predictions of a network's outputs, in plain numpy: one function a kind of output, by its name.

Imports numpy alone, since `danlu export --to numpy` copies this file to where nothing else is. The same in torch stands
beside each task.
"""

from collections.abc import Callable

import numpy as np


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Return class probabilities, [batch, classes]."""
    shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def sigmoid(outputs: np.ndarray) -> np.ndarray:
    """Return the probability of each label, [batch, labels]."""
    return np.asarray(np.exp(_log_sigmoid(outputs)))


def ordinal(outputs: np.ndarray) -> np.ndarray:
    """Return class probabilities of borders, [batch, borders] -> [batch, borders + 1]."""
    falls = np.concatenate([outputs[:, :1], _log_sigmoid(-outputs[:, 1:])], axis=1)
    above = np.cumsum(falls, axis=1)
    reached, missed = _log_sigmoid(above), _log_sigmoid(-above)
    between = reached[:, :-1] + missed[:, 1:] + _log_sigmoid(outputs[:, 1:])
    return np.asarray(np.exp(np.concatenate([missed[:, :1], between, reached[:, -1:]], axis=1)))


def exp(outputs: np.ndarray) -> np.ndarray:
    """Return multiples of the mean count, [batch, 1]; infinite where they are beyond float32."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(outputs))


def sort(outputs: np.ndarray) -> np.ndarray:
    """Return quantiles in ascending order, [batch, levels]."""
    return np.sort(outputs, axis=1)


def identity(outputs: np.ndarray) -> np.ndarray:
    """Return standardized numbers as they are, [batch, outputs]."""
    return outputs


def _log_sigmoid(outputs: np.ndarray) -> np.ndarray:
    """Return log(sigmoid(x)), exact where the sigmoid is 0 in float32."""
    return np.asarray(np.minimum(outputs, 0.0) - np.log1p(np.exp(-np.abs(outputs))))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "ordinal": ordinal,
    "exp": exp,
    "sort": sort,
    "identity": identity,
}
