"""Muon's steps for hidden matrices, beside AdamW for embeddings, heads, norms and biases.

`torch.optim.Muon` takes matrices alone, one at a time, and orthogonalises them in bf16. Here a convolution's filters
are a matrix of [filters, inputs x height x width], as in Jordan's own code, matrices of one shape go through together,
and bf16 is only used on CUDA, where it is fast; elsewhere weights keep their own precision. The update is otherwise
that of torch with `adjust_lr_fn="match_rms_adamw"`.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from danlu.training.optimizers.base import Groups, fused_kwargs, params_with_grads, without_roles

# Jordan's quintic (https://kellerjordan.github.io/posts/muon): steepest at zero, so that few iterations suffice;
# singular values end within about 0.7 to 1.2.
QUINTIC = (3.4445, -4.7750, 2.0315)
MIN_NORM = 1e-7
# Root mean square of AdamW's updates, to which orthogonal ones are scaled (Liu et al. 2025,
# https://arxiv.org/abs/2502.16982).
ADAMW_RMS = 0.2


class OrthogonalMomentum(torch.optim.Optimizer):
    """Apply Muon to parameters of two or more dimensions, flattened to matrices.

    The first dimension stays, all others become one.
    """

    def __init__(self, groups: Groups, momentum: float, nesterov: bool, iterations: int) -> None:
        defaults = {"weight_decay": 0.0, "momentum": momentum, "nesterov": nesterov}
        super().__init__(groups, {**defaults, "iterations": iterations})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step; `closure` is ignored."""
        for group in self.param_groups:
            alike: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
            for parameter in params_with_grads(group["params"])[0]:
                rows, columns = parameter.shape[0], math.prod(parameter.shape[1:])
                alike[rows, columns, parameter.dtype, parameter.device].append(parameter)
            for parameters in alike.values():
                self._step_same_shape(parameters, group)

    def _step_same_shape(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Step parameters that are matrices of the same shape."""
        _, gradients = params_with_grads(parameters)
        moments, momentum = [self._moment(parameter) for parameter in parameters], group["momentum"]
        torch._foreach_lerp_(moments, gradients, 1 - momentum)
        wanted = torch._foreach_lerp(gradients, moments, momentum) if group["nesterov"] else moments
        stacked = torch.stack([update.flatten(1) for update in wanted])
        updates = orthogonalize(stacked, group["iterations"]).unbind()
        lr = group["lr"]
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        size = ADAMW_RMS * math.sqrt(max(stacked.shape[1:]))
        shaped = [update.view(parameter.shape) for update, parameter in zip(updates, parameters, strict=True)]
        torch._foreach_add_(parameters, shaped, alpha=-lr * size)

    def _moment(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        moment: Tensor = state["momentum"]
        return moment


def orthogonalize(matrices: Tensor, iterations: int) -> Tensor:
    """Return the nearest matrices with orthogonal rows or columns, approximately: singular values near 1.

    Args:
        matrices: [matrices, rows, columns].

    Returns:
        the same shape and type.
    """
    first, third, fifth = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    found = matrices.bfloat16() if matrices.is_cuda else matrices
    found = found.mT if tall else found
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp(min=MIN_NORM)
    for _ in range(iterations):
        gram = found @ found.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        found = torch.baddbmm(found, polynomial, found, beta=first)
    return (found.mT if tall else found).to(matrices.dtype).contiguous()


class MuonWithAdamW(torch.optim.Optimizer):
    """Combine both optimizers; their groups follow one another, and each steps its own."""

    def __init__(
        self, groups: Groups, momentum: float, nesterov: bool, iterations: int, betas: tuple[float, float]
    ) -> None:
        matrices, others = split_groups(groups)
        self.parts: dict[str, torch.optim.Optimizer] = {}
        if matrices:
            self.parts["muon"] = OrthogonalMomentum(matrices, momentum, nesterov, iterations)
        if others:
            self.parts["adamw"] = torch.optim.AdamW(others, betas=betas, **fused_kwargs(others))
        # The same dicts as the parts', so that a rate set here is a rate set there.
        super().__init__([group for part in self.parts.values() for group in part.param_groups], {})
        self._link_state()

    def _link_state(self) -> None:
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]
        self.state = defaultdict(dict)
        for part in self.parts.values():
            self.state.update(part.state)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step both parts; `closure` is ignored."""
        for part in self.parts.values():
            part.step()
            self.state.update(part.state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned; it numbers the parts' weights consecutively."""
        groups, state = list(state_dict["param_groups"]), state_dict["state"]
        first = 0
        for part in self.parts.values():
            own, groups = groups[: len(part.param_groups)], groups[len(part.param_groups) :]
            numbers = [number for group in own for number in group["params"]]
            part.load_state_dict(
                {
                    "state": {number - first: state[number] for number in numbers if number in state},
                    "param_groups": [
                        {**group, "params": [number - first for number in group["params"]]} for group in own
                    ],
                }
            )
            first += len(numbers)
        self._link_state()


def split_groups(groups: Groups) -> tuple[Groups, Groups]:
    """Split each group into hidden matrices and others; without roles, by dimensions."""
    matrices: Groups = []
    others: Groups = []
    for group in groups:
        roles = group.get("roles") or ["matrix" if value.ndim >= 2 else "vector" for value in group["params"]]
        for target, wanted in ((matrices, True), (others, False)):
            chosen = [index for index, role in enumerate(roles) if (role == "matrix") is wanted]
            lists: dict[str, Any] = {
                key: [group[key][index] for index in chosen] for key in ("params", "names") if key in group
            }
            if chosen:
                target.append({**group, **lists})
    return without_roles(matrices), without_roles(others)
