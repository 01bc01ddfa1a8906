"""danlu deploy RECIPE --training slurm|kubeflow|ray"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from danlu.cli.options import Overwrite, RecipeArgument
from danlu.core.console import say


def deploy(
    recipe: RecipeArgument,
    *,
    training: Annotated[
        Literal["slurm", "kubeflow", "ray"],
        Parameter(help="The cluster: an sbatch script, a TrainJob of Kubeflow Trainer, a program for Ray Train."),
    ],
    nodes: Annotated[int, Parameter(help="Machines to train on.")] = 1,
    gpus: Annotated[int, Parameter(help="GPUs of each machine, a process for each; 0 trains on its CPU.")] = 8,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="A folder for the files.")] = Path("deploy"),
    name: Annotated[str | None, Parameter(help="Of the job and its run; the recipe's by default.")] = None,
    image: Annotated[str | None, Parameter(help="For Kubeflow: a container image that danlu is installed in.")] = None,
    partition: Annotated[str | None, Parameter(help="For SLURM: of which nodes.")] = None,
    time: Annotated[
        str, Parameter(help="For SLURM: the limit, before which a checkpoint is written and the job queued again.")
    ] = "24:00:00",
    storage: Annotated[str, Parameter(help="For Kubeflow: the size of the volume for data and runs.")] = "100Gi",
    overwrite: Overwrite = False,
) -> None:
    """Write the files with which a cluster that exists trains a recipe."""
    from danlu.verbs.deploy import deploy as deploy_verb

    written = deploy_verb(
        recipe,
        training,
        output,
        nodes=nodes,
        gpus=gpus,
        name=name,
        image=image,
        partition=partition,
        time=time,
        storage=storage,
        overwrite=overwrite,
    )
    say(f"wrote {', '.join(map(str, written))}; the first lines of {written[0].name} say how to use it")
