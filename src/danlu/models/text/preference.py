"""Preference learning: log-probabilities of answers, and the loss of direct preference optimization (DPO).

Rafailov et al. 2023, https://arxiv.org/abs/2305.18290: there is no separate reward model; the reward is the model's
log-probability relative to the reference model that training started from.
"""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from danlu.models.text.hf_wrapper import HFModelWrapper
from danlu.tasks.token_losses import IGNORED

LOGITS_PER_CHUNK = 1 << 24  # in memory at once, 64 MiB in fp32; recomputed in the backward pass


class AnswerLikelihood(HFModelWrapper):
    """Compute log-probabilities of answers with a language model; weight names equal those of `HFModelWrapper`.

    Attributes:
        drops: whether training uses the network's dropout. Without it the network always computes as the reference
            does, so that a model that has learned nothing costs log 2; only adapters may have dropout of their own.
    """

    def __init__(self, network: nn.Module, fresh: tuple[str, ...] = (), drops: bool = False) -> None:
        super().__init__(network, fresh)
        self.drops = drops

    def train(self, mode: bool = True) -> Self:
        """Set the training mode, but keep a network without dropout in evaluation mode."""
        super().train(mode)
        if mode and not self.drops:
            # Whatever is drawn at random in training stays out, as jitter of routers, not only dropout.
            self.network.eval()
            for module in self.network.modules():
                adapters = getattr(module, "lora_dropout", None)
                if isinstance(adapters, nn.Module):
                    module.training = True
                    adapters.train()
        return self

    def forward(self, input_ids: Tensor, answers: Tensor) -> Tensor:  # type: ignore[override]
        """Return the summed log-probabilities of both answers in nats, [pairs, 2].

        Args:
            input_ids: tokens, [pairs, 2, length].
            answers: the next token where it belongs to the answer, IGNORED elsewhere, [pairs, 2, length].
        """
        pairs, sides, length = input_ids.shape
        flat, expected = input_ids.reshape(-1, length), answers.reshape(-1, length)
        chosen = expected != IGNORED
        # Right padding needs no mask: attention is causal.
        if self.loss_chunk is None:
            logits = super().forward(flat)
            assert isinstance(logits, Tensor)
            terms = _log_probabilities(logits[chosen], expected[chosen])
        else:
            projected: Any = super().forward(flat)
            terms = _chunked_log_probabilities(
                projected.hidden[chosen], projected.weight, projected.bias, expected[chosen]
            )
        rows = chosen.nonzero()[:, 0]
        summed = terms.new_zeros(pairs * sides).index_add(0, rows, terms)
        return summed.view(pairs, sides)


def _log_probabilities(logits: Tensor, expected: Tensor) -> Tensor:
    """Return log-probabilities [tokens] in float32 from logits [tokens, vocabulary] and targets [tokens]."""
    return -functional.cross_entropy(logits.float(), expected, reduction="none")


def _chunked_log_probabilities(hidden: Tensor, weight: Tensor, bias: Tensor | None, expected: Tensor) -> Tensor:
    """Compute log-probabilities chunk by chunk from the last layer's inputs, [tokens, width]."""
    tokens = max(1, LOGITS_PER_CHUNK // weight.shape[0])

    def terms(some: Tensor, matrix: Tensor, answers: Tensor) -> Tensor:
        return _log_probabilities(functional.linear(some, matrix, bias), answers)

    parts = zip(torch.split(hidden, tokens), torch.split(expected, tokens), strict=True)
    found = [checkpoint(terms, some, weight, answers, use_reentrant=False) for some, answers in parts]
    return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)
