"""Scaled rotary positions of a GGUF file, which transformers leaves out: the file's fields, as a config says them.

Llama 3 writes no settings but a divisor for each frequency; its settings follow from these.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from danlu.errors import DataError

DIVISORS = "rope_freqs.weight"
CLOSE = 1e-3  # settings are whole numbers, and divisors have 32 bits


def scaled_rotation(
    said: Callable[[str], Any], divisors: np.ndarray | None, theta: float, name: str
) -> dict[str, Any] | None:
    """Return the rope_parameters of a config; None where positions are not scaled.

    Args:
        said: gives a field of the file by its name, or None.
        divisors: of Llama 3's frequencies, [width of a head / 2], if the file holds them.
        theta: the base of the frequencies.
        name: of the file, for errors.

    Raises:
        DataError: positions are scaled in a way that is not known.
    """
    if divisors is not None:
        return llama3_rotation(divisors, theta, name)
    arch = said("general.architecture")
    scaling = said(f"{arch}.rope.scaling.type")
    if scaling in (None, "none"):
        return None
    found = {"rope_type": scaling, "rope_theta": theta, "factor": float(said(f"{arch}.rope.scaling.factor") or 1.0)}
    if scaling == "linear":
        return found
    if scaling == "yarn":
        longest = said(f"{arch}.rope.scaling.original_context_length") or said(f"{arch}.context_length")
        return {**found, "original_max_position_embeddings": int(longest)}
    raise DataError(
        f"model.name: {name}: its positions are scaled by {scaling}; linear, yarn and Llama 3's are read", code="DL272"
    )


def llama3_rotation(divisors: np.ndarray, theta: float, name: str) -> dict[str, Any] | None:
    """Return Llama 3's settings, of which divisors were made (`_compute_llama3_parameters` of transformers).

    Between the short and the long waves, the inverse of a divisor is a straight line in the frequency. Only its slope
    and start show, so `low_freq_factor` is taken as 1, which it is in all of Meta's models, as is `high_freq_factor` 4.

    Raises:
        DataError: divisors are of another kind.
    """
    factor = float(divisors.max())
    if factor == 1.0:
        return None
    frequencies = theta ** (-np.arange(len(divisors)) / len(divisors)) / (2 * np.pi)  # waves a token
    shares = (1 / divisors.astype(np.float64) - 1 / factor) / (1 - 1 / factor)
    between = (shares > CLOSE) & (shares < 1 - CLOSE)
    if between.any():
        low, high = 1.0, 4.0
        if between.sum() > 1:
            slope, start = np.polyfit(frequencies[between], shares[between], 1)
            high = float(low - low / start)
            longest = float(slope * (high - low))
        else:
            longest = float(((shares * (high - low) + low) / frequencies)[between][0])
        settings = {
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": longest,
        }
        settings = {key: round(value) if abs(value - round(value)) < CLOSE * value else value
                    for key, value in settings.items()}  # fmt: skip
        again = llama3_divisors(frequencies, **settings)
        if np.allclose(again, divisors, rtol=CLOSE):
            return {"rope_type": "llama3", "rope_theta": theta, **settings}
    raise DataError(
        f"model.name: {name}: its positions are scaled by divisors ({DIVISORS}) that are not Llama 3's", code="DL272"
    )


def llama3_divisors(
    frequencies: np.ndarray,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_max_position_embeddings: float,
) -> np.ndarray:
    """Return the divisor of each frequency, given in waves a token."""
    waves = original_max_position_embeddings * frequencies
    shares = np.clip((waves - low_freq_factor) / (high_freq_factor - low_freq_factor), 0.0, 1.0)
    return np.asarray(1 / ((1 - shares) / factor + shares))
