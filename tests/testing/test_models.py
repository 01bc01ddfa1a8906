"""`check_model`: danlu's own families pass, and each broken one is told what is wrong with it."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import danlu
from danlu.models.table import MODELS, CustomModel
from danlu.models.tabular.options import MLP, Additive, Boosting, FTTransformer, Linear, ResNet, TabM, Tree
from danlu.models.text.options import Transformer
from danlu.models.vision.options import SmallResNet, Timm
from danlu.testing import CheckFailed, check_model
from tests.conftest import TINY_TEXT


def own_network(inputs: Any, outputs: int) -> nn.Module:
    """What a recipe names as own:tests.testing.test_models:own_network."""
    return Network(inputs.numeric, outputs)


class OwnOfTables(CustomModel):
    """A custom model for tables alone; `own_network` builds nothing for images or texts."""

    kinds = ("tabular",)


SMALL: dict[str, Any] = {
    "linear": Linear(),
    "mlp": MLP(hidden=(16,)),
    "resnet": ResNet(width=16, blocks=1, bins=8),
    "ft-transformer": FTTransformer(size="small"),
    "tabm": TabM(size="small"),
    "additive": Additive(),
    "tree": Tree(),
    "boosting": Boosting(),
    "small-resnet": SmallResNet(),
    "timm": Timm(name="timm:test_resnet"),
    "hf": Transformer(name="hf:bert", config=TINY_TEXT),
    "own": OwnOfTables(name="own:tests.testing.test_models:own_network"),
}


class Network(nn.Module):
    """Two layers over numbers."""

    def __init__(self, numbers: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(numbers, 16), nn.Linear(16, outputs)

    def forward(self, numeric: Tensor) -> Tensor:
        found: Tensor = self.last(torch.tanh(self.first(numeric)))
        return found


class Mine(danlu.Model):
    """A plugin's family as it should be."""

    kinds = ("tabular",)
    name: Literal["mine"] = "mine"

    def build(self, inputs: Any, outputs: int) -> nn.Module:
        return Network(inputs.numeric, outputs)


def built_as(build: Callable[[Any, int], Any]) -> type[Mine]:
    """A plugin whose network is built in its own way."""

    class Broken(Mine):
        def build(self, inputs: Any, outputs: int) -> nn.Module:
            made: nn.Module = build(inputs, outputs)
            return made

    return Broken


def with_forward(forward: Callable[[Network, Tensor], Tensor]) -> type[Mine]:
    """A plugin whose network computes something else."""

    class Own(Network):
        def forward(self, numeric: Tensor) -> Tensor:
            return forward(self, numeric)

    return built_as(lambda inputs, outputs: Own(inputs.numeric, outputs))


def sees_its_batch(network: Network, numeric: Tensor) -> Tensor:
    return Network.forward(network, numeric - numeric.mean(0))


def draws_always(network: Network, numeric: Tensor) -> Tensor:
    return Network.forward(network, nn.functional.dropout(numeric, 0.5, training=True))


def learns_nothing(network: Network, numeric: Tensor) -> Tensor:
    return Network.forward(network, numeric).detach().requires_grad_()


def rises(network: Network, numeric: Tensor) -> Tensor:
    return Flip.apply(Network.forward(network, numeric))  # type: ignore[no-any-return, no-untyped-call]


class Flip(torch.autograd.Function):
    """Give the gradient the wrong sign."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -gradient


def too_wide(network: Network, numeric: Tensor) -> Tensor:
    return Network.forward(network, numeric).repeat(1, 2)


def not_a_number(network: Network, numeric: Tensor) -> Tensor:
    return Network.forward(network, numeric) / 0.0


def seeded_inside(inputs: Any, outputs: int) -> nn.Module:
    torch.manual_seed(1)
    return Network(inputs.numeric, outputs)


def not_seeded(inputs: Any, outputs: int) -> nn.Module:
    network = Network(inputs.numeric, outputs)
    with torch.no_grad():
        network.first.weight.copy_(torch.from_numpy(np.random.default_rng().normal(size=network.first.weight.shape)))
    return network


def forgets_a_part(inputs: Any, outputs: int) -> nn.Module:
    class Shifted(Network):
        def __init__(self) -> None:
            super().__init__(inputs.numeric, outputs)
            self.shift = torch.randn(outputs)  # neither parameter nor buffer

        def forward(self, numeric: Tensor) -> Tensor:
            return super().forward(numeric) + self.shift

    return Shifted()


def other_name(inputs: Any, outputs: int) -> nn.Module:
    class Renamed(Network):
        def forward(self, numbers: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(numbers)

    return Renamed(inputs.numeric, outputs)


class NoKinds(Mine):
    """Name no kind of data."""

    kinds = ()


class WrongKind(Mine):
    """Name a kind of data that there is not."""

    kinds: ClassVar[Any] = ("tables",)


class Fitted(danlu.SelfFittingModel):
    """A family that fits itself: the mean of each class, approached round by round."""

    kinds = ("tabular",)
    name: Literal["fitted"] = "fitted"
    learns: bool = True
    agrees: bool = True

    @property
    def max_rounds(self) -> int:
        return 10

    def build(self, inputs: Any, outputs: int) -> nn.Module:
        network = nn.Linear(inputs.numeric, outputs)
        for value in network.parameters():
            value.requires_grad_(False).zero_()
        return Named(network)

    def start_fit(self, data: Any) -> Any:
        return MeanFit(data, self.learns, self.agrees)


class Named(nn.Module):
    """A linear map whose input has the name that danlu gives it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, numeric: Tensor) -> Tensor:
        found: Tensor = self.linear(numeric)
        return found


class MeanFit:
    """Move the bias towards the target's mean."""

    def __init__(self, data: Any, learns: bool, agrees: bool) -> None:
        self.data, self.learns, self.agrees = data, learns, agrees
        target = data.train.target
        hot = np.eye(data.outputs)[target] if target.dtype.kind == "i" else target[:, None]
        self.goal = hot.mean(axis=0) + 1.0
        self.rounds = 0

    def bias(self, rounds: int) -> np.ndarray:
        return np.asarray(self.goal * (1 - 0.5**rounds))

    def iter_rounds(self) -> Iterator[float]:
        for self.rounds in range(1, 11):
            far = float(np.square(self.goal - self.bias(self.rounds)).sum())
            yield far if self.learns else 1.0

    def validation_scores(self) -> np.ndarray:
        shift = 0.0 if self.agrees else 1.0
        return np.tile(self.bias(self.rounds) + shift, (len(self.data.validation.target), 1))

    def load_rounds_into(self, network: nn.Module, num_rounds: int) -> None:
        with torch.no_grad():
            network.linear.bias.copy_(torch.from_numpy(self.bias(num_rounds)))  # type: ignore[union-attr]


BROKEN: list[tuple[Any, str]] = [
    (with_forward(sees_its_batch), "must not depend on the others of its batch"),
    (with_forward(draws_always), "predicts the same samples otherwise the second time"),
    (with_forward(learns_nothing), "the loss reaches no weight"),
    (with_forward(rises), "steps do not lower the loss"),
    (with_forward(too_wide), r"forward gives \[64, 6\]; expected \[64, 3\]"),
    (with_forward(not_a_number), "values that are not finite"),
    (built_as(seeded_inside), "another seed builds the same weights"),
    (built_as(not_seeded), "the same seed builds other weights"),
    (built_as(forgets_a_part), "after its weights were written and read"),
    (built_as(other_name), "forward cannot be called with numeric by name"),
    (built_as(lambda inputs, outputs: torch.zeros(3)), "must return a torch.nn.Module"),
    (NoKinds, r"kinds is \(\)"),
    (WrongKind, r"kinds is \('tables',\)"),
    (Fitted(learns=False), "the training loss does not fall"),
    (Fitted(agrees=False), "differ from validation_scores by 1"),
]


def test_every_family_is_tried() -> None:
    assert set(SMALL) == set(MODELS)


QUICK = ("linear", "mlp", "tree", "own")


@pytest.mark.parametrize("name", QUICK)
def test_danlus_own_families_pass(name: str) -> None:
    check_model(SMALL[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALL if name not in QUICK])
def test_danlus_larger_families_pass(name: str) -> None:
    check_model(SMALL[name])


@pytest.mark.slow
def test_a_decoder_passes_on_a_corpus_and_on_texts() -> None:
    check_model(Transformer(name="hf:llama", config=TINY_TEXT))


def test_kinds_without_data_are_told() -> None:
    with pytest.raises(CheckFailed, match="danlu has no data of kind chat"):
        check_model(Mine, kinds=["chat"])


def test_a_plugin_passes_whether_it_is_trained_or_fits_itself() -> None:
    check_model(Mine, seed=5)
    check_model(Fitted)


@pytest.mark.parametrize(("model", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_a_broken_family_is_told_what_is_wrong(model: Any, told: str) -> None:
    with pytest.raises(CheckFailed, match=told):
        check_model(model)
