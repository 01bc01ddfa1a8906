"""`HFModelWrapper`: a transformers model whose forward returns logits, and chunked loss for language models."""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.models.task_model import TaskModel, last_head_linear
from danlu.models.text.chunked_loss import DeferredLogits, choose_chunk_size


class HFModelWrapper(TaskModel):
    """Wrap a transformers model so that its forward returns logits only.

    Attributes:
        loss_chunk: tokens per chunk of logits; set by `enable_chunked_loss`, None for whole logits.
    """

    def __init__(self, network: nn.Module, fresh: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network = network
        self.head_parts = (*_head_modules(network), *(f"network.{name}" for name in fresh))
        self.loss_chunk: int | None = None

    @property
    def last_layer(self) -> nn.Module | None:
        """Last linear layer of a classifier or regressor."""
        return last_head_linear(self)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor | DeferredLogits:
        """Return logits, [batch, outputs], or [batch, length, outputs] for a language model.

        Args:
            input_ids: tokens, [batch, length].
            attention_mask: 1 for text, 0 for padding, [batch, length].
            position_ids: without a mask: restart at 0 with every packed document, and attention stays within it.
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        given = {name: values for name, values in given.items() if values is not None}
        # With a key-value cache transformers would not see that documents are packed.
        caching = {"use_cache": False} if position_ids is not None else {}
        if self.loss_chunk is not None:
            body, last = _split_lm_head(self.network)
            hidden = body(**given, **caching, return_dict=True).last_hidden_state
            return DeferredLogits(hidden, last.weight, last.bias, self.loss_chunk)
        logits: Tensor = self.network(**given, **caching, return_dict=True).logits
        return logits


def _head_modules(network: Any) -> tuple[str, ...]:
    """Return the names of a classifier's modules outside the body; empty for language models."""
    if network.get_output_embeddings() is not None:
        return ()
    return tuple(f"network.{name}" for name, _ in network.named_children() if name != network.base_model_prefix)


def enable_chunked_loss(model: nn.Module, asked: int | str, tokens: int) -> int | None:
    """Make a language model return `DeferredLogits` where chunked loss saves memory.

    Args:
        model: as built by `build_transformer`, before its precision is changed or it is compiled.
        asked: `training.memory.loss_chunk`.
        tokens: tokens per batch or microbatch.

    Returns:
        tokens per chunk; None if logits stay whole: because they are few, or because more than one matrix product makes
        them (Gemma caps its logits).
    """
    if not isinstance(model, HFModelWrapper):
        return None
    model.loss_chunk = None
    try:
        _, last = _split_lm_head(model.network)
    except (AttributeError, NotImplementedError):  # not a language model
        return None
    if type(last) is not nn.Linear:
        return None
    chunk = choose_chunk_size(asked, tokens, last.out_features)
    if chunk is not None and _has_plain_lm_head(model):
        model.loss_chunk = chunk
    return model.loss_chunk


def _split_lm_head(network: Any) -> tuple[Any, Any]:
    """Split a language model, possibly wrapped by adapters, into its body and its last layer."""
    causal = network.get_base_model() if hasattr(network, "get_base_model") else network
    return causal.base_model, causal.get_output_embeddings()


@torch.no_grad()
def _has_plain_lm_head(model: HFModelWrapper) -> bool:
    """Return whether the logits are a plain linear map of the body's output.

    Some architectures scale, cap or transform them.
    """
    was_training = model.training
    model.eval()
    ids = torch.arange(1, 9, device=next(model.parameters()).device)[None]
    body, last = _split_lm_head(model.network)
    try:
        whole: Any = HFModelWrapper.forward(model, ids)
        alone = last(body(input_ids=ids, return_dict=True).last_hidden_state)
        return whole.shape == alone.shape and torch.allclose(whole, alone, rtol=1e-5, atol=1e-6)
    except (AttributeError, RuntimeError):  # the parts have another structure
        return False
    finally:
        model.train(was_training)
