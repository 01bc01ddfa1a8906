"""The base of all optimizers in a recipe: options, and how torch's optimizer is built from them and from parameters."""

from abc import abstractmethod
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from danlu.recipe.components import OptimizerOptions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
Groups = list[dict[str, Any]]
FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


class Optimizer(OptimizerOptions):
    """Build torch's optimizer from a recipe's options.

    Where it `averages_itself`, its torch optimizer has `eval()`, which puts the average into the model, and `train()`.

    Attributes:
        uses_roles: whether `make` looks at the `roles` of parameters.

    Example:
        >>> import danlu
        >>> class Descent(danlu.Optimizer):
        ...     default_lr = 0.05
        ...     name: str = "descent"
        ...     momentum: float = 0.9
        ...     def make(self, groups):
        ...         import torch
        ...         return torch.optim.SGD(groups, momentum=self.momentum)
        >>> from danlu.testing import check_optimizer
        >>> check_optimizer(Descent)
    """

    uses_roles: ClassVar[bool] = False

    def build(self, groups: Groups, lr: float) -> "torch.optim.Optimizer":
        """Build torch's optimizer over these parameters.

        Args:
            groups: as `training.param_groups.parameter_groups` makes them: `params`, and optionally `weight_decay`
                (else the optimizer's own), `lr_scale` (else 1), `names` and `roles`, a role for each parameter.
            lr: learning rate that groups start with, times their `lr_scale`; `TrainStep` then sets the
                schedule's. The caller's, since `lr` of the recipe may be scaled to the batch size or be `auto`.

        Returns:
            an optimizer whose `param_groups` keep `weight_decay`, `lr_scale` and `names`. Its `state_dict()` holds
            nothing but dicts, lists, tuples, numbers, texts, None and tensors, and `load_state_dict` takes it back.
        """
        complete = [self._with_defaults(group, lr) for group in groups if group["params"]]
        return self.make(complete if self.uses_roles else without_roles(complete))

    @abstractmethod
    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        """Build the optimizer over groups that all have `lr`, `lr_scale` and `weight_decay`."""

    def _with_defaults(self, group: dict[str, Any], lr: float) -> dict[str, Any]:
        scale = group.get("lr_scale", 1.0)
        return {"weight_decay": self.weight_decay, **group, "lr_scale": scale, "lr": lr * scale}


def params_with_grads(parameters: "Iterable[Tensor]") -> "tuple[list[Tensor], list[Tensor]]":
    """Return the parameters that have a gradient, and their gradients."""
    used = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    return [parameter for parameter, _ in used], [gradient for _, gradient in used]


def without_roles(groups: Groups) -> Groups:
    """Return the groups as torch takes them."""
    return [{key: value for key, value in group.items() if key != "roles"} for group in groups]


def fused_kwargs(groups: Groups, devices: Collection[str] = FUSED_DEVICES) -> dict[str, bool]:
    """Return the argument for torch's fused kernel where it has one, else nothing."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    usable = all(parameter.is_floating_point() and parameter.device.type in devices for parameter in parameters)
    return {"fused": True} if usable else {}
