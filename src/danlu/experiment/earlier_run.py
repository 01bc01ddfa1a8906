"""Begin a training from the weights of a finished run (`training.from_run`). Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.bundle import Bundle, Structure
from danlu.artifacts.files import StrPath
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.console import info
from danlu.data.sources.reader import IN_MEMORY
from danlu.errors import ArgumentError, ArtifactError
from danlu.experiment.earlier_preparation import KEY
from danlu.experiment.run_data import SOURCE_FILE
from danlu.experiment.seen_rows import count_learned_rows
from danlu.models.bundle_form import open_checked
from danlu.recipe.load import as_recipe
from danlu.recipe.schema import Recipe

if TYPE_CHECKING:
    from torch import nn

    from danlu.experiment.data_context import DataContext


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
    return with_earlier_run(load_run_recipe(directory.path / RECIPE, overrides=(*source, *overrides)), run)


def with_earlier_run(recipe: Recipe, run: StrPath) -> Recipe:
    """Return the recipe with `training.from_run`."""
    training = recipe.training.model_copy(update={"from_run": str(Path(run).absolute())})
    return recipe.model_copy(update={"training": training})


def recipe_to_begin(
    recipe: Recipe | Mapping[str, Any] | str | Path | None, from_run: StrPath | None, in_memory: bool
) -> Recipe:
    """Return a recipe in any form, with the run that its training begins from.

    Args:
        recipe: None for the run's own.
        from_run: a finished run; None to begin anew.
        in_memory: whether rows are handed over, instead of the recipe's source.
    """
    if from_run is None:
        return as_recipe(recipe, source=IN_MEMORY if in_memory else None)
    if recipe is None:
        return recipe_from_run(from_run)
    return with_earlier_run(as_recipe(recipe, source=IN_MEMORY if in_memory else None), from_run)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def load_earlier_weights(context: "DataContext", network: "nn.Module") -> None:
    """Load the earlier run's weights into a new network; nothing without one.

    Raises:
        ArgumentError: the recipe builds another network.
    """
    if context.recipe.training.from_run is None:
        return
    bundle, model = _bundle(context), context.model
    if model.weights_file not in bundle.manifest.files:
        raise _other_network(bundle, model.name, f"it has no {model.weights_file}")
    from danlu.models.stored_network import read_network

    try:
        read_network(network, model, bundle)
    except (RuntimeError, ArtifactError) as error:
        raise _other_network(bundle, model.name, str(error).strip().splitlines()[-1].strip()) from error


def _other_network(bundle: Bundle, name: str, why: str) -> ArgumentError:
    return ArgumentError(
        f"{KEY}: the weights of {bundle.folder} do not fit {name} as this recipe builds it: {why}; leave the model's "
        "size and settings as they were",
        code="DL273",
    )


def earlier_structure(context: "DataContext") -> Structure | None:
    """Return the sizes of the earlier run's network that differ from its options; or None."""
    return None if context.recipe.training.from_run is None else _bundle(context).manifest.structure


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
    known = run.environment()["from"]["weights"]
    if _bundle(context).manifest.files.get(context.model.weights_file) != known:
        raise ArtifactError(
            f"{run.path}: the run that it begins from ({KEY}) has changed since; restore it, or train again",
            code="DL313",
        )


def _bundle(context: "DataContext") -> Bundle:
    path = context.recipe.training.from_run
    assert path is not None
    return open_checked(path)
