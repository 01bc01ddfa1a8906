"""Files that train a recipe on an existing cluster: an sbatch script, a Kubeflow TrainJob, a Ray Train program.

Each resumes the run if it exists, so submitting the same file again continues after a time limit, a lost node or a
mistake. All processes must see the folder with the recipe and the runs.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ClusterKind = Literal["slurm", "kubeflow", "ray"]
RESTARTS = 3
STOP_BEFORE_LIMIT_S = 120  # signal this long before the time limit, to finish a step and write a checkpoint
WORKSPACE = "/workspace"  # where a pod finds the recipe, the data and the runs
GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class TrainingJob:
    """Hold a training job and the resources it requests.

    Attributes:
        name: of the job and of the run's folder.
        recipe: file name, or name of a built-in recipe.
        nodes: number of machines.
        gpus: per machine; 0 trains on the CPU.
        image: container image with danlu installed.
        partition: SLURM partition; SLURM's default if None.
        time: SLURM time limit, such as 24:00:00.
        storage: size of the Kubernetes volume.
    """

    name: str
    recipe: str
    nodes: int = 1
    gpus: int = 8
    image: str | None = None
    partition: str | None = None
    time: str = "24:00:00"
    storage: str = "100Gi"

    @property
    def processes_per_node(self) -> int:
        """Processes per node: one per GPU, at least one."""
        return max(1, self.gpus)

    @property
    def kubernetes_name(self) -> str:
        """The name as a Kubernetes label."""
        return kubernetes_name(self.name)


def kubernetes_name(name: str) -> str:
    """Return a name as a Kubernetes label (RFC 1035), with room for suffixes."""
    found = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (found if found[:1].isalpha() else f"run-{found}")[:40].rstrip("-")


def slurm_script(job: TrainingJob) -> str:
    """Return an sbatch script: one torchrun per node, with rendezvous on the first node."""
    return _render(
        "slurm.sh.j2", job, name=shlex.quote(job.name), recipe=shlex.quote(job.recipe), stop_s=STOP_BEFORE_LIMIT_S
    )


def kubeflow_manifests(job: TrainingJob) -> str:
    """Return a volume claim and a TrainJob.

    It needs Kubeflow Trainer 2.2 or newer and uses its runtime `torch-distributed`.
    """
    return manifest_text(_render("kubeflow.txt.j2", job), _volume_claim(job), _trainjob_manifest(job))


def manifest_text(comment: str, *documents: Mapping[str, Any]) -> str:
    """Return documents of YAML below a comment."""
    from io import StringIO

    from ruamel.yaml import YAML

    writer, text = YAML(), StringIO()
    writer.width = 120
    writer.explicit_start = True
    writer.representer.ignore_aliases = lambda _: True
    text.write(comment)
    for document in documents:
        writer.dump(document, text)
    return text.getvalue()


def ray_program(job: TrainingJob) -> str:
    """Return a Ray Train program whose workers call danlu."""
    return _render(
        "ray_train.py.j2",
        job,
        name=json.dumps(job.name),
        recipe=json.dumps(job.recipe),
        workers=job.nodes * job.processes_per_node,
    )


# File name and content for each kind of cluster.
CLUSTERS: dict[ClusterKind, tuple[str, Callable[[TrainingJob], str]]] = {
    "slurm": ("train.sbatch", slurm_script),
    "kubeflow": ("trainjob.yaml", kubeflow_manifests),
    "ray": ("ray_train.py", ray_program),
}


def _volume_claim(job: TrainingJob) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{job.kubernetes_name}-workspace"},
        # Every node writes its shard of a checkpoint.
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": job.storage}}},
    }


def _trainjob_manifest(job: TrainingJob) -> dict[str, Any]:
    from ruamel.yaml.scalarstring import LiteralScalarString

    command = _render(
        "pod.sh.j2", job, name=shlex.quote(job.name), recipe=shlex.quote(job.recipe), identity=job.kubernetes_name
    )
    trainer: dict[str, Any] = {
        "image": job.image,
        "command": ["/bin/bash", "-c"],
        "args": [LiteralScalarString(command)],
        "numNodes": job.nodes,
        "numProcPerNode": job.processes_per_node,
    }
    if job.gpus:
        trainer["resourcesPerNode"] = {"requests": {GPU: job.gpus}, "limits": {GPU: job.gpus}}
    pod = {
        "volumes": [
            {"name": "workspace", "persistentVolumeClaim": {"claimName": f"{job.kubernetes_name}-workspace"}},
            # NCCL needs more shared memory between the processes of a node than a pod's default 64 MB.
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ],
        "containers": [
            {
                "name": "node",
                "volumeMounts": [
                    {"name": "workspace", "mountPath": WORKSPACE},
                    {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108
                ],
            }
        ],
    }
    node = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
    patch = {"template": {"spec": {"replicatedJobs": [node]}}}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": job.kubernetes_name},
        "spec": {
            "runtimeRef": {"name": "torch-distributed"},
            "trainer": trainer,
            "runtimePatches": [{"manager": "danlu", "trainingRuntimeSpec": patch}],
        },
    }


def _render(template: str, job: TrainingJob, **values: Any) -> str:
    return render("danlu.launch", template, job=job, restarts=RESTARTS, workspace=WORKSPACE, **values)


def render(package: str, template: str, **values: Any) -> str:
    """Return a template of a package's folder `templates`, filled in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701  (no HTML)
        loader=PackageLoader(package, "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)
