"""Attention rollout: how much of each token reaches the answer by way of attention and residual connections.

Abnar and Zuidema 2020, https://arxiv.org/abs/2005.00928. It knows nothing of the answer's direction, so values are
shares of 1, and a label changes nothing.
"""

from typing import Any

import numpy as np

from danlu.inspection.representations import all_attention

RESIDUAL = 0.5  # of a token's state that skips each layer


def roll_out(attention: list[np.ndarray], reader: int | None) -> np.ndarray:
    """Return the share of each token in what one reads, [tokens], of sum 1.

    Args:
        attention: by layer, [heads, tokens, tokens]; rows sum to 1.
        reader: the token that is answered from; None for the mean over all.
    """
    size = attention[0].shape[-1]
    whole = np.eye(size)
    for weights in attention:
        mean = weights.astype(np.float64).mean(axis=0)
        mixed = RESIDUAL * np.eye(size) + (1 - RESIDUAL) * mean / mean.sum(axis=1, keepdims=True)
        whole = mixed @ whole
    return np.asarray(whole.mean(axis=0) if reader is None else whole[reader])


def attention_of(network: Any, inputs: Any) -> list[np.ndarray] | None:
    """Return each layer's attention, [heads, tokens, tokens]; None unless all see all tokens."""
    found = all_attention(network, inputs)
    sizes = {each.shape[1:] for each in found}
    return found if len(sizes) == 1 and len(set(next(iter(sizes)))) == 1 else None


def is_causal(attention: list[np.ndarray]) -> bool:
    """Return whether no token sees a later one."""
    return all(not np.triu(each, 1).any() for each in attention)
