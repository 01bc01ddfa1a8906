"""`danlu train`: a recipe becomes a run directory with a trained bundle."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.bundle import CONFIG, FORMAT, WEIGHTS, Manifest, write_manifest
from danlu.artifacts.checkpoints import save_weights
from danlu.artifacts.environment import environment, versions
from danlu.artifacts.files import whole_folder, write_json, write_text
from danlu.artifacts.run import ENVIRONMENT, RECIPE, RunDirectory
from danlu.core.console import progress, say
from danlu.core.device import find_device, make_deterministic
from danlu.core.seeds import Seed
from danlu.data.clean import in_words
from danlu.evaluation.evaluate import truth
from danlu.evaluation.metrics import METRICS, compute_metrics
from danlu.recipe.load import as_recipe, dump_recipe
from danlu.recipe.schema import Recipe
from danlu.verbs.feeding import examples_of_part, training_feed
from danlu.verbs.prepare import Opened, Prepared, fit_preparation, open_data, shorten, write_data

if TYPE_CHECKING:
    import torch
    from torch import nn

    from danlu.data.balance.apply import Balanced
    from danlu.data.examples import Examples


def train(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output: str | Path = "runs",
    name: str | None = None,
    overwrite: bool = False,
) -> RunDirectory:
    """Train a model.

    Args:
        recipe: a Recipe, plain values, a file or a built-in's name.
        output: the folder of runs.
        name: the run's folder below it; the recipe's name and the time when left out.
        overwrite: replace a run of that name.

    Returns:
        the run, its bundle under `model`. Not evaluated yet.

    Raises:
        RecipeError, DataError, ArgumentError, MissingExtra: before anything is written.
        ArtifactError: the run cannot be written.
    """
    return train_opened(open_data(as_recipe(recipe)), Path(output), name, overwrite)


def train_opened(opened: Opened, output: Path, name: str | None, overwrite: bool, dry: bool = False) -> RunDirectory:
    """Train on data that is open already; `dry` takes two batches of each part and two steps.

    Everything that can be wrong with the user's input has been met before the run's folder is made.
    """
    import torch

    make_deterministic()
    prepared = fit_preparation(opened)
    whole = opened
    if dry:
        opened = shorten(opened)
    seed, device = Seed(opened.recipe.seed), find_device()
    # Synthetic rows need neighbours, which two batches of a table may not hold.
    balanced = training_feed(whole if opened.dataset.kind == "tabular" else opened, prepared, device)
    validation = examples_of_part(opened, prepared, opened.splits.validation).settle(device)
    torch.manual_seed(seed.derive("weights").value)
    model = opened.model.build(prepared.preprocessor.inputs, prepared.target.outputs)
    size_bytes = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    # Two checkpoints, a third while it is written, and the bundle.
    run = RunDirectory.create(output, opened.recipe.name, name, overwrite, needed_bytes=4 * size_bytes + (1 << 20))
    with run:
        write_text(run.path / RECIPE, dump_recipe(opened.recipe))
        write_json(run.path / ENVIRONMENT, environment(str(device), opened.recipe.seed, torch.get_num_threads()))
        _say_what_was_found(opened)
        write_data(opened, run, balanced.profile())
        _fit(model.to(device), opened, prepared, balanced, validation, device, run)
        write_bundle(run, opened, prepared, model)
    return run


def _say_what_was_found(opened: Opened) -> None:
    """A line about rows that were left out, and one about the audit, where there is something to say."""
    serious = [finding for finding in opened.findings if finding.severity != "note"]
    if serious:
        subjects = ", ".join(dict.fromkeys(finding.subject for finding in serious))
        say(f"the audit warns of {subjects}; the report says more, and `danlu check` how to mend it")
    if opened.dropped.height:
        origin, height = opened.dataset.origin, opened.dataset.frame.height
        say(f"{origin}: left out {opened.dropped.height:,} of {height:,} rows: {in_words(opened.dropped)}")


def _fit(
    model: "nn.Module",
    opened: Opened,
    prepared: Prepared,
    balanced: "Balanced",
    validation: "Examples",
    device: "torch.device",
    run: RunDirectory,
) -> None:
    """Run the loop and say how it ended."""
    from danlu.models.heads import HEADS
    from danlu.models.infer import answers, mean_loss
    from danlu.training.loop import plan_steps
    from danlu.training.loop import train as train_loop

    options = opened.recipe.training
    head, batch_size, feed = HEADS[opened.dataset.task], options.batch_size or 1, balanced.feed
    watched = options.early_stopping.metric.removeprefix("validation/") if options.early_stopping else "loss"

    def validate(network: "nn.Module") -> dict[str, float]:
        figures = {"validation/loss": mean_loss(network, head, validation, batch_size, device)}
        if watched != "loss":
            found = answers(network, head, validation, batch_size, device)
            judged = truth(opened.splits.validation, prepared.target, found, opened.dataset.content)
            # A metric may be undefined, as AUROC is where a class is absent; then there is nothing to log.
            figures |= {f"validation/{name}": value for name, value in compute_metrics((watched,), judged).items()}
        return figures

    plan = plan_steps(feed.length, options)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(
        f"training {opened.model.name} ({parameters:,} parameters) on {feed.length:,} samples: "
        f"{plan.steps:,} steps of {batch_size} on {device}"
    )
    with progress("training", plan.steps * batch_size, "samples") as bar:
        outcome = train_loop(
            model,
            head,
            feed,
            replace(balanced.emphasis, smoothing=options.label_smoothing),
            options,
            Seed(opened.recipe.seed),
            device,
            validate,
            higher_is_better=watched != "loss" and METRICS[watched].higher_is_better,
            run=run,
            progress=bar,
        )
    say(
        f"trained {outcome.steps:,} steps, {outcome.ended}; kept the weights of step {outcome.best_step:,} "
        f"(validation {watched} {outcome.best:.4f})"
    )


def write_bundle(run: RunDirectory, opened: Opened, prepared: Prepared, model: "nn.Module") -> None:
    """Write the trained model with all it needs to answer raw rows."""
    options = opened.model.portable()
    kept = set(prepared.preprocessor.columns)
    manifest = Manifest(
        format=FORMAT,
        name=opened.recipe.name,
        kind=opened.dataset.kind,
        task=opened.dataset.task,
        columns=tuple({"name": c.name, "type": c.type} for c in opened.dataset.columns if c.name in kept),
        output=prepared.target.model_dump(mode="json"),
        preprocessing=prepared.preprocessor.model_dump(mode="json"),
        batch_size=opened.recipe.training.batch_size or 1,
        versions=versions(),
    )
    with whole_folder(run.model) as folder:
        save_weights(model.cpu(), folder / WEIGHTS)
        write_json(folder / CONFIG, options.model_dump(mode="json"))
        write_manifest(folder, manifest)
