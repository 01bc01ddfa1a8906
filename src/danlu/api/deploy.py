"""`danlu deploy --training`: write the files that train a recipe on an existing cluster."""

import re
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from danlu.artifacts.files import translate_write_errors, write_bytes, write_text
from danlu.core.arguments import checked
from danlu.errors import ArgumentError
from danlu.launch.clusters import CLUSTERS, ClusterKind, TrainingJob
from danlu.launch.processes import check_processes
from danlu.recipe.load import BUILTIN, find_recipe, load_recipe, recipe_files


@checked
def deploy(
    recipe: str | Path,
    *,
    training: ClusterKind,
    output: str | Path = "deploy",
    nodes: PositiveInt = 1,
    gpus: NonNegativeInt = 8,
    name: str | None = None,
    image: str | None = None,
    partition: str | None = None,
    time: str = "24:00:00",
    storage: str = "100Gi",
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write a scheduler file and a copy of the recipe for a cluster.

    Args:
        recipe: a file, or the name of a built-in recipe. Its data is not copied.
        training: the kind of cluster.
        output: folder for the files.
        nodes: number of machines.
        gpus: GPUs per machine, one process per GPU; 0 trains on the CPU.
        name: of the job and the run; by default the recipe's name.
        image: for Kubeflow, a container image with danlu installed.
        partition: for SLURM, the partition.
        time: for SLURM, the time limit; training writes a checkpoint before it and the job is queued again.
        storage: for Kubeflow, the size of the volume for data and runs.
        overwrite: replace existing files.

    Returns:
        the written files.

    Raises:
        RecipeError: as training would.
        ArgumentError: the processes do not fit the recipe, a file exists already, or an option is missing.

    Example:
        >>> import danlu
        >>> [file.name for file in danlu.deploy("wine", training="slurm", nodes=2, gpus=8)]
        ['train.sbatch']
    """
    script, write = CLUSTERS[training]
    file, loaded = find_recipe(recipe), load_recipe(recipe)
    if training == "kubeflow" and image is None:
        raise ArgumentError("--training kubeflow needs --image: a container image with danlu installed", code="DL401")
    if not re.fullmatch(r"(\d+-)?\d+(:\d\d){0,2}", time):
        raise ArgumentError(f"--time {time}: is not a SLURM time limit such as 24:00:00 or 2-12:00:00", code="DL402")
    builtin = file.parent == BUILTIN
    name = name or loaded.name
    if not re.fullmatch(r"[\w.-]+", name):
        raise ArgumentError(
            f"--name {name}: names a job and a folder; use only letters, digits, '-', '_' and '.'", code="DL402"
        )
    job = TrainingJob(name, str(recipe) if builtin else file.name, nodes, gpus, image, partition, time, storage)
    check_processes(loaded, job.nodes * job.processes_per_node)
    copies = {} if builtin else _recipe_files(file)
    folder = Path(output)
    targets = (folder / script, *(folder / path for path in copies))
    for target in targets:
        if (
            target.exists()
            and not overwrite
            and target.resolve() not in {source.resolve() for source in copies.values()}
        ):
            raise ArgumentError(
                f"{target}: exists already; choose another --output, or replace it with --overwrite", code="DL404"
            )
    with translate_write_errors(folder):
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
    write_text(folder / script, write(job))
    for path, source in copies.items():
        if (folder / path).resolve() != source.resolve():
            write_bytes(folder / path, source.read_bytes())
    return targets


def _recipe_files(recipe: Path) -> dict[Path, Path]:
    """Return the recipe and the files it extends, by path relative to its folder.

    Raises:
        ArgumentError: it extends a file outside that folder, which the copy would not find.
    """
    folder, found = recipe.parent.resolve(), {}
    for file in recipe_files(recipe):
        if not file.resolve().is_relative_to(folder):
            raise ArgumentError(
                f"{recipe}: extends {file}, which is in another folder; move it next to the recipe", code="DL103"
            )
        found[file.resolve().relative_to(folder)] = file
    return found
