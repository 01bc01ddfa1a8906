"""`check_optimizer`: options, steps on real data, and a state that continues to the same bits."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.testing.options import check_options, options_of, require
from danlu.training.optimizers.base import Optimizer

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 200  # to lower the loss in
FEW = 8  # steps where bits are compared
FALLS_TO = 0.9  # share of the first loss that is left after STEPS, at most
UNUSED = "unused"  # a parameter that no loss depends on


def check_optimizer(optimizer: Optimizer | type[Optimizer], *, seed: int = 0) -> None:
    """Check an optimizer as danlu uses it.

    Its options pass through a recipe file. It takes groups as `Optimizer.build` gives them, keeps their entries, obeys
    their learning rate and weight decay, and leaves weights without a gradient alone. Its default learning rate lowers
    the loss of a small network on the built-in wine data. The same seed gives the same bits, and a state that was
    written and read continues to the same bits.

    Args:
        optimizer: a class derived from `danlu.Optimizer`, or options made from it.
        seed: of the network's first weights.

    Raises:
        CheckFailed: with the first thing that is wrong.
        MissingExtra: the optimizer needs packages that are not installed.

    Example:
        >>> from danlu.testing import check_optimizer
        >>> from danlu.training.optimizers.options import SGD
        >>> check_optimizer(SGD(momentum=0.8))
    """
    options = Optimizer.of(options_of(optimizer, Optimizer))
    check_options(options, "optimizer")
    _check_groups(options, seed)
    _check_repeats(options, seed)
    _check_resumes(options, seed)
    _check_unused_weight(options, seed)
    _check_obeys(options, seed)
    if options.averages_itself:
        _check_average(options, seed)
    _check_learns(options, seed)


class _Training:
    """Train a small network on all wines at once, reproducibly."""

    def __init__(self, options: Optimizer, seed: int, lr: float | None = None, decay: float | None = None) -> None:
        import torch

        from danlu.training.param_groups import parameter_groups

        torch.manual_seed(seed)
        self.model = _network()
        self.inputs, self.target = _wine()
        weight_decay = options.weight_decay if decay is None else decay
        self.groups = parameter_groups(self.model, weight_decay)
        self.optimizer = options.build(self.groups, lr=_lr(options) if lr is None else lr)

    def loss(self) -> "Tensor":
        """Return the mean cross-entropy over all wines."""
        from torch.nn import functional

        return functional.cross_entropy(self.model(self.inputs), self.target)

    def step(self, count: int) -> "_Training":
        """Make steps and return itself."""
        for _ in range(count):
            self.optimizer.zero_grad()
            self.loss().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return self

    def weights(self) -> "dict[str, Tensor]":
        """Return copies of the weights as training has them."""
        return {name: value.detach().clone() for name, value in self.model.named_parameters()}


def _network() -> "nn.Module":
    from torch import nn

    first = nn.Linear(13, 32)
    layers = nn.Sequential(first, nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 3))
    layers.register_parameter(UNUSED, nn.Parameter(first.weight.detach().clone()))
    return layers


def _wine() -> "tuple[Tensor, Tensor]":
    """Return 178 wines: 13 standardized numbers and one of three cultivars each."""
    import torch

    from danlu.data.builtin import read_builtin

    frame = read_builtin("builtin:wine").frame.lazy().collect()
    inputs = torch.from_numpy(frame.drop("cultivar").to_numpy().astype(np.float32))
    _, classes = np.unique(frame["cultivar"].to_numpy(), return_inverse=True)
    return (inputs - inputs.mean(0)) / inputs.std(0), torch.from_numpy(classes.astype(np.int64))


def _lr(options: Optimizer) -> float:
    return options.lr if isinstance(options.lr, float) else options.default_lr


def _check_groups(options: Optimizer, seed: int) -> None:
    """Check that the optimizer has every parameter once, and each group's entries."""
    import torch

    label, training = type(options).__name__, _Training(options, seed, decay=0.1)  # two groups: biases do not decay
    for group in training.groups:
        group["lr_scale"] = 0.5
    built = options.build(training.groups, lr=1e-3)
    require(
        isinstance(built, torch.optim.Optimizer),
        f"{label}.make returns a {type(built).__name__}; it must return a torch.optim.Optimizer",
    )
    held = [id(parameter) for group in built.param_groups for parameter in group["params"]]
    own = [id(parameter) for parameter in training.model.parameters()]
    require(
        sorted(held) == sorted(own),
        f"{label}: its param_groups hold {len(held)} parameters of the {len(own)} given; each must be there once",
    )
    for group in built.param_groups:
        for key in ("lr", "lr_scale", "weight_decay", "names"):
            require(key in group, f"{label}: its param_groups lack {key!r}, which danlu reads and sets; keep it")
        require(
            group["lr"] == 1e-3 * 0.5,
            f"{label}: a group of lr_scale 0.5 begins at lr {group['lr']:g} in place of 0.0005; leave lr as given",
        )


def _check_repeats(options: Optimizer, seed: int) -> None:
    one, other = (_Training(options, seed).step(FEW).weights() for _ in range(2))
    require(
        _same(one, other),
        f"{type(options).__name__}: the same seed gave other weights after {FEW} steps; take no random numbers, or "
        "derive them from the step",
    )


def _check_resumes(options: Optimizer, seed: int) -> None:
    """Check that a state that was written and read continues to the same bits."""
    from danlu.artifacts.state_dict_io import flatten_state, unflatten_state

    label, whole = type(options).__name__, _Training(options, seed).step(2 * FEW)
    half = _Training(options, seed).step(FEW)
    try:
        tensors, rest = flatten_state(half.optimizer.state_dict())
        written = json.dumps(rest)
    except (TypeError, ValueError) as error:
        require(False, f"{label}: its state_dict cannot be written to a checkpoint: {error}")
        return
    resumed = _Training(options, seed + 1)
    resumed.model.load_state_dict(half.model.state_dict())
    copies = {name: value.clone() for name, value in tensors.items()}
    resumed.optimizer.load_state_dict(unflatten_state(copies, json.loads(written)))
    require(
        _same(whole.weights(), resumed.step(FEW).weights()),
        f"{label}: training that was resumed from its state_dict gives other weights than training without a break; "
        "put everything that changes from step to step into `state` or `param_groups`",
    )


def _check_unused_weight(options: Optimizer, seed: int) -> None:
    training = _Training(options, seed)
    before = training.weights()[UNUSED]
    after = training.step(FEW).weights()[UNUSED]
    require(
        before.equal(after),
        f"{type(options).__name__}: changes a weight that has no gradient; skip parameters whose grad is None",
    )


def _check_obeys(options: Optimizer, seed: int) -> None:
    """Check that the groups' learning rate and weight decay are obeyed."""
    label = type(options).__name__
    lr = _lr(options)
    plain = _Training(options, seed, lr=lr, decay=0.0)
    doubled = _Training(options, seed, lr=lr, decay=0.0)
    for group in doubled.optimizer.param_groups:
        group["lr"] *= 2
    weights = plain.step(FEW).weights()
    require(
        not _same(weights, doubled.step(FEW).weights()),
        f"{label}: changing `lr` of its param_groups changes nothing; read group['lr'] at every step, since the "
        "schedule sets it there",
    )
    decayed = _Training(options, seed, lr=lr, decay=0.5).step(FEW).weights()
    require(
        not _same(weights, decayed),
        f"{label}: weight_decay of its groups changes nothing; read group['weight_decay'] at every step",
    )
    options_decay = options.model_copy(update={"weight_decay": 0.5})
    require(
        _same(weights, _Training(options_decay, seed, lr=lr, decay=0.0).step(FEW).weights()),
        f"{label}: decays weights whose group says weight_decay 0, as biases and norms do; the group's value counts",
    )


def _check_average(options: Optimizer, seed: int) -> None:
    """Check that an average of the weights enters the model and leaves it again."""
    label, training = type(options).__name__, _Training(options, seed).step(FEW)
    show, back = (getattr(training.optimizer, name, None) for name in ("eval", "train"))
    require(
        callable(show) and callable(back),
        f"{label}: averages_itself, so its torch optimizer needs the methods eval() and train()",
    )
    if not (callable(show) and callable(back)):
        return
    before = training.weights()
    show()
    require(not _same(before, training.weights()), f"{label}: eval() does not put the average into the model")
    back()
    require(_same(before, training.weights()), f"{label}: train() does not restore the weights to the same bits")


def _check_learns(options: Optimizer, seed: int) -> None:
    label, training = type(options).__name__, _Training(options, seed)
    before = float(training.loss().detach())
    training.step(STEPS)
    show: Any = getattr(training.optimizer, "eval", None)
    if options.averages_itself and show is not None:
        show()
    after = float(training.loss().detach())
    require(
        after < FALLS_TO * before,
        f"{label}: the loss on real data does not fall: {before:.3g} before and {after:.3g} after {STEPS} steps at its "
        f"learning rate {_lr(options):g}; look at the direction of its step, or set default_lr",
    )


def _same(one: "dict[str, Tensor]", other: "dict[str, Tensor]") -> bool:
    import torch

    return all(torch.equal(one[name], other[name]) for name in one)
