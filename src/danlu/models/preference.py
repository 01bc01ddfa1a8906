"""A language model that is asked how likely answers are, and what preferences between them make of that.

Direct preference optimisation (Rafailov et al. 2023): no reward is learned apart; the model's own log-probabilities,
against those of the model that it began as, are the reward.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from danlu.data.balance.emphasis import Emphasis
from danlu.data.sequences import IGNORED
from danlu.models.transformers import Logits

LOGITS_A_CHUNK = 1 << 24  # in memory at once, 64 MiB in fp32; computed again in the backward pass


class AnswerLikelihood(Logits):
    """A language model that gives the log-probability of answers; its weights have the names of `Logits`'."""

    def forward(self, input_ids: Tensor, answers: Tensor) -> Tensor:  # type: ignore[override]
        """[pairs, 2, length] -> the summed log-probabilities of both answers in nats, [pairs, 2].

        Args:
            input_ids: tokens.
            answers: the token that follows where it is the answer's, IGNORED elsewhere.
        """
        pairs, sides, length = input_ids.shape
        flat, expected = input_ids.reshape(-1, length), answers.reshape(-1, length)
        chosen = expected != IGNORED
        # A right-padded row needs no mask: no token sees what comes after it.
        if self.loss_chunk is None:
            logits = super().forward(flat)
            assert isinstance(logits, Tensor)
            terms = _log_probabilities(logits[chosen], expected[chosen])
        else:
            projected: Any = super().forward(flat)
            terms = _projected(projected.hidden[chosen], projected.weight, projected.bias, expected[chosen])
        rows = chosen.nonzero()[:, 0]
        summed = terms.new_zeros(pairs * sides).index_add(0, rows, terms)
        return summed.view(pairs, sides)


def _log_probabilities(logits: Tensor, expected: Tensor) -> Tensor:
    """[tokens, vocabulary] and [tokens] -> [tokens] float32."""
    return -functional.cross_entropy(logits.float(), expected, reduction="none")


def _projected(hidden: Tensor, weight: Tensor, bias: Tensor | None, expected: Tensor) -> Tensor:
    """The same from what the last layer is given, [tokens, width], a chunk of logits in memory at a time."""
    tokens = max(1, LOGITS_A_CHUNK // weight.shape[0])

    def terms(some: Tensor, matrix: Tensor, answers: Tensor) -> Tensor:
        return _log_probabilities(functional.linear(some, matrix, bias), answers)

    parts = zip(torch.split(hidden, tokens), torch.split(expected, tokens), strict=True)
    found = [checkpoint(terms, some, weight, answers, use_reentrant=False) for some, answers in parts]
    return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)


def preference_loss(likelihoods: Tensor, reference: Tensor, emphasis: Emphasis, beta: float) -> tuple[Tensor, int]:
    """The summed loss of pairs, -(1 - s) log sigmoid(m) - s log sigmoid(-m), and their number.

    m is `beta` times how much more the model than the reference favours the chosen answer; s, `emphasis.smoothing`, is
    the share of preferences that is taken to be the wrong way round (Mitchell 2023, conservative DPO).

    Args:
        likelihoods: log-probabilities of the chosen and the rejected answer, [pairs, 2].
        reference: the same of the model that this one began as.
    """
    ratios = likelihoods.float() - reference
    margin = beta * (ratios[:, 0] - ratios[:, 1])
    terms = -(1 - emphasis.smoothing) * functional.logsigmoid(margin)
    terms = terms - emphasis.smoothing * functional.logsigmoid(-margin)
    return terms.sum(), len(margin)


def preference_answer(likelihoods: Tensor, reference: Tensor | None) -> Tensor:
    """Log-probabilities of both answers, [pairs, 2]."""
    return likelihoods.float()
