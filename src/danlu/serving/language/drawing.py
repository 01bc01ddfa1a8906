"""The next token of each running sequence from the scores of a batch, each by its own options and its own noise."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from danlu.models.sampling import Sampling, score_warpers
from danlu.serving.language.sequences import Generating, TokenScore


def draw(scores: Tensor, sequences: Sequence[Generating]) -> list[int]:
    """Return a token for each row.

    Args:
        scores: the model's, [rows, vocabulary]; they stay as they are.
        sequences: of the rows.
    """
    rows_by_sampling: dict[Sampling, list[int]] = defaultdict(list)
    for row, sequence in enumerate(sequences):
        rows_by_sampling[sequence.sampling].append(row)
    found = [0] * len(sequences)
    for sampling, rows in rows_by_sampling.items():
        some = scores if len(rows) == len(sequences) else scores[rows]
        chosen = _draw_alike(some, [sequences[row] for row in rows], sampling)
        for row, token in zip(rows, chosen, strict=True):
            found[row] = token
    return found


def _draw_alike(scores: Tensor, sequences: Sequence[Generating], sampling: Sampling) -> list[int]:
    """Return a token for each row of sequences that have the same options."""
    if sampling.repetition_penalty != 1.0:
        scores = torch.stack(
            [_penalized(row, sequence, sampling) for row, sequence in zip(scores, sequences, strict=True)]
        )
    if sampling.temperature > 0.0:
        for warp in score_warpers(sampling):
            scores = warp(None, scores)
        size = scores.shape[1]
        noise = torch.stack([each.noise.draw(size) for each in sequences if each.noise is not None])
        scores = scores + noise.to(scores.device)
    tokens: list[int] = scores.argmax(dim=1).tolist()
    return tokens


def _penalized(scores: Tensor, sequence: Generating, sampling: Sampling) -> Tensor:
    """Return a row's scores with those of tokens that occurred already lowered."""
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    tokens = torch.tensor([[*sequence.prompt, *sequence.text.tokens]], device=scores.device)
    penalized: Tensor = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)(tokens, scores[None])
    return penalized[0]


def token_scores(scores: Tensor, tokens: Sequence[int], sequences: Sequence[Generating]) -> list[TokenScore | None]:
    """Return how likely each row's token was, where its sequence asks for it."""
    found: list[TokenScore | None] = [None] * len(sequences)
    rows = [row for row, sequence in enumerate(sequences) if sequence.top_logprobs is not None]
    if not rows:
        return found
    logprobs = scores[rows].log_softmax(dim=1)
    most = max(sequences[row].top_logprobs or 0 for row in rows)
    values, ids = logprobs.topk(min(most, logprobs.shape[1]), dim=1)
    for place, row in enumerate(rows):
        wanted = sequences[row].top_logprobs or 0
        top = tuple(zip(ids[place, :wanted].tolist(), values[place, :wanted].tolist(), strict=True))
        found[row] = TokenScore(tokens[row], float(logprobs[place, tokens[row]]), top)
    return found
