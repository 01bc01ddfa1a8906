"""The type of each component in a recipe: the options and facts that every component of its kind has.

The layer that owns a kind derives its base class from the one here and adds the methods that do the work, whose types
(tensors, frames, networks) this layer does not know: `Optimizer.of(recipe.training.optimizer)` gives the component with
its methods. So editors and type checkers know `recipe.training.optimizer.lr`, and the recipe imports no layer above it.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from danlu.core.component import Component
from danlu.recipe.durations import Pace, in_steps


class DataComponent(Component):
    """Declare which kinds of data a component can take.

    Attributes:
        kinds: names of the kinds, as `tabular` or `image`.
    """

    kinds: ClassVar[tuple[str, ...]]


class TaskOptions(Component):
    """Declare what is predicted."""


class SplitterOptions(Component):
    """Declare how rows are assigned to splits and folds.

    Attributes:
        forward: whether a fold is trained on lower folds alone, as time demands.
    """

    forward: ClassVar[bool] = False


class DuplicatesOptions(Component):
    """Declare what is done with rows that repeat an earlier one."""


class ImputationOptions(Component):
    """Declare what is done with missing values among the inputs."""


class ScalerOptions(Component):
    """Declare how a number is scaled."""


class EncoderOptions(Component):
    """Declare how a category is encoded.

    Attributes:
        rare: a value with fewer training rows than this shares one code with unseen values.
    """

    rare: PositiveInt = 2


class AugmentationOptions(DataComponent):
    """Declare a random change of training samples."""


class BalancerOptions(DataComponent):
    """Declare how class imbalance is corrected.

    Attributes:
        uses_distances: whether it measures distances between rows, and so needs rows without missing values.
    """

    uses_distances: ClassVar[bool] = False


class ModelOptions(DataComponent):
    """Declare a model: a family and its options.

    Attributes:
        extra: optional dependency group that it needs, if any.
        extra_to_train: dependency group needed for training only; a bundle predicts without it.
        handles_missing: whether it accepts missing numbers (NaN) without imputation.
        export_format: format of its own library, a key of `danlu.exporters.table.EXPORTERS`, if there is one.
    """

    extra_to_train: ClassVar[str | None] = None
    handles_missing: ClassVar[bool] = False
    export_format: ClassVar[str | None] = None


class OptimizerOptions(Component):
    """Declare an optimizer and the options that all of them have.

    `lr` is None until the recipe is resolved: the default depends on whether weights are pretrained.

    Attributes:
        default_lr: a step size that trains most networks from scratch.
        pretrained_factor: factor on it for pretrained weights that are trained in full or gradually.
        averages_itself: whether it keeps an average of the weights for evaluation; such an optimizer needs a constant
            schedule.
        in_place_reason: why it must step the model's own weights, all of them together, as a verb phrase; None where it
            may also step copies of weights, or each weight alone.
    """

    default_lr: ClassVar[float] = 1e-3
    # Larger steps erase pretraining: of AdamW's 1e-3 it gives 5e-5, and Devlin et al. 2019 use 2e-5 to 5e-5
    # (https://arxiv.org/abs/1810.04805).
    pretrained_factor: ClassVar[float] = 0.05
    averages_itself: ClassVar[bool] = False
    in_place_reason: ClassVar[str | None] = None

    lr: PositiveFloat | Literal["auto"] | None = Field(
        default=None, description="step size; when left out, the default for the model; auto: found by a range test"
    )
    weight_decay: NonNegativeFloat = 0.0


class ScheduleOptions(Component):
    """Declare how the learning rate changes from step to step.

    Attributes:
        needs_validation: whether it depends on validation, so that a run without a validation split cannot use it.
    """

    needs_validation: ClassVar[bool] = False

    def in_steps(self, pace: Pace, key: str) -> Self:
        """Return the schedule with its durations in steps.

        Args:
            key: how errors name it.
        """
        return in_steps(self, pace, key)


class AverageOptions(Component):
    """Declare which steps' weights an average holds, and how much each of them counts."""


class PerturbationOptions(DataComponent):
    """Declare a change of test rows that makes them harder to predict."""


class SamplerOptions(Component):
    """Declare how a search proposes the values of its next trial."""


class CompressionOptions(Component):
    """Declare one step of compression."""
