"""From how many weights for each sample on a model is said to be able to learn them by heart."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from danlu.data.kinds.table import get_kind
from danlu.data.specs import CorpusInputs, PreferenceInputs, TabularInputs
from danlu.experiment.model_summary import overparameterized_warning
from danlu.models.table import MODELS
from danlu.recipe.sections.training import Finetune

TABLE = TabularInputs(numeric=3, cardinalities=())
CORPUS = CorpusInputs(vocabulary=300, longest=8, end=0, packed=True)
PAIRS = PreferenceInputs(vocabulary=300, longest=8, end=0, pad=0)


class Weights(nn.Module):
    """So many weights that are trained, and others that are not."""

    def __init__(self, trained: int, frozen: int = 10**6) -> None:
        super().__init__()
        self.trained = nn.Parameter(torch.zeros(trained))
        self.frozen = nn.Parameter(torch.zeros(frozen), requires_grad=False)


def said(
    weights: int, samples: int, inputs: Any = TABLE, mode: str = "full", kind: str = "tabular", **options: Any
) -> str | None:
    name = options.pop("name", "mlp")
    model = MODELS[name.split(":")[0]].model_validate({"name": name, **options})
    fitting: Any = SimpleNamespace(
        model=Weights(weights),
        balanced=SimpleNamespace(loader=SimpleNamespace(epoch_length=samples)),
        preprocessing=SimpleNamespace(preprocessor=SimpleNamespace(inputs=inputs)),
        context=SimpleNamespace(
            model=model,
            finetune=Finetune(mode=mode),  # type: ignore[arg-type]
            dataset=SimpleNamespace(kind=get_kind(kind)),
            recipe=SimpleNamespace(data=SimpleNamespace(augment=())),
        ),
    )
    return overparameterized_warning(fitting)


@pytest.mark.parametrize(
    ("inputs", "pretrained", "most"),
    [
        (TABLE, False, 100 * 20),
        (TABLE, True, 1000 * 20),
        (CORPUS, False, 10 * 8 * 20),
        (CORPUS, True, 100 * 8 * 20),
        (PAIRS, False, 10 * 16 * 20),
    ],
)
def test_the_bound_for_twenty_samples(inputs: Any, pretrained: bool, most: int) -> None:
    options: dict[str, Any] = {"name": "timm:resnet18", "pretrained": "file"} if pretrained else {}
    assert said(most, 20, inputs, **options) is None
    assert said(most + 1, 20, inputs, **options) is not None


def test_the_cures_that_are_said() -> None:
    words = said(3000, 20)
    assert words is not None and "3,000" in words and "20 samples" in words and " 150 " in words
    assert "model.size: small" in words and "early_stopping" in words
    assert "model.size" not in (said(3000, 20, size="small") or "")
    assert "augment" not in words and "augment" in (said(3000, 20, name="small-resnet", kind="image") or "")
    pretrained: dict[str, Any] = {"name": "timm:resnet18", "pretrained": "file"}
    assert "mode: head" in (said(30_000, 20, **pretrained) or "")
    assert "mode: head" not in (said(30_000, 20, mode="gradual", **pretrained) or "")
    assert "of 8 tokens" in (said(3000, 20, CORPUS) or "")
