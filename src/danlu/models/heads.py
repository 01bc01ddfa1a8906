"""Task heads: the training loss and the predictions computed from a model's logits. One `Head` per task."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from danlu.data.balance.base import LossWeighting
from danlu.data.targets import PreferenceTarget, Target
from danlu.data.text.sequences import IGNORED
from danlu.models.text.chunked_loss import DeferredLogits, deferred_cross_entropy, deferred_predict
from danlu.models.text.preference import preference_loss, preference_predict
from danlu.models.text.vocab_parallel import VocabParallelLogits, vocab_parallel_cross_entropy, vocab_parallel_predict

# A language model's logits: whole, not computed yet (in chunks), or sharded over the vocabulary.
TokenLogits = Tensor | DeferredLogits | VocabParallelLogits
# (logits, target, emphasis) -> the summed loss and the number of targets it is summed over.
Loss = Callable[[Any, Tensor, LossWeighting], tuple[Tensor, int]]


@dataclass(frozen=True)
class Head:
    """Compute a task's loss and predictions from logits.

    Losses are computed in fp32 whatever the precision of the logits.

    Attributes:
        loss: (logits, target, emphasis) -> the summed loss and the number of targets it is summed over.
        predict: (logits, target) -> predictions [batch, ...], the input of metrics and `Target.decode`.
        num_targets: target -> number of targets the loss is summed over; needed when a batch is split.
        adapt_loss: adapts another loss of this task to all forms of logits that `loss` accepts.
    """

    loss: Loss
    predict: Callable[[Any, Tensor | None], Tensor]
    num_targets: Callable[[Tensor], int]
    adapt_loss: Callable[[Loss], Loss] = lambda loss: loss


def classification_loss(logits: Tensor, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
    """Compute cross-entropy of logits [batch, classes] against classes [batch] or soft labels [batch, classes].

    With emphasis, a sample of class y costs w_y ((1 - s) l_y + s mean(l)), where w are the class weights, s is the
    label smoothing and l_c = -(1 - p_c)^gamma log p_c are the focal terms of the logits with their offsets. A mixed
    sample costs the average over its classes, weighted by their shares. The loss sums over w-weighted samples and the
    count is the number of samples, so weights of mean 1 do not change the gradient's scale.
    """
    logits = logits.float()
    if emphasis.logit_offsets is not None:
        logits = logits + logits.new_tensor(emphasis.logit_offsets)
    if emphasis.class_weights is None and emphasis.focal_gamma == 0.0:
        loss = functional.cross_entropy(logits, target, reduction="sum", label_smoothing=emphasis.smoothing)
        return loss, len(target)
    terms = -functional.log_softmax(logits, dim=1)
    if emphasis.focal_gamma > 0.0:
        # 1 - p, exact where p nears 1; not 0, where a power below 1 has no gradient.
        terms = terms * (-torch.expm1(-terms)).clamp(min=torch.finfo(terms.dtype).tiny) ** emphasis.focal_gamma
    shares = target.to(terms.dtype) if target.ndim == 2 else functional.one_hot(target, terms.shape[1]).to(terms.dtype)
    if emphasis.class_weights is not None:
        shares = shares * shares.new_tensor(emphasis.class_weights)
    if emphasis.smoothing > 0.0:
        shares = torch.lerp(shares, shares.mean(dim=1, keepdim=True), emphasis.smoothing)
    return (shares * terms).sum(), len(target)


def classification_predict(logits: Tensor, target: Tensor | None) -> Tensor:
    """Return class probabilities, [batch, classes]."""
    return torch.softmax(logits.float(), dim=1)


def multilabel_loss(logits: Tensor, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
    """Compute binary cross-entropy of logits [batch, labels] against 0/1 or soft labels [batch, labels].

    A sample costs the mean over its labels. With smoothing s, a target y becomes (1 - s) y + s / 2.
    """
    wanted = torch.lerp(target, torch.full_like(target, 0.5), emphasis.smoothing) if emphasis.smoothing else target
    total = functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="sum")
    return total / target.shape[1], len(target)


def multilabel_predict(logits: Tensor, target: Tensor | None) -> Tensor:
    """Return the probability of each label, [batch, labels]."""
    return torch.sigmoid(logits.float())


def tagging_predict(logits: Tensor, target: Tensor | None) -> Tensor:
    """Return one tag per word, left-aligned and padded with -1, [batch, length].

    `target` marks the first token of each word: any code there, IGNORED elsewhere.
    """
    assert target is not None, "tagging needs the target (or zeros) to find the first token of each word"
    codes = torch.where(target == IGNORED, -1, logits.argmax(dim=2))
    order = (codes < 0).to(torch.uint8).argsort(dim=1, stable=True)
    return codes.gather(1, order)


def regression_loss(logits: Tensor, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
    """Compute squared error of [batch, 1] against [batch]; label smoothing does not apply."""
    return functional.mse_loss(logits[:, 0].float(), target, reduction="sum"), len(target)


def regression_predict(logits: Tensor, target: Tensor | None) -> Tensor:
    """Return standardized predictions, [batch, 1]."""
    return logits.float()


def ensemble_loss(loss: Loss) -> Loss:
    """Extend a loss to [batch, members, outputs]: average the members' separate losses."""

    def mean_loss(logits: Tensor, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
        if logits.ndim == 2:
            return loss(logits, target, emphasis)
        members = logits.shape[1]
        total, count = loss(logits.flatten(0, 1), target.repeat_interleave(members, dim=0), emphasis)
        return total / members, count // members

    return mean_loss


def ensemble_predict(predict: Callable[[Tensor, Tensor | None], Tensor]) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Extend a prediction to [batch, members, outputs]: average the members' predictions."""

    def mean_answer(logits: Tensor, target: Tensor | None) -> Tensor:
        if logits.ndim == 2:
            return predict(logits, target)
        return predict(logits.flatten(0, 1), None).reshape(*logits.shape[:2], -1).mean(dim=1)

    return mean_answer


def token_loss(logits: TokenLogits, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
    """Compute cross-entropy of [batch, length, vocabulary] against [batch, length], ignoring padding."""
    if isinstance(logits, DeferredLogits):
        return deferred_cross_entropy(logits, target, IGNORED, emphasis.smoothing), num_tokens(target)
    if isinstance(logits, VocabParallelLogits):
        return vocab_parallel_cross_entropy(logits, target, IGNORED, emphasis.smoothing), num_tokens(target)
    loss = functional.cross_entropy(
        logits.flatten(0, 1).float(),
        target.flatten(),
        reduction="sum",
        ignore_index=IGNORED,
        label_smoothing=emphasis.smoothing,
    )
    return loss, num_tokens(target)


def num_tokens(target: Tensor) -> int:
    """Count the target tokens, without padding."""
    return int((target != IGNORED).sum())


def token_predict(logits: TokenLogits, target: Tensor | None) -> Tensor:
    """Return summed loss (nats), number of tokens and correct predictions per block, [batch, 3]."""
    assert target is not None, "a language model is evaluated on the tokens that follow"
    counted = target != IGNORED
    if isinstance(logits, DeferredLogits):
        losses, right = deferred_predict(logits, target, IGNORED)
    elif isinstance(logits, VocabParallelLogits):
        losses, right = vocab_parallel_predict(logits, target, IGNORED)
    else:
        losses = functional.cross_entropy(
            logits.float().transpose(1, 2), target, reduction="none", ignore_index=IGNORED
        )
        right = logits.argmax(dim=2) == target
    return torch.stack([losses.sum(dim=1), counted.sum(dim=1), (right & counted).sum(dim=1)], dim=1)


def head_for(target: Target) -> Head:
    """Return the head for a target's task."""
    if isinstance(target, PreferenceTarget):
        return Head(partial(preference_loss, beta=target.beta), preference_predict, len)
    return HEADS[target.task]  # type: ignore[attr-defined]


HEADS: dict[str, Head] = {
    "classification": Head(
        ensemble_loss(classification_loss), ensemble_predict(classification_predict), len, ensemble_loss
    ),
    "multi-label": Head(ensemble_loss(multilabel_loss), ensemble_predict(multilabel_predict), len, ensemble_loss),
    "regression": Head(ensemble_loss(regression_loss), ensemble_predict(regression_predict), len, ensemble_loss),
    "token-classification": Head(token_loss, tagging_predict, num_tokens),
    "language-modelling": Head(token_loss, token_predict, num_tokens),
}
