"""Text classification and regression on sentence embeddings: an encoder, pooling, one linear layer."""

from typing import Any

from torch import Tensor, nn

from danlu.models.task_model import TaskModel
from danlu.models.text.pretrained_folder import Pooling

DEFAULT_DROPOUT = 0.1  # before the linear layer if the recipe sets none; BERT's value


class SentenceEncoderClassifier(TaskModel):
    """Classify texts by a pooled transformers encoder (Reimers & Gurevych 2019, https://arxiv.org/abs/1908.10084)."""

    def __init__(self, network: nn.Module, outputs: int, pooling: Pooling, dropout: float | None) -> None:
        super().__init__()
        encoder: Any = network
        if hasattr(encoder, "pooler"):  # its own pooler over the first token would be neither used nor trained
            encoder.pooler = None
        self.network = network
        self.pooling = pooling
        self.dropout = nn.Dropout(DEFAULT_DROPOUT if dropout is None else dropout)
        self.classifier = nn.Linear(encoder.config.hidden_size, outputs)
        self.head_parts = ("classifier",)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map input_ids and attention_mask, [batch, length], to logits [batch, outputs]."""
        logits: Tensor = self.classifier(self.dropout(self.features(input_ids, attention_mask)))
        return logits

    @property
    def last_layer(self) -> nn.Module:
        return self.classifier

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return text embeddings, [batch, width]: the mean over tokens, or the first token."""
        hidden: Tensor = self.network(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=True
        ).last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        present = attention_mask[..., None].to(hidden.dtype)
        return (hidden * present).sum(dim=1) / present.sum(dim=1).clamp(min=1.0)
