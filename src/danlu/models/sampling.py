"""How the next token is chosen from a model's scores: what may be drawn, and the draw itself.

The draw is Gumbel-max (Gumbel 1954): noise is added to the scores and the largest taken, which draws from their
softmax. The noise of a text follows from its own seed, so a text does not depend on what is generated beside it, and
no generator of torch's is touched.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.core.component import Frozen
from danlu.core.seeds import Seed


class Sampling(Frozen):
    """What `danlu generate` may be told of choosing tokens; see its options.

    Attributes:
        temperature: scores are divided by it; 0 always takes the likeliest token.
        top_k: only so many of the likeliest.
        top_p: only the likeliest that together have this probability (Holtzman et al. 2020).
        min_p: only those with at least this share of the likeliest one's probability (Nguyen et al. 2024).
        repetition_penalty: by which tokens that stand in the text already are made less likely (Keskar et al. 2019).
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0


def processors(sampling: Sampling, seeds: Sequence[Seed], padded: Tensor, device: torch.device) -> Any:
    """What transformers applies to the scores of each step, in order; after it the largest is taken.

    Args:
        seeds: one a text.
        padded: how many positions before each text are padding, [texts].
    """
    from transformers.generation import logits_process as known

    found: list[Any] = []
    if sampling.repetition_penalty != 1.0:
        penalty = known.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)
        found.append(_WithoutPadding(penalty, padded.to(device)))
    if sampling.temperature > 0.0:
        if sampling.temperature != 1.0:
            found.append(known.TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k is not None:
            found.append(known.TopKLogitsWarper(sampling.top_k))
        if sampling.top_p is not None:
            found.append(known.TopPLogitsWarper(sampling.top_p))
        if sampling.min_p is not None:
            found.append(known.MinPLogitsWarper(sampling.min_p))
        found.append(_Gumbel(seeds))
    return known.LogitsProcessorList(found)


class _WithoutPadding:
    """A processor that reads what stands in a text already, without the padding before it."""

    def __init__(self, processor: Any, padded: Tensor) -> None:
        self.processor, self.padded = processor, padded

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        before = torch.arange(input_ids.shape[1], device=input_ids.device) < self.padded[:, None]
        found: Tensor = self.processor(torch.where(before, input_ids[:, -1:], input_ids), scores)
        return found


class _Gumbel:
    """Adds the noise by which the largest score is a draw; each text's from its own stream."""

    def __init__(self, seeds: Sequence[Seed]) -> None:
        # On the host: the same noise on every device.
        self.generators = [torch.Generator().manual_seed(seed.value) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        noise = torch.stack([torch.empty(scores.shape[1]).exponential_(generator=each) for each in self.generators])
        return scores.float() - noise.log().to(scores.device)
