"""danlu deploy BUNDLE --container ... | RECIPE --training slurm|kubeflow|ray"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from danlu.cli.options import Json, Overwrite
from danlu.cli.show import print_document
from danlu.core.console import info
from danlu.errors import ArgumentError


def deploy(
    source: Annotated[str | None, Parameter(help="A bundle or a run; with --training a recipe.")] = None,
    *,
    container: Annotated[
        bool, Parameter(help="Dockerfile, requirements, danlu's wheel, bill of materials, the bundle.", negative=())
    ] = False,
    compose: Annotated[bool, Parameter(help="A compose file that serves the image here.", negative=())] = False,
    kubernetes: Annotated[
        bool, Parameter(help="Manifests, with resources measured on the bundle.", negative=())
    ] = False,
    kserve: Annotated[bool, Parameter(help="An InferenceService of KServe.", negative=())] = False,
    edge: Annotated[
        bool,
        Parameter(help="The model in ONNX with a runner that needs onnxruntime and numpy, not danlu.", negative=()),
    ] = False,
    hashes: Annotated[
        bool, Parameter(help="Ask pip's package index for the SHA-256 of each package; uses the network.", negative=())
    ] = False,
    engine: Annotated[str, Parameter(help="What answers in the image; auto for the bundle's own order.")] = "auto",
    workers: Annotated[int, Parameter(help="Processes that answer in a container.")] = 1,
    replicas: Annotated[int | None, Parameter(help="A fixed number of pods; else an autoscaler decides.")] = None,
    trusted: Annotated[
        tuple[Path, ...],
        Parameter(help="A public key; the image's server wants the bundle signed by it. May be repeated.", negative=()),
    ] = (),
    onnxruntime_web: Annotated[
        Path | None, Parameter(help="For --edge: the npm package onnxruntime-web; adds a page for browsers.")
    ] = None,
    training: Annotated[
        Literal["slurm", "kubeflow", "ray"] | None,
        Parameter(help="The cluster: slurm (an sbatch script), kubeflow (a TrainJob) or ray (a Ray Train program)."),
    ] = None,
    nodes: Annotated[int, Parameter(help="With --training: number of machines.")] = 1,
    gpus: Annotated[int, Parameter(help="GPUs per machine, one process each; 0 trains on the CPU.")] = 8,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Folder for the files.")] = Path("deploy"),
    name: Annotated[str | None, Parameter(help="Name of the job and its run; the recipe's by default.")] = None,
    image: Annotated[
        str | None, Parameter(help="The image's name and tag; for Kubeflow, one with danlu installed.")
    ] = None,
    partition: Annotated[str | None, Parameter(help="For SLURM: the partition.")] = None,
    time: Annotated[
        str, Parameter(help="For SLURM: the time limit; before it a checkpoint is written and the job is queued again.")
    ] = "24:00:00",
    storage: Annotated[str, Parameter(help="For Kubeflow: the size of the volume for data and runs.")] = "100Gi",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write what serves a bundle, or what trains a recipe on an existing cluster."""
    from danlu.api.deploy import USES, deploy_bundle
    from danlu.api.deploy import deploy as deploy_verb

    if source is None:
        raise ArgumentError(USES, code="DL401")
    if training is not None:
        written = deploy_verb(
            source,
            training=training,
            container=container,
            compose=compose,
            kubernetes=kubernetes,
            kserve=kserve,
            edge=edge,
            nodes=nodes,
            gpus=gpus,
            output=output,
            name=name,
            image=image,
            partition=partition,
            time=time,
            storage=storage,
            overwrite=overwrite,
        )
        if as_json:
            print_document({"files": [{"path": str(file), "kind": "training"} for file in written]})
        info(f"wrote {', '.join(map(str, written))}; the first lines of {written[0].name} explain how to use it")
        return
    document = deploy_bundle(
        source,
        asked={
            "container": container,
            "compose": compose,
            "kubernetes": kubernetes and {"replicas": replicas},
            "kserve": kserve,
            "edge": edge,
            "hashes": hashes,
            "image": image,
            "server": {"engine": engine, "workers": workers},
        },
        trusted=trusted,
        onnxruntime_web=onnxruntime_web,
        output=output,
        overwrite=overwrite,
    )
    if as_json:
        print_document(document)
    else:
        info(f"wrote {len(document['files'])} files into {output}")
