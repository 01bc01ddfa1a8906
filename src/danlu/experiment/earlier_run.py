"""Begin a training from the weights of a finished run (`training.from_run`), with its preparation and its labels.

The weights only mean something for inputs that are prepared as before, so nothing is fitted anew. Imports no torch.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.bundle import Bundle, open_bundle
from danlu.artifacts.files import StrPath, read_json
from danlu.artifacts.run import ENVIRONMENT, RECIPE, RunDirectory
from danlu.core.console import info
from danlu.data.kinds.table import get_kind
from danlu.errors import ArgumentError, ArtifactError, Problem, RecipeError
from danlu.experiment.run_data import SOURCE_FILE
from danlu.experiment.seen_rows import count_learned_rows
from danlu.recipe.load import load_recipe
from danlu.recipe.schema import Recipe
from danlu.tasks.base import Target
from danlu.tasks.table import parse_target

if TYPE_CHECKING:
    from torch import nn

    from danlu.data.kind import Preprocessor
    from danlu.experiment.data_context import DataContext

KEY = "training.from_run"
# Keys of `data` that a preparation is fitted with; the others choose rows, or change samples on their way.
FITTED_WITH = (
    *("task", "target", "text", "image", "columns", "scale", "encode", "select", "image_size"),
    *("sequence_length", "vocabulary", "packing", "chat_template"),
)
# What evaluation adds to a target, which belongs to the weights of before.
OF_EVALUATION = ("calibration", "threshold", "conformal")


def recipe_from_run(run: StrPath, overrides: tuple[str, ...] = ()) -> Recipe:
    """Return the recipe of a finished run, to begin a new one from its weights.

    Args:
        run: its folder.
        overrides: `key.path=value`, as of `--set`.

    Raises:
        ArgumentError: it is no run.
    """
    directory = RunDirectory.open(run)
    own = (directory.path / "data" / SOURCE_FILE).resolve()  # the run may have been moved
    source = (f"data.source={_quoted(str(own))}",) if own.is_file() else ()
    return with_earlier_run(load_recipe(directory.path / RECIPE, overrides=(*source, *overrides)), run)


def with_earlier_run(recipe: Recipe, run: StrPath) -> Recipe:
    """Return the recipe with `training.from_run`."""
    training = recipe.training.model_copy(update={"from_run": str(Path(run).absolute())})
    return recipe.model_copy(update={"training": training})


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def earlier_preparation(context: "DataContext") -> tuple["Preprocessor", Target]:
    """Return the preparation and the target of the run that the recipe begins from, as before its evaluation.

    Raises:
        ArgumentError: that run has another kind of data or another task.
        RecipeError: the recipe asks for a preparation of its own.
    """
    bundle = _bundle(context)
    manifest, dataset = bundle.manifest, context.dataset
    if (manifest.kind, manifest.task) != (dataset.kind.name, dataset.task.name):
        raise ArgumentError(
            f"{KEY}: {bundle.folder} was trained for {manifest.task} on {manifest.kind} data, and this recipe for "
            f"{dataset.task.name} on {dataset.kind.name} data; export it and name the folder in model.name, or choose "
            "another run",
            code="DL515",
        )
    _require_same_preparation(context, bundle)
    preprocessor = get_kind(manifest.kind).preprocessor.model_validate(manifest.preprocessing)
    missing = [name for name in preprocessor.columns if name not in dataset.frame.columns]
    if missing:
        raise ArgumentError(f"{KEY}: {dataset.origin} has no column {missing[0]!r}, which the run reads", code="DL210")
    return preprocessor.on_date(context.date), parse_target(manifest.output)


def earlier_target(known: Target, fresh: Target) -> Target:
    """Return the target of the earlier run, without what its evaluation decided, for a recipe's own data.

    Raises:
        ArgumentError: the data has labels that the run does not know.
    """
    labels = getattr(known, "labels", None)
    unknown = [label for label in getattr(fresh, "labels", ()) if labels is not None and label not in labels]
    if unknown:
        raise ArgumentError(
            f"{KEY}: the run does not know the label {unknown[0]!r}, and its head has no output for it; leave such "
            "rows out, or train without it",
            code="DL515",
        )
    fields = type(known).model_fields
    kept: dict[str, Any] = {name: None for name in OF_EVALUATION if name in fields}
    kept |= {name: getattr(fresh, name) for name in ("positive", "beta") if name in fields}
    return known.model_copy(update=kept)


def _require_same_preparation(context: "DataContext", bundle: Bundle) -> None:
    """Raise RecipeError where the recipe changes what the earlier preparation was fitted with."""
    run = bundle.folder.parent
    if not (run / RECIPE).is_file():  # a bundle alone does not say
        return
    before, now = load_recipe(run / RECIPE).data, context.recipe.data
    problems = [
        Problem(
            "", f"data.{name}", f"{KEY} keeps the preparation of {run}, where it is {_shown(before, name)}", "DL110"
        )
        for name in FITTED_WITH
        if getattr(before, name) != getattr(now, name)
    ]
    if problems:
        raise RecipeError(*problems)


def _shown(section: Any, name: str) -> str:
    value = section.model_dump(mode="json", include={name})[name]
    return "left out" if value is None else str(value)


def load_earlier_weights(context: "DataContext", network: "nn.Module") -> None:
    """Load the weights of the run that the recipe begins from into a new network; nothing without one.

    Raises:
        ArgumentError: the recipe builds another network.
    """
    if context.recipe.training.from_run is None:
        return
    bundle, model = _bundle(context), context.model
    if model.weights_file not in bundle.manifest.files:
        raise _other_network(bundle, model.name, f"it has no {model.weights_file}")
    try:
        model.read_weights(network, bundle.folder)
    except (RuntimeError, ArtifactError) as error:
        raise _other_network(bundle, model.name, str(error).strip().splitlines()[-1].strip()) from error


def _other_network(bundle: Bundle, name: str, why: str) -> ArgumentError:
    return ArgumentError(
        f"{KEY}: the weights of {bundle.folder} do not fit {name} as this recipe builds it: {why}; leave the model's "
        "size and settings as they were",
        code="DL273",
    )


def describe_earlier_run(context: "DataContext") -> dict[str, Any]:
    """Return for environment.json what a run begins from, and say it; empty if from nothing."""
    if context.recipe.training.from_run is None:
        return {}
    bundle = _bundle(context)
    info(f"a new run that begins from the weights of {bundle.folder} ({bundle.manifest.digest[:12]})")
    for name, part in context.splits.items():
        seen = 0 if name == "train" else count_learned_rows(context, bundle.folder.parent, part)
        if seen:
            info(
                f"warning: {bundle.folder} was trained on {seen:,} of the {len(part):,} {name} rows, whose figures "
                "will flatter it; keep the split and the seed of that run"
            )
    weights = bundle.manifest.files[context.model.weights_file]
    return {"from": {"bundle": str(bundle.folder.resolve()), "digest": bundle.manifest.digest, "weights": weights}}


def check_earlier_run_unchanged(context: "DataContext", run: RunDirectory) -> None:
    """Raise ArtifactError if a resumed run began from weights that have changed since."""
    if context.recipe.training.from_run is None:
        return
    known = read_json(run.path / ENVIRONMENT)["from"]["weights"]
    if _bundle(context).manifest.files.get(context.model.weights_file) != known:
        raise ArtifactError(
            f"{run.path}: the run that it begins from ({KEY}) has changed since; restore it, or train again",
            code="DL313",
        )


def _bundle(context: "DataContext") -> Bundle:
    path = context.recipe.training.from_run
    assert path is not None
    return open_bundle(path)
