"""`NormalizedImageModel`: any image network behind the normalization of its uint8 pixels."""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.data.specs import ImageInputs
from danlu.models.task_model import TaskModel


class NormalizedImageModel(TaskModel):
    """Normalize uint8 images as a network's weights expect, then call the network.

    Attributes:
        inputs: specification of the images.
        norms_replaced: whether its batch norms were replaced.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, inputs: ImageInputs, head_parts: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network = network
        self.inputs = inputs
        self.head_parts = head_parts
        self.norms_replaced = False
        # Not persistent: bundle.json has them already.
        self.register_buffer("mean", torch.tensor(inputs.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(inputs.std).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map images [batch, channels, height, width] uint8 to logits [batch, outputs]."""
        logits: Tensor = self.network(self._normalize(image))
        return logits

    def features(self, image: Tensor) -> Tensor:
        """Return the classifier's input features, [batch, width], of images [batch, channels, height, width] uint8."""
        network: Any = self.network
        pooled: Tensor = network.forward_head(network.forward_features(self._normalize(image)), pre_logits=True)
        return pooled

    @property
    def classifier(self) -> Any:
        """timm's classifier over features."""
        network: Any = self.network
        return network.get_classifier()

    @property
    def last_layer(self) -> Any:
        """Classifier that maps features to logits; distilled networks have no single one."""
        network: Any = self.network
        return network.get_classifier() if hasattr(network, "get_classifier") else network.classifier

    def _normalize(self, image: Tensor) -> Tensor:
        return (image.float() / 255.0 - self.mean) / self.std
