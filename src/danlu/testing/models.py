"""`check_model`: options, a network on real data, and weights that read back to the same bits."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.data.kinds.table import KINDS
from danlu.data.specs import TabularInputs, require_inputs
from danlu.errors import DanluError
from danlu.experiment.data_context import DataContext, FittedPreprocessing, fit_preprocessing, load_input
from danlu.models.base import FitData, IterativeFit, Model, Rows, SelfFittingModel
from danlu.testing.options import check_options, options_of, require

if TYPE_CHECKING:
    from torch import Tensor, nn

    from danlu.data.loader import PreparedDataset
    from danlu.tasks.base import Head

# Kind of data -> recipes to try a model on; all of it comes with danlu.
DATA: dict[str, tuple[dict[str, Any], ...]] = {
    "tabular": ({"source": "builtin:wine"}, {"source": "builtin:diabetes"}),
    "image": ({"source": "builtin:digits"},),
    "text": ({"source": "builtin:speeches", "text": "text", "sequence_length": 32, "vocabulary": 512},),
    "corpus": ({"source": "builtin:speeches-corpus", "sequence_length": 32, "vocabulary": 512},),
}
ROWS = 64  # samples that are looked at
STEPS, ROUNDS = 60, 20  # to lower the loss in
FALLS_TO = 0.95  # share of the first loss that is left after them, at most
NEAR = 1e-4  # between predictions of a sample alone and among others; libraries sum in another order


def check_model(model: Model | type[Model], *, kinds: Sequence[str] | None = None, seed: int = 0) -> None:
    """Check a model family as danlu uses it.

    Its options pass through a recipe file. On the built-in data of each kind that it takes, its network gives finite
    logits of the task's shape, the same for a sample whatever stands beside it in evaluation mode; the same seed gives
    the same weights; training lowers the loss; and weights that were written are read back to the same predictions. A
    `SelfFittingModel` must lower its loss over rounds, and its network must predict what the fit predicts.

    Args:
        model: a class derived from `danlu.Model`, or options made from it; small ones, since it is trained.
        kinds: kinds of data to try it on; by default all that its family takes and danlu has data of.
        seed: of the first weights.

    Raises:
        CheckFailed: with the first thing that is wrong.
        MissingExtra: the model needs packages that are not installed.

    Example:
        >>> from danlu.testing import check_model
        >>> from danlu.models.tabular.options import MLP
        >>> check_model(MLP(hidden=(16,)))
    """
    options = Model.of(options_of(model, Model))
    label = type(options).__name__
    _check_kinds(options, label)
    check_options(options, "model")
    wanted = options.kinds if kinds is None else kinds
    tried = [values for kind in wanted for values in DATA.get(kind, ())]
    require(bool(tried), f"{label}: danlu has no data of kind {' or '.join(wanted)} to try it on")
    for values in tried:
        problem = _problem(options, values)
        if isinstance(options, SelfFittingModel):
            _check_fit(options, problem, seed)
        else:
            _check_network(problem, seed)


@dataclass(frozen=True)
class _Problem:
    """Hold what a model is tried on: samples, and a head that knows their task."""

    label: str
    context: DataContext
    preprocessing: FittedPreprocessing
    head: "Head"
    samples: "PreparedDataset"

    @property
    def options(self) -> Model:
        """The model's options."""
        return self.context.model

    def build(self, seed: int, options: Model | None = None) -> "nn.Module":
        """Build the network from a seed."""
        import torch

        torch.manual_seed(seed)
        inputs, outputs = self.preprocessing.preprocessor.inputs, self.preprocessing.target.outputs
        return (options or self.options).build(inputs, outputs)

    def batch(self, rows: np.ndarray) -> "tuple[dict[str, Tensor], Tensor]":
        """Return inputs and targets of some samples."""
        import torch

        inputs, target = self.samples.take(rows, torch.device("cpu"))
        assert target is not None
        return inputs, target

    def loss(self, network: "nn.Module", rows: np.ndarray) -> "Tensor":
        """Return the mean loss of some samples."""
        from danlu.tasks.loss_weighting import LossWeighting

        inputs, target = self.batch(rows)
        total, count = self.head.loss(network(**inputs), target, LossWeighting())
        return total / count

    def predict(self, network: "nn.Module", rows: np.ndarray) -> "Tensor":
        """Return the head's predictions of some samples in evaluation mode, [rows, ...]."""
        import torch

        inputs, target = self.batch(rows)
        network.eval()
        with torch.no_grad():
            return self.head.predict(network(**inputs), target)


def _check_kinds(options: Model, label: str) -> None:
    known = tuple(KINDS)
    kinds = getattr(options, "kinds", ())
    require(
        bool(kinds) and set(kinds) <= set(known),
        f"{label}: kinds is {kinds!r}; name the kinds of data that it takes (allowed: {', '.join(known)})",
    )


def _problem(options: Model, values: dict[str, Any]) -> _Problem:
    from danlu.data.splits import subsample
    from danlu.experiment.loaders import build_prepared_dataset

    recipe = {"data": values, "model": _stand_in(values)}
    context = load_input(recipe)
    context = replace(context, recipe=context.recipe.model_copy(update={"model": options}))
    preprocessing = fit_preprocessing(context)
    rows = subsample(context.splits.train, ROWS)
    samples = build_prepared_dataset(context, preprocessing, rows)
    label = f"{type(options).__name__} on {context.origin.name}"
    return _Problem(label, context, preprocessing, context.dataset.task.head(preprocessing.target), samples)


def _stand_in(values: dict[str, Any]) -> str:
    """Return danlu's own model to resolve the recipe with."""
    by_source = {"builtin:digits": "small-resnet", "builtin:speeches": "hf:bert", "builtin:speeches-corpus": "hf:llama"}
    return by_source.get(values["source"], "linear")


def _check_network(problem: _Problem, seed: int) -> None:
    rows = np.arange(min(len(problem.samples), ROWS))
    network = _check_build(problem, seed)
    _check_output(problem, network, rows)
    _check_samples_alone(problem, network, rows)
    _check_learns(problem, network, rows)
    _check_weights_read_back(problem, network, rows, seed)


def _check_build(problem: _Problem, seed: int) -> "nn.Module":
    """Check that a network is built on the CPU and from the seed alone."""
    import torch
    from torch import nn

    network = problem.build(seed)
    require(
        isinstance(network, nn.Module),
        f"{problem.label}: build returns a {type(network).__name__}; it must return a torch.nn.Module",
    )
    places = {value.device.type for value in network.state_dict().values()}
    require(
        places <= {"cpu"}, f"{problem.label}: build puts weights on {', '.join(sorted(places))}; leave them on the CPU"
    )
    again, other = problem.build(seed).state_dict(), problem.build(seed + 1).state_dict()
    first = network.state_dict()
    require(
        all(torch.equal(first[name], again[name]) for name in first),
        f"{problem.label}: the same seed builds other weights; draw them from torch's current seed alone",
    )
    trained = [name for name, value in network.named_parameters() if value.requires_grad]
    require(bool(trained), f"{problem.label}: has no trainable weights; derive it from danlu.SelfFittingModel")
    require(
        any(not torch.equal(first[name], other[name]) for name in trained) or all(not first[n].any() for n in trained),
        f"{problem.label}: another seed builds the same weights; do not seed inside build",
    )
    return network


def _check_output(problem: _Problem, network: "nn.Module", rows: np.ndarray) -> None:
    """Check that the logits are finite and that the task's head takes them."""
    import torch

    inputs, target = problem.batch(rows)
    network.eval()
    try:
        with torch.no_grad():
            logits = network(**inputs)
    except TypeError as error:
        require(False, f"{problem.label}: forward cannot be called with {', '.join(inputs)} by name: {error}")
        return
    outputs = problem.preprocessing.target.outputs
    shape = tuple(getattr(logits, "shape", ()))
    require(
        len(shape) in (2, 3) and shape[0] == len(rows) and shape[-1] == outputs,
        f"{problem.label}: forward gives {list(shape)}; expected [{len(rows)}, {outputs}], or three dimensions for "
        "tokens or for members of an ensemble",
    )
    require(bool(torch.isfinite(logits).all()), f"{problem.label}: forward gives values that are not finite")
    predictions = problem.head.predict(logits, target)
    require(len(predictions) == len(rows), f"{problem.label}: {len(predictions)} predictions for {len(rows)} samples")


def _check_samples_alone(problem: _Problem, network: "nn.Module", rows: np.ndarray) -> None:
    """Check that a sample's prediction does not depend on the others of its batch."""
    import torch

    together = problem.predict(network, rows)
    require(
        torch.equal(together, problem.predict(network, rows)),
        f"{problem.label}: predicts the same samples otherwise the second time; "
        "in evaluation mode nothing may be random",
    )
    backwards = problem.predict(network, rows[::-1].copy()).flip(0)
    alone = torch.cat([problem.predict(network, rows[place : place + 1]) for place in range(4)])
    for found, expected, how in ((backwards, together, "in another order"), (alone, together[:4], "alone")):
        far = float((found.double() - expected.double()).abs().max())
        require(
            far <= NEAR * max(1.0, float(expected.double().abs().max())),
            f"{problem.label}: a sample's prediction changes by {far:.2g} when it is predicted {how}; in "
            "evaluation mode it must not depend on the others of its batch",
        )


def _check_learns(problem: _Problem, network: "nn.Module", rows: np.ndarray) -> None:
    """Check that gradient steps lower the loss, and that gradients are finite."""
    import torch

    network.train()
    before = float(problem.loss(network, rows).detach())
    optimizer = torch.optim.AdamW(network.parameters(), lr=problem.options.default_lr(1e-3, 0.05), weight_decay=0.0)
    for step in range(STEPS):
        optimizer.zero_grad()
        problem.loss(network, rows).backward()  # type: ignore[no-untyped-call]
        if step == 0:
            _check_gradients(problem, network)
        optimizer.step()
    after = float(problem.loss(network, rows).detach())
    require(
        after < FALLS_TO * before,
        f"{problem.label}: {STEPS} steps do not lower the loss: {before:.3g} before and {after:.3g} after",
    )


def _check_gradients(problem: _Problem, network: "nn.Module") -> None:
    import torch

    trained = {name: value for name, value in network.named_parameters() if value.requires_grad}
    reached = [value for value in trained.values() if value.grad is not None]
    require(bool(reached), f"{problem.label}: the loss reaches no weight; forward must be differentiable")
    broken = [
        name for name, value in trained.items() if value.grad is not None and not torch.isfinite(value.grad).all()
    ]
    require(not broken, f"{problem.label}: gradients of {', '.join(broken[:3])} are not finite")


def _check_weights_read_back(problem: _Problem, network: "nn.Module", rows: np.ndarray, seed: int) -> None:
    """Check that weights that are written and read give the same predictions."""
    import torch

    expected, options = problem.predict(network, rows), problem.options
    portable = type(options).model_validate(options.portable().model_dump(mode="json"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options.write_weights(network, folder)
        again = problem.build(seed + 1, portable)
        try:
            portable.read_weights(again, folder)
        except (RuntimeError, DanluError) as error:
            require(False, f"{problem.label}: weights that it wrote cannot be read: {error}")
        require(
            torch.equal(expected, problem.predict(again, rows)),
            f"{problem.label}: predicts something else after its weights were written and read; keep all that "
            "decides a prediction in the options, in parameters or in buffers",
        )


def _check_fit(options: SelfFittingModel, problem: _Problem, seed: int) -> None:
    """Check a family that fits itself, round by round."""
    data, network = _fit_data(problem, seed), problem.build(seed)
    fit, losses = options.start_fit(data), []
    for loss in fit.iter_rounds():
        losses.append(loss)
        if len(losses) == min(ROUNDS, options.max_rounds):
            break
    require(bool(losses), f"{problem.label}: iter_rounds yields no round")
    require(bool(np.isfinite(losses).all()), f"{problem.label}: iter_rounds yields a loss that is not finite")
    require(
        len(losses) == 1 or losses[-1] < losses[0],
        f"{problem.label}: the training loss does not fall: {losses[0]:.3g} after one round, {losses[-1]:.3g} after "
        f"{len(losses)}",
    )
    _check_scores(problem, fit, network, len(losses))
    again = options.start_fit(data)
    repeated = [loss for loss, _ in zip(again.iter_rounds(), losses, strict=False)]
    require(repeated == losses, f"{problem.label}: the same seed gave other losses; draw from FitData.seed alone")
    _check_weights_read_back(problem, network, np.arange(len(problem.samples)), seed)


def _check_scores(problem: _Problem, fit: IterativeFit, network: "nn.Module", rounds: int) -> None:
    """Check that the network predicts what the fit predicts for the validation rows."""
    import torch

    scores = fit.validation_scores()
    rows, outputs = len(problem.samples), problem.preprocessing.target.outputs
    require(
        scores.shape == (rows, outputs),
        f"{problem.label}: validation_scores gives {list(scores.shape)}; expected [{rows}, {outputs}]",
    )
    fit.load_rounds_into(network, rounds)
    inputs, _ = problem.batch(np.arange(rows))
    network.eval()
    with torch.no_grad():
        found = network(**inputs)
    far = float((found.double() - torch.from_numpy(scores).double()).abs().max())
    require(
        far <= NEAR * max(1.0, float(np.abs(scores).max())),
        f"{problem.label}: after load_rounds_into the network's predictions differ from validation_scores by {far:.2g}",
    )


def _fit_data(problem: _Problem, seed: int) -> FitData:
    from danlu.core.seeds import Seed

    inputs = require_inputs(problem.preprocessing.preprocessor.inputs, TabularInputs, problem.label)
    batch, target = problem.batch(np.arange(len(problem.samples)))
    count = len(target)
    numeric = batch["numeric"].numpy() if "numeric" in batch else np.zeros((count, 0), dtype=np.float32)
    codes = batch["categories"].numpy() if "categories" in batch else np.zeros((count, 0), dtype=np.int64)
    rows = Rows(numeric, codes, target.numpy())
    return FitData(
        inputs=inputs,
        outputs=problem.preprocessing.target.outputs,
        loss=problem.head.loss,
        train=rows,
        sample_weights=None,
        validation=rows,
        seed=Seed(seed),
        num_threads=1,
    )
