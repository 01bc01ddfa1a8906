"""What danlu does after a network, step by step, and folding it into the network's last layer.

A format of another library holds a network alone. What danlu makes of the network's outputs (a temperature, the
target's mean and deviation) is folded into the weights of the last layer where that is exact; the rest is named, so
that whoever writes a format can say what is not inside. Every exporter takes it from here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from danlu.metrics.multilabel import MULTI_LABEL_THRESHOLD
from danlu.tasks.base import Target
from danlu.tasks.calibrations import ConformalQuantiles, Isotonic, Temperature
from danlu.tasks.classification import ClassTarget
from danlu.tasks.language_modelling import NextTokenTarget
from danlu.tasks.multi_label import MultiLabelTarget
from danlu.tasks.multi_output import MultiNumericTarget
from danlu.tasks.ordinal import OrdinalTarget
from danlu.tasks.poisson import CountTarget
from danlu.tasks.preference import PreferenceTarget
from danlu.tasks.quantile import QuantileTarget
from danlu.tasks.regression import NumericTarget
from danlu.tasks.tagging import TagTarget

# The names that transformers gives to losses and answers of classifiers.
Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
Activation = Literal["softmax", "sigmoid", "exp", "sort", "ordinal", "first-token"]
# A mean beyond so many deviations leaves float32 less than the four digits of a deviation that are promised.
LARGEST_OFFSET = 800.0
UNBEND = "unbend"  # the step that undoes the power transform of a target
UNKNOWN = "target"  # the step that stands for all that another package's task does after a network


@dataclass(frozen=True)
class Step:
    """Name one thing that is done to a network's inputs or outputs, with its value.

    Attributes:
        what: `temperature`, `mean`, `deviation`, `threshold` and so on.
        value: as JSON holds it.
    """

    what: str
    value: Any


@dataclass(frozen=True)
class Affine:
    """Scale and shift a network's outputs: `outputs * scale + offset`.

    Attributes:
        scale, offset: one number per output, [outputs] float64; scales are positive.
        scaling, shifting: what both stand for; None where one does nothing.
    """

    scale: np.ndarray
    offset: np.ndarray
    scaling: Step | None = None
    shifting: Step | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """What the scale and the offset stand for."""
        return tuple(step for step in (self.scaling, self.shifting) if step is not None)

    def without_offset(self) -> "Affine":
        """Return the scale alone."""
        return replace(self, offset=np.zeros_like(self.offset), shifting=None)


@dataclass(frozen=True)
class AnswerSteps:
    """Say what follows a network, in order.

    Attributes:
        names: of the network's outputs.
        problem: how transformers calls it; None for language models and tags.
        affine: the first step, the only one that weights can hold.
        activation: the second, from scores to probabilities or numbers; None if there is none.
        decisions: what turns those into predictions, and intervals.
    """

    names: tuple[str, ...] = ()
    problem: Problem | None = None
    affine: Affine | None = None
    activation: Activation | None = None
    decisions: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Placement:
    """Say which steps a written folder holds.

    Attributes:
        inside: the names of those it does.
        outside: those it does not.
        folded: what the last layer's weights hold.
    """

    inside: tuple[str, ...]
    outside: tuple[Step, ...]
    folded: Affine | None = None


@singledispatch
def answer_steps(target: Target) -> AnswerSteps:
    """Return what danlu does after a network.

    What the target of a task of another package does is not known here, so it is one step, which no format holds.
    """
    return AnswerSteps(decisions=(Step(UNKNOWN, {"class": type(target).__name__, **target.model_dump(mode="json")}),))


@answer_steps.register
def _(target: NextTokenTarget | PreferenceTarget) -> AnswerSteps:
    return AnswerSteps()


@answer_steps.register
def _(target: ClassTarget) -> AnswerSteps:
    affine, decisions = None, []
    if isinstance(target.calibration, Temperature):
        divisor = target.calibration.temperature
        affine = _same_for_all(target.outputs, 1.0 / divisor, 0.0, Step("temperature", divisor))
    elif isinstance(target.calibration, Isotonic):
        decisions.append(Step("isotonic", target.calibration.model_dump(mode="json")))
    decisions += _class_decisions(target)
    names = tuple(str(label) for label in target.labels)
    return AnswerSteps(names, "single_label_classification", affine, "softmax", tuple(decisions))


@answer_steps.register
def _(target: OrdinalTarget) -> AnswerSteps:
    # The outputs are borders between classes. A temperature softens the classes' probabilities, not the borders.
    kept = [] if target.calibration is None else [target.calibration]
    decisions = [Step(each.method, each.model_dump(mode="json")) for each in kept]
    decisions += [Step("labels", [str(label) for label in target.labels]), *_class_decisions(target)]
    return AnswerSteps(tuple(target.output_names), "regression", None, "ordinal", tuple(decisions))


@answer_steps.register
def _(target: MultiLabelTarget) -> AnswerSteps:
    decided = (Step("threshold", MULTI_LABEL_THRESHOLD),)
    return AnswerSteps(target.labels, "multi_label_classification", None, "sigmoid", decided)


@answer_steps.register
def _(target: TagTarget) -> AnswerSteps:
    return AnswerSteps(target.labels, None, None, "first-token", ())


@answer_steps.register
def _(target: NumericTarget) -> AnswerSteps:
    scaling, shifting = Step("deviation", target.std), Step("mean", target.mean)
    affine = _same_for_all(target.outputs, target.std, target.mean, scaling, shifting)
    return AnswerSteps(tuple(target.output_names), "regression", affine, None, _decisions(target))


@answer_steps.register
def _(target: QuantileTarget) -> AnswerSteps:
    scaling, shifting = Step("deviation", target.std), Step("mean", target.mean)
    affine = _same_for_all(target.outputs, target.std, target.mean, scaling, shifting)
    return AnswerSteps(tuple(target.output_names), "regression", affine, "sort", _decisions(target))


@answer_steps.register
def _(target: CountTarget) -> AnswerSteps:
    # Counts are multiples of the mean: the logarithm of the mean is added to the logarithm of the multiple.
    shifting = Step("log-mean", float(np.log(target.mean)))
    affine = _same_for_all(target.outputs, 1.0, shifting.value, None, shifting)
    return AnswerSteps(tuple(target.output_names), "regression", affine, "exp", _intervals(target.conformal))


@answer_steps.register
def _(target: MultiNumericTarget) -> AnswerSteps:
    scaling, shifting = Step("deviation", list(target.stds)), Step("mean", list(target.means))
    affine = Affine(np.array(target.stds), np.array(target.means), scaling, shifting)
    return AnswerSteps(target.names, "regression", affine, None, ())


def _decisions(target: NumericTarget) -> tuple[Step, ...]:
    """Return what undoes the power transform of `data.target_transform`, behind the mean, and the intervals."""
    unbend = Step(UNBEND, {"bend": target.bend, "exponent": target.exponent})
    return (*((unbend,) if target.bend != "none" else ()), *_intervals(target.conformal))


def _same_for_all(
    outputs: int, scale: float, offset: float, scaling: Step | None, shifting: Step | None = None
) -> Affine:
    return Affine(np.full(outputs, scale), np.full(outputs, offset), scaling, shifting)


def _class_decisions(target: ClassTarget) -> list[Step]:
    decided = [] if target.threshold is None else [Step("threshold", target.threshold)]
    return [*decided, *_intervals(target.conformal)]


def _intervals(conformal: ConformalQuantiles | None) -> tuple[Step, ...]:
    return () if conformal is None else (Step("conformal", conformal.model_dump(mode="json")),)


def place_steps(
    steps: AnswerSteps, folded: Affine | None, activates: bool, prepared: tuple[str, ...], left: tuple[Step, ...]
) -> Placement:
    """Say which steps a folder holds.

    Args:
        steps: all that follow the network.
        folded: the part of their affine map that the weights hold.
        activates: whether the library itself applies the activation.
        prepared: names of the preparation's steps that the folder holds.
        left: those of the preparation that it does not.
    """
    inside, outside = list(prepared), list(left)
    kept = folded.steps if folded is not None else ()
    for step in steps.affine.steps if steps.affine is not None else ():
        if step in kept:
            inside.append(step.what)
        else:
            outside.append(step)
    if steps.activation is not None:
        if activates:
            inside.append(steps.activation)
        else:
            outside.append(Step("activation", steps.activation))
    return Placement(tuple(inside), (*outside, *steps.decisions), folded)


def foldable(layer: Any, affine: Affine | None) -> Affine | None:
    """Return the part of an affine map that a layer can hold exactly.

    None for nothing. A layer without bias holds no offset, and float32 none far larger than the scale. A network with
    several last layers holds nothing.
    """
    if affine is None or not isinstance(layer, nn.Linear | nn.Conv2d) or layer.weight.shape[0] != len(affine.scale):
        return None
    if affine.shifting is None or holds_offset(affine, layer.bias is not None):
        return affine
    return None if affine.scaling is None else affine.without_offset()


def holds_offset(affine: Affine, has_bias: bool = True) -> bool:
    """Return whether float32 keeps the digits of the outputs after the offset was added."""
    return has_bias and bool((np.abs(affine.offset) <= LARGEST_OFFSET * affine.scale).all())


@contextmanager
def folded_into(layer: Any, affine: Affine | None) -> Iterator[None]:
    """Fold an affine map into a layer for as long as it is written.

    Afterwards it has its own weights again.

    Args:
        layer: linear, or a convolution of one pixel.
        affine: as `foldable` returns it for this layer.
    """
    if affine is None:
        yield
        return
    before = {name: values.detach().clone() for name, values in layer.named_parameters(recurse=False)}
    try:
        with torch.no_grad():
            _scale_and_shift(layer, affine)
        yield
    finally:
        with torch.no_grad():
            for name, values in layer.named_parameters(recurse=False):
                values.copy_(before[name])


def _scale_and_shift(layer: Any, affine: Affine) -> None:
    # On the CPU, since some devices have no float64.
    scale, offset = torch.from_numpy(affine.scale), torch.from_numpy(affine.offset)
    weight = layer.weight
    weight.copy_(weight.cpu().double() * scale.view(-1, *[1] * (weight.ndim - 1)))
    if layer.bias is not None:
        layer.bias.copy_(layer.bias.cpu().double() * scale + offset)


class Unfolded(nn.Module):
    """Give back the outputs of before the folding, which a bundle has."""

    def __init__(self, network: nn.Module, affine: Affine) -> None:
        super().__init__()
        self.network, self.affine = network, affine

    def forward(self, **inputs: Tensor) -> Tensor:
        """Return the network's outputs, [..., outputs], without scale and offset."""
        found: Tensor = self.network(**inputs)
        scale, offset = torch.from_numpy(self.affine.scale), torch.from_numpy(self.affine.offset)
        return ((found.cpu().double() - offset) / scale).float().to(found.device)


def unfolded(network: nn.Module, affine: Affine | None) -> nn.Module:
    """Wrap a network whose last layer holds an affine map."""
    return network if affine is None else Unfolded(network, affine)
