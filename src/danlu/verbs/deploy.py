"""`danlu deploy --training`: the files with which a cluster that exists trains a recipe."""

import re
from pathlib import Path

from danlu.artifacts.files import write_bytes, write_text, writing
from danlu.core.errors import ArgumentError
from danlu.deployment.training import TRAINING, Job, System
from danlu.recipe.load import BUILTIN, find_recipe, load_recipe, recipe_files
from danlu.verbs.launch import check_fit


def deploy(
    recipe: str | Path,
    training: System,
    output: str | Path = "deploy",
    *,
    nodes: int = 1,
    gpus: int = 8,
    name: str | None = None,
    image: str | None = None,
    partition: str | None = None,
    time: str = "24:00:00",
    storage: str = "100Gi",
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write what a cluster needs to train a recipe: a file for its scheduler, and the recipe beside it.

    Args:
        recipe: a file, or the name of a built-in recipe. Its data is not copied.
        training: whose cluster it is.
        output: a folder for the files.
        nodes: machines to train on.
        gpus: of each machine, a process for each; 0 trains on its CPU.
        name: of the job and the run; the recipe's when left out.
        image: for Kubeflow, a container image with danlu in it.
        partition: for SLURM, of which nodes.
        time: for SLURM, a limit before which training stops with a checkpoint and is queued again.
        storage: for Kubeflow, the size of the volume for data and runs.
        overwrite: replace files that are there.

    Returns:
        the files.

    Raises:
        RecipeError: as training would.
        ArgumentError: the processes do not fit the recipe, a file is there already, or something is missing.
    """
    file, loaded = find_recipe(recipe), load_recipe(recipe)
    if nodes < 1 or gpus < 0:
        raise ArgumentError(f"--nodes {nodes} --gpus {gpus}: there must be one node at least, and no fewer than 0 GPUs")
    if training == "kubeflow" and image is None:
        raise ArgumentError("--training kubeflow needs --image: a container image that danlu is installed in")
    if not re.fullmatch(r"(\d+-)?\d+(:\d\d){0,2}", time):
        raise ArgumentError(f"--time {time}: is not a time as SLURM takes it, such as 24:00:00 or 2-12:00:00")
    builtin = file.parent == BUILTIN
    name = name or loaded.name
    if not re.fullmatch(r"[\w.-]+", name):
        raise ArgumentError(f"--name {name}: a folder and a job are called so; use letters, digits, '-', '_' and '.'")
    job = Job(name, str(recipe) if builtin else file.name, nodes, gpus, image, partition, time, storage)
    check_fit(loaded, job.nodes * job.processes_a_node)
    copies = {} if builtin else _beside(file)
    script, write = TRAINING[training]
    folder = Path(output)
    targets = (folder / script, *(folder / path for path in copies))
    for target in targets:
        if (
            target.exists()
            and not overwrite
            and target.resolve() not in {source.resolve() for source in copies.values()}
        ):
            raise ArgumentError(f"{target}: there already; choose another --output, or say --overwrite to replace it")
    with writing(folder):
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
    write_text(folder / script, write(job))
    for path, source in copies.items():
        if (folder / path).resolve() != source.resolve():
            write_bytes(folder / path, source.read_bytes())
    return targets


def _beside(recipe: Path) -> dict[Path, Path]:
    """A recipe and what it extends, each with its path from the recipe's folder.

    Raises:
        ArgumentError: it extends a file of another folder, which would not be found from where it is copied to.
    """
    folder, found = recipe.parent.resolve(), {}
    for file in recipe_files(recipe):
        if not file.resolve().is_relative_to(folder):
            raise ArgumentError(f"{recipe}: extends {file}, which is in another folder; put it beside the recipe")
        found[file.resolve().relative_to(folder)] = file
    return found
