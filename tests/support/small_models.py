"""Small networks of every family with batches for each, and training by hand, for what is compared with it."""

import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from danlu.data.loader import Batch
from danlu.data.specs import CorpusInputs, ImageInputs, TabularInputs, TextInputs
from danlu.models.tabular.options import MLP
from danlu.models.text.options import Transformer
from danlu.models.vision.options import Timm
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.table import get_task

TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
VOCABULARY, LENGTH = 300, 16
TASKS = {
    "mlp": "classification",
    "image": "classification",
    "text": "classification",
    "corpus": "language-modelling",
}
PLAIN = LossWeighting()


def build(kind: str, dropout: float = 0.1, tied: bool = False) -> nn.Module:
    """A network of random weights, the same each time."""
    torch.manual_seed(1)
    if kind == "mlp":
        inputs = TabularInputs(numeric=6, cardinalities=(4,))
        model = MLP(hidden=(32, 32, 32), dropout=dropout).build(inputs, 3)
        for weight in model.parameters():  # the last layer begins at zero, which would hide those before it
            nn.init.normal_(weight, std=0.2) if weight.ndim == 2 else None
        return model
    if kind == "image":
        format_ = ImageInputs(channels=3, size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
        return Timm(name="timm:test_resnet", dropout=dropout).build(format_, 3)
    if kind == "text":
        texts = TextInputs(vocabulary=VOCABULARY, longest=LENGTH, pad=0)
        config = {**TINY, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        return Transformer(name="hf:bert", config=config).build(texts, 3)
    corpus = CorpusInputs(vocabulary=VOCABULARY, longest=LENGTH, end=0, packed=False)
    config = {**TINY, "attention_dropout": dropout, "tie_word_embeddings": tied}
    return Transformer(name="hf:llama", config=config).build(corpus, VOCABULARY)


def batch(kind: str, rows: int = 8, number: int = 0, length: int = LENGTH) -> Batch:
    """Random samples; another number gives others."""
    made = torch.Generator().manual_seed(number)
    target = torch.randint(0, 3, (rows,), generator=made)
    inputs: dict[str, Tensor]
    if kind == "mlp":
        inputs = {
            "numeric": torch.randn(rows, 6, generator=made),
            "categories": torch.randint(0, 4, (rows, 1), generator=made),
        }
    elif kind == "image":
        inputs = {"image": torch.randint(0, 256, (rows, 3, 32, 32), generator=made, dtype=torch.uint8)}
    else:
        ids = torch.randint(1, VOCABULARY, (rows, length), generator=made)
        inputs = {"input_ids": ids}
        if kind == "text":
            inputs["attention_mask"] = torch.ones_like(ids)
        else:
            target = torch.randint(1, VOCABULARY, (rows, length), generator=made)
            target[:, -2:] = -100
    return Batch(inputs, target, np.arange(rows), 0)


def adamw(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=1e-2, fused=True)


def groups_of(model: nn.Module) -> list[dict[str, Any]]:
    """Matrices with decay and the rest without, as the loop has them."""
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": 0.1, "lr_scale": 1.0},
        {"params": others, "weight_decay": 0.0, "lr_scale": 0.5},
    ]


def loss_of(model: Any, kind: str, sample: Batch, emphasis: LossWeighting = PLAIN) -> Tensor:
    total, count = get_task(TASKS[kind]).head(None).loss(model(**sample.inputs), sample.target, emphasis)
    return total / count


def fit(
    model: nn.Module,
    kind: str,
    optimizer: Any,
    steps: Sequence[int] = range(4),
    computing: Callable[[], Any] = nullcontext,
    call: Any = None,
) -> list[float]:
    """Train some steps as the loop does; the loss of each."""
    model.train()
    losses = []
    for step in steps:
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + step) * group["lr_scale"]
        with computing():
            loss = loss_of(model if call is None else call, kind, batch(kind, number=step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
    return losses


def states(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def identical(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Peak(TorchDispatchMode):
    """Counts the bytes of every tensor made within it, and the most that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tree_map_only(Tensor, partial(self._count, made=False), (args, kwargs))
        result = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, partial(self._count, made=True), result)
        return result

    def _count(self, values: Tensor, made: bool) -> None:
        storage = values.untyped_storage()
        key, size = storage._cdata, storage.nbytes() if made else 0
        if key in self._alive:
            return
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone(_: Any) -> None:
            self.now -= size
            self._alive.pop(key, None)

        self._alive[key] = weakref.ref(storage, gone)


def peak_of(step: Callable[[], object]) -> int:
    """The most bytes that a step holds at once, beyond what was there before."""
    with Peak() as watched:
        step()
    return watched.peak
