"""Group norm: number of groups, and replacing the batch norms of a network."""

from typing import TYPE_CHECKING, Literal

from danlu.errors import ArgumentError

if TYPE_CHECKING:
    from torch import nn

MIN_FEATURES_PER_GROUP = 16  # of a table's layer: fewer are too few for a mean and a standard deviation
MAX_GROUPS = 32  # Wu & He 2018, Group Normalization, https://arxiv.org/abs/1803.08494


def num_groups(channels: int, least: int) -> int:
    """Return the largest number of groups, at most 32, of at least `least` channels each."""
    fitting = (groups for groups in range(1, MAX_GROUPS + 1) if channels % groups == 0 and channels >= groups * least)
    return max(fitting, default=1)


def replace_batch_norms(network: "nn.Module", wanted: Literal["batch", "group", "layer"], name: str) -> None:
    """Replace 2-d batch norms by group norms.

    `group` takes up to 32 groups, `layer` a single one. Scales and shifts keep their initial values, which may be 0
    so that a residual block begins as the identity. timm's batch norms that include an activation keep it.

    Raises:
        ArgumentError: the network has no batch norm.
    """
    from torch import nn

    found = {path: module for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    if not found:
        raise ArgumentError(
            f"model.normalization: {name} has no batch normalization to replace; leave it out", code="DL512"
        )
    if wanted == "batch":
        return
    for path, module in found.items():
        parent, _, attribute = path.rpartition(".")
        setattr(network.get_submodule(parent), attribute, _group_norm_like(module, wanted))


def _group_norm_like(module: "nn.BatchNorm2d", wanted: str) -> "nn.Module":
    from torch import nn

    channels = module.num_features
    groups = 1 if wanted == "layer" else num_groups(channels, 2)
    norm = nn.GroupNorm(groups, channels, eps=module.eps, affine=module.affine)
    if module.affine:
        norm.weight.data.copy_(module.weight.data)
        norm.bias.data.copy_(module.bias.data)
    rest = [part for key in ("drop", "act") if (part := getattr(module, key, None)) is not None]
    return nn.Sequential(norm, *rest) if rest else norm
