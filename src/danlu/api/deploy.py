"""`danlu deploy`: write the files that serve a bundle, or that train a recipe on an existing cluster."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.files import StrPath, translate_write_errors, write_bytes, write_text
from danlu.core.arguments import checked
from danlu.core.component import first_fault
from danlu.errors import ArgumentError
from danlu.launch.clusters import CLUSTERS, ClusterKind, TrainingJob
from danlu.launch.processes import check_processes
from danlu.recipe.load import BUILTIN, find_recipe, load_recipe, recipe_files

USES = (
    "danlu deploy has two uses: BUNDLE -o DIR with --container, --compose, --kubernetes, --kserve or --edge writes "
    "what serves a bundle; RECIPE --training slurm, kubeflow or ray writes what trains a recipe on a cluster"
)


@checked
def deploy(
    source: StrPath | None = None,
    *,
    training: ClusterKind | None = None,
    container: bool = False,
    compose: bool = False,
    kubernetes: bool = False,
    kserve: bool = False,
    edge: bool = False,
    hashes: bool = False,
    engine: str = "auto",
    workers: PositiveInt = 1,
    replicas: PositiveInt | None = None,
    trusted: StrPath | Sequence[StrPath] = (),
    onnxruntime_web: StrPath | None = None,
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
    """Write what serves a bundle, or what trains a recipe on a cluster.

    A bundle is served and measured here first, with nothing but the packages that its image installs. Nothing is built
    and nothing is sent.

    Args:
        source: a bundle or a run; with `training` a recipe file, or the name of a built-in recipe. Its data is not
            copied.
        training: the kind of cluster; None for a bundle.
        container: Dockerfile, requirements, danlu's wheel, bill of materials, the bundle.
        compose: a compose file that serves the image on one machine.
        kubernetes: manifests, with resources as they were measured.
        kserve: an InferenceService of KServe.
        edge: a folder with the model in ONNX and a runner that needs onnxruntime and numpy alone.
        hashes: ask the package index that pip is configured for, for the SHA-256 of each package.
        engine: what answers in the image; `auto` for the bundle's own order.
        workers: processes that answer in a container.
        replicas: a fixed number of pods; None for an autoscaler.
        trusted: files of public keys: the server in the image refuses the bundle unless one of them has signed it.
        onnxruntime_web: that npm package, as `npm pack onnxruntime-web` writes it, for a page in the edge folder.
        output: folder for the files.
        nodes: number of machines.
        gpus: GPUs per machine, one process per GPU; 0 trains on the CPU.
        name: of the job and the run; by default the recipe's name.
        image: the image's name and tag; for Kubeflow, one with danlu installed.
        partition: for SLURM, the partition.
        time: for SLURM, the time limit; training writes a checkpoint before it and the job is queued again.
        storage: for Kubeflow, the size of the volume for data and runs.
        overwrite: replace existing files.

    Returns:
        the written files.

    Raises:
        RecipeError: as training would.
        ArgumentError: the processes do not fit the recipe, a file exists already, or an option is missing.
        ArtifactError: the bundle is damaged, or does not answer as recorded.
        MissingExtra: packages that serve or write the bundle are not installed.

    Example:
        >>> import danlu
        >>> [file.name for file in danlu.deploy("wine", training="slurm", nodes=2, gpus=8)]
        ['train.sbatch']
    """
    if source is None:
        raise ArgumentError(USES, code="DL401")
    if training is None:
        told = deploy_bundle(
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
            trusted=[trusted] if isinstance(trusted, str | os.PathLike) else trusted,
            onnxruntime_web=onnxruntime_web,
            output=Path(output),
            overwrite=overwrite,
        )
        return tuple(Path(output) / file["path"] for file in told["files"])
    if container or compose or kubernetes or kserve or edge:
        raise ArgumentError(f"--training is for a recipe, the other forms are for a bundle. {USES}", code="DL401")
    return _deploy_training(
        str(source), training, Path(output), nodes, gpus, name, image, partition, time, storage, overwrite
    )


def deploy_bundle(
    bundle: StrPath,
    *,
    asked: dict[str, Any],
    trusted: Sequence[StrPath],
    onnxruntime_web: StrPath | None,
    output: Path,
    overwrite: bool,
) -> dict[str, Any]:
    """Write what serves a bundle, and return the document of what was written.

    Args:
        asked: keys of the recipe's section `deployment`.

    Raises:
        ArgumentError, ArtifactError, MissingExtra: as `deploy`.
    """
    from pydantic import ValidationError

    from danlu.deployment.write import Places, write_deployment
    from danlu.recipe.sections.deployment import Deployment

    try:
        options = Deployment.model_validate(asked)
    except ValidationError as error:
        raise ArgumentError(first_fault(error), code="DL402") from None
    if onnxruntime_web is not None and not options.edge:
        raise ArgumentError("--onnxruntime-web is for the page of --edge; give both", code="DL401")
    folder = Path(bundle)
    if not (folder / MANIFEST).is_file() and not (folder / "model" / MANIFEST).is_file():
        raise ArgumentError(f"{bundle}: is neither a bundle nor a run. {USES}", code="DL402")
    if output.exists() and not overwrite:
        raise _exists(output)
    web = None if onnxruntime_web is None else Path(onnxruntime_web)
    return write_deployment(bundle, options, output, Places(tuple(map(Path, trusted)), web))


def _deploy_training(
    recipe: str,
    training: ClusterKind,
    folder: Path,
    nodes: int,
    gpus: int,
    name: str | None,
    image: str | None,
    partition: str | None,
    time: str,
    storage: str,
    overwrite: bool,
) -> tuple[Path, ...]:
    """Write a scheduler file and a copy of the recipe."""
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
    targets = (folder / script, *(folder / path for path in copies))
    for target in targets:
        if (
            target.exists()
            and not overwrite
            and target.resolve() not in {source.resolve() for source in copies.values()}
        ):
            raise _exists(target)
    with translate_write_errors(folder):
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
    write_text(folder / script, write(job))
    for path, source in copies.items():
        if (folder / path).resolve() != source.resolve():
            write_bytes(folder / path, source.read_bytes())
    return targets


def _exists(path: Path) -> ArgumentError:
    return ArgumentError(
        f"{path}: exists already; choose another --output, or replace it with --overwrite", code="DL404"
    )


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
