"""Arguments that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from danlu.errors import ArgumentError

if TYPE_CHECKING:
    from danlu.recipe.schema import Recipe

RecipeArgument = Annotated[str, Parameter(help="A recipe file, or the name of a built-in one such as breast-cancer.")]
OptionalRecipe = Annotated[
    str | None, Parameter(help="A recipe file, or the name of a built-in one such as breast-cancer.")
]
Overrides = Annotated[
    tuple[str, ...],
    Parameter(name="--set", help="Override a key, as in training.optimizer.lr=3e-4. May be repeated.", negative=()),
]
Output = Annotated[Path, Parameter(name=["--output", "-o"], help="Folder of runs.")]
Name = Annotated[str | None, Parameter(help="The run's folder inside it; the recipe's name and the time by default.")]
Overwrite = Annotated[bool, Parameter(help="Replace what exists under that name.", negative=())]
Json = Annotated[bool, Parameter(name="--json", help="Print JSON on stdout and nothing else there.", negative=())]
OwnCode = Annotated[
    bool, Parameter(help="Import the module that the bundle names, if its model is your own.", negative=())
]
Lang = Annotated[
    Literal["en", "zh"] | None,
    Parameter(name="--lang", help="Language of what is written: en or zh; the console follows."),
]
EngineName = Annotated[
    str,
    Parameter(
        name="--engine",
        help="What computes the network: auto for the bundle's own order, or numpy, torch, onnxruntime or openvino.",
    ),
]
Resume = Annotated[
    Path | None,
    Parameter(help="Resume a run that was stopped or killed from its newest checkpoint, with its own recipe."),
]
FromRun = Annotated[
    Path | None,
    Parameter(
        name="--from", help="Begin from the weights of this finished run, with its recipe unless another is given."
    ),
]
Profile = Annotated[bool, Parameter(help="Write a profile of some steps into the run's folder `profile`.", negative=())]
DryRun = Annotated[bool, Parameter(help="Send two batches through every stage and write nothing.", negative=())]
Processes = Annotated[
    int | None, Parameter(help="Start this many processes on this machine, which train together; usually one per GPU.")
]
Restarts = Annotated[
    int | None,
    Parameter(help="With --processes: how many times all restart from the newest checkpoint after one was killed (3)."),
]
DEFAULT_RESTARTS = 3
Temperature = Annotated[float, Parameter(help="Divides the logits: below 1 less random, above 1 more random.")]
TopK = Annotated[int | None, Parameter(help="Sample only from this many most likely tokens.")]
TopP = Annotated[float | None, Parameter(help="Sample only from the most likely tokens with this total probability.")]
MinP = Annotated[
    float | None, Parameter(help="Sample only tokens with at least this share of the highest probability.")
]
RepetitionPenalty = Annotated[float, Parameter(help="Above 1, tokens that occurred already become less likely.")]
Greedy = Annotated[bool, Parameter(help="Always take the most likely token.", negative=())]


def check_recipe_or_resume(
    recipe: str | None, resume: Path | None, overrides: tuple[str, ...], name: str | None, from_run: Path | None = None
) -> None:
    """Raise ArgumentError unless a recipe or a run is given."""
    if resume is not None and from_run is not None:
        raise ArgumentError(
            "--resume goes on with a run that was stopped, --from begins a new one from a finished run's weights; "
            "leave one of them out",
            code="DL401",
        )
    if (recipe is None and from_run is None) == (resume is None):
        raise ArgumentError(
            "give either a recipe, or --from with a finished run, or --resume with a run that was stopped", code="DL401"
        )
    if resume is not None and (overrides or name):
        raise ArgumentError("--resume uses the run's own recipe and folder; leave out --set and --name", code="DL401")


def recipe_to_run(recipe: str | None, overrides: tuple[str, ...], from_run: Path | None) -> "Recipe":
    """Return a new run's recipe, its own or that of the earlier run."""
    from danlu.experiment.earlier_run import recipe_from_run, with_earlier_run
    from danlu.recipe.load import load_recipe

    if from_run is None:
        return load_recipe(str(recipe), overrides=overrides)
    if recipe is None:
        return recipe_from_run(from_run, overrides)
    return with_earlier_run(load_recipe(recipe, overrides=overrides), from_run)


def recipe_file(recipe: str | None, from_run: Path | None) -> str | None:
    """Return a recipe's file, or that of the earlier run's recipe."""
    from danlu.artifacts.ownership import RECIPE
    from danlu.artifacts.run import RunDirectory

    return recipe if recipe is not None or from_run is None else str(RunDirectory.open(from_run).path / RECIPE)


def resolve_restarts(restarts: int | None, processes: int | None) -> int:
    """Return the number of restarts of a launch; ArgumentError without a launch."""
    if restarts is not None and processes is None:
        raise ArgumentError(
            "--restarts counts how often a launch with --processes begins again; add --processes, or leave it out",
            code="DL401",
        )
    return DEFAULT_RESTARTS if restarts is None else restarts
