"""danlu deploy RECIPE --training slurm|kubeflow|ray"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from danlu.cli.options import Overwrite, RecipeArgument
from danlu.core.console import info


def deploy(
    recipe: RecipeArgument,
    *,
    training: Annotated[
        Literal["slurm", "kubeflow", "ray"],
        Parameter(help="The cluster: slurm (an sbatch script), kubeflow (a TrainJob) or ray (a Ray Train program)."),
    ],
    nodes: Annotated[int, Parameter(help="Number of machines.")] = 1,
    gpus: Annotated[int, Parameter(help="GPUs per machine, one process each; 0 trains on the CPU.")] = 8,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Folder for the files.")] = Path("deploy"),
    name: Annotated[str | None, Parameter(help="Name of the job and its run; the recipe's by default.")] = None,
    image: Annotated[str | None, Parameter(help="For Kubeflow: a container image with danlu installed.")] = None,
    partition: Annotated[str | None, Parameter(help="For SLURM: the partition.")] = None,
    time: Annotated[
        str, Parameter(help="For SLURM: the time limit; before it a checkpoint is written and the job is queued again.")
    ] = "24:00:00",
    storage: Annotated[str, Parameter(help="For Kubeflow: the size of the volume for data and runs.")] = "100Gi",
    overwrite: Overwrite = False,
) -> None:
    """Write the files that train a recipe on an existing cluster."""
    from danlu.api.deploy import deploy as deploy_verb

    written = deploy_verb(
        recipe,
        training=training,
        output=output,
        nodes=nodes,
        gpus=gpus,
        name=name,
        image=image,
        partition=partition,
        time=time,
        storage=storage,
        overwrite=overwrite,
    )
    info(f"wrote {', '.join(map(str, written))}; the first lines of {written[0].name} explain how to use it")
