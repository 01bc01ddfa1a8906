"""Train a candidate further on the run's training rows, by danlu's one training loop."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from danlu.artifacts.files import atomic_folder
from danlu.compression.base import Candidate, Material
from danlu.core.seeds import Seed
from danlu.experiment.data_context import DataContext, FittedPreprocessing
from danlu.experiment.earlier_preparation import earlier_target
from danlu.experiment.written_bundle import write_bundle_files
from danlu.models.base import Model
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.sparsity import Rounding, Sparsity
from danlu.recipe.sections.training import Distill, EarlyStopping, Track

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Tuning:
    """Say how a candidate is trained further.

    Attributes:
        epochs: over the training rows.
        lr_factor: of the run's learning rate.
        teacher: whether it learns from the original's answers, too, or the bundle that it learns from.
        temperature, teacher_weight: as in `training.distill`.
        sparsity: weights that are set to zero meanwhile.
        weight_bits, group: of the weights that it answers with meanwhile; None for those that it has.
    """

    epochs: int
    lr_factor: float = 1.0
    teacher: bool | str = False
    temperature: float | None = None
    teacher_weight: float = 0.5
    sparsity: Sparsity | None = None
    weight_bits: Literal[4, 8] | None = None
    group: int = 0


def fine_tune(candidate: Candidate, material: Material, tuning: Tuning, seed: Seed) -> Candidate:
    """Return a candidate whose weights were trained further, with the sizes that they have.

    Raises:
        Stopped: a signal asked to stop.
    """
    name = f"start-{seed.value}"
    _write_start(candidate, material, material.scratch / name)
    changed: dict[str, Any] = {"from_run": str(material.scratch / name)}
    return replace(candidate, network=_train(candidate.options, material, tuning, changed, f"tuned-{seed.value}"))


def train_anew(options: Model, material: Material, tuning: Tuning, seed: Seed) -> "nn.Module":
    """Return a network of other options, trained from new weights on the run's rows."""
    return _train(options, material, tuning, {"from_run": None}, f"new-{seed.value}")


def _write_start(candidate: Candidate, material: Material, folder: Path) -> None:
    """Write a candidate as a bundle to begin from, without golden samples."""
    manifest = material.bundle.manifest.model_copy(
        update={"structure": candidate.structure, "engines": (), "steps": (), "files": {}}
    )
    with atomic_folder(folder) as written:
        write_bundle_files(written, manifest, candidate.options, candidate.network)


def _train(options: Model, material: Material, tuning: Tuning, changed: dict[str, Any], name: str) -> "nn.Module":
    from danlu.experiment.trainer import train_run
    from danlu.models.predictor import Predictor

    context = replace(material.context, recipe=_recipe(options, material, tuning, changed))
    fixed = None if len(context.splits.validation) else float(tuning.epochs)
    run = train_run(
        context,
        material.scratch,
        name,
        overwrite=True,
        learn=_no_folds,
        fit_preprocessor=partial(_as_before, material),
        fixed_epochs=fixed,
    )
    network: nn.Module = Predictor.load(
        run.model, engine="torch", recipe_model=Model.of(context.recipe.model), replay=False
    ).model
    return network.cpu().float().eval()


def _as_before(material: Material, context: DataContext) -> FittedPreprocessing:
    """Return the original's preparation and labels, without what its evaluation decided."""
    target = material.predictor.target
    return FittedPreprocessing(material.predictor.preprocessor, earlier_target(target, target))


def _recipe(options: Model, material: Material, tuning: Tuning, changed: dict[str, Any]) -> Recipe:
    """Return the run's recipe as it trains a candidate."""
    recipe = material.context.recipe
    training, optimizer = recipe.training, recipe.training.optimizer
    assert isinstance(optimizer.lr, float)
    stopping = training.early_stopping
    changes: dict[str, Any] = {
        **changed,
        "epochs": tuning.epochs,
        "max_steps": None,
        "optimizer": optimizer.model_copy(update={"lr": optimizer.lr * tuning.lr_factor}),
        "sparsity": tuning.sparsity,
        "rounding": None if tuning.weight_bits is None else Rounding(bits=tuning.weight_bits, group=tuning.group),
        # To the end: the weights of the best validation are kept, and patience was meant for a whole training.
        "early_stopping": None
        if stopping is None
        else EarlyStopping(metric=stopping.metric, patience=max(stopping.patience, 10 * tuning.epochs)),
        "track": Track(),
        "callbacks": (),
    }
    if tuning.teacher:
        folder = str(material.bundle.folder) if tuning.teacher is True else tuning.teacher
        changes["distill"] = Distill(teacher=folder, temperature=tuning.temperature, weight=tuning.teacher_weight)
    if tuning.sparsity is not None or tuning.weight_bits is not None:
        changes["average"] = None
    once = recipe.evaluation.model_copy(update={"folds": None})
    return recipe.model_copy(
        update={
            "model": options,
            "training": training.model_copy(update=changes),
            "evaluation": once,
            "compression": None,
            "tuning": None,
            "explanation": None,
            "visualization": None,
        }
    )


def _no_folds(context: DataContext, run: Path) -> NoReturn:
    raise AssertionError("a candidate is trained once, without folds")
