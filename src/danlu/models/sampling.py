"""How tokens are drawn from a language model's scores: options, and what is done to scores before the largest is taken.

Sampling is by the Gumbel-max trick (Gumbel 1954): noise is added to the scores and the largest taken, which samples
from their softmax. The noise of a text depends on its own seed alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.core.component import Frozen
from danlu.core.seeds import Seed


class Sampling(Frozen):
    """Hold the sampling options of `danlu generate`.

    Attributes:
        max_new_tokens: token limit of a generated text.
        temperature: divides the scores; 0 is greedy decoding.
        top_k: sample from the k most likely tokens only.
        top_p: nucleus sampling: the most likely tokens with this total probability (Holtzman et al. 2020,
            https://arxiv.org/abs/1904.09751).
        min_p: tokens with at least this fraction of the most likely token's probability (Nguyen et al. 2024,
            https://arxiv.org/abs/2407.01082).
        repetition_penalty: makes tokens already in the text less likely (Keskar et al. 2019,
            https://arxiv.org/abs/1909.05858).
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0


def logits_processors(sampling: Sampling, seeds: Sequence[Seed], num_padding: Tensor, device: torch.device) -> Any:
    """Build the logits processors of each step; the largest processed score is then taken.

    Args:
        sampling: the options.
        seeds: one per text.
        num_padding: number of left-padding positions per text, [texts].
        device: of the scores.
    """
    from transformers.generation import logits_process as known

    found: list[Any] = []
    if sampling.repetition_penalty != 1.0:
        penalty = known.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)
        found.append(_IgnorePadding(penalty, num_padding.to(device)))
    if sampling.temperature > 0.0:
        found += score_warpers(sampling)
        found.append(_AddNoise([GumbelNoise(seed) for seed in seeds]))
    return known.LogitsProcessorList(found)


def score_warpers(sampling: Sampling) -> list[Any]:
    """Return the processors of temperature and cut-offs, which look at a row's scores alone."""
    from transformers.generation import logits_process as known

    found: list[Any] = []
    if sampling.temperature not in (0.0, 1.0):
        found.append(known.TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k is not None:
        found.append(known.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None:
        found.append(known.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p is not None:
        found.append(known.MinPLogitsWarper(sampling.min_p))
    return found


class GumbelNoise:
    """Draw one text's noise, token by token, from a generator of its own."""

    def __init__(self, seed: Seed) -> None:
        self._generator = torch.Generator().manual_seed(seed.value)

    def draw(self, size: int) -> Tensor:
        """Return the noise of the next token's scores, [size], on the CPU.

        Every device gets the same noise.
        """
        return -torch.empty(size).exponential_(generator=self._generator).log_()


class _IgnorePadding:
    """Wrap a processor so that it sees a text's tokens without left padding."""

    def __init__(self, processor: Any, padded: Tensor) -> None:
        self.processor, self.padded = processor, padded

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        before = torch.arange(input_ids.shape[1], device=input_ids.device) < self.padded[:, None]
        found: Tensor = self.processor(torch.where(before, input_ids[:, -1:], input_ids), scores)
        return found


class _AddNoise:
    """Add each text's noise; the argmax is a sample."""

    def __init__(self, noises: Sequence[GumbelNoise]) -> None:
        self.noises = noises

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        noise = torch.stack([each.draw(scores.shape[1]) for each in self.noises])
        return scores.float() + noise.to(scores.device)
