"""The files for a cluster hold together and do what they say, as far as that shows without one."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import danlu
from danlu.errors import ArgumentError
from danlu.launch.clusters import TrainingJob
from tests.conftest import DANLU, Command
from tests.support.processes import REPOSITORY

RECIPE = """
name: small
data: {source: builtin:wine, target: cultivar}
training: {epochs: 2}
"""

# In place of SLURM: `srun` runs one task here, `scancel` signals it, `scontrol` notes what was asked of it.
FAKES = {
    "srun": 'while [[ "$1" == --* ]]; do shift; done\necho $$ > "$FAKE/task"\nexec "$@"',
    "scancel": 'echo "scancel $*" >> "$FAKE/log"\nkill -TERM "$(cat "$FAKE/task")"',
    "scontrol": 'if [ "$1" = show ]; then printf "node-a\\nnode-b\\n"; else echo "scontrol $*" >> "$FAKE/log"; fi',
    # Begins a run as danlu would and trains until it is asked to stop; a second time it ends at once.
    "torchrun": """echo "torchrun $*" >> "$FAKE/log"
[ -e runs/small/recipe.yaml ] && { mkdir -p runs/small/model; touch runs/small/model/bundle.json; exit 0; }
mkdir -p runs/small
touch runs/small/recipe.yaml
trap 'echo asked to stop >> "$FAKE/log"; exit 1' TERM
touch "$FAKE/training"
while true; do sleep 0.05; done""",
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "own" / "small.yaml"
    file.parent.mkdir()
    file.write_text(RECIPE, encoding="utf-8")
    return file


def test_an_sbatch_script_asks_for_what_was_said(recipe: Path, tmp_path: Path, danlu: Command) -> None:
    done = danlu(
        "deploy", recipe, "--training", "slurm", "--nodes", 4, "--gpus", 2, "--partition", "a100", "-o", tmp_path
    )
    assert done.returncode == 0, done.stderr
    script = tmp_path / "train.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    asked = [line for line in script.read_text(encoding="utf-8").splitlines() if line.startswith("#SBATCH")]
    for option in ("--nodes=4", "--gpus-per-node=2", "--partition=a100", "--ntasks-per-node=1", "--signal=B:USR1@120"):
        assert f"#SBATCH {option}" in asked
    assert "--nproc-per-node=2 " in script.read_text(encoding="utf-8")
    assert (tmp_path / "small.yaml").read_text(encoding="utf-8") == RECIPE


def test_a_job_of_slurm_stops_before_its_limit_and_goes_on_when_it_is_queued_again(
    recipe: Path, tmp_path: Path
) -> None:
    danlu.deploy(recipe, training="slurm", output=tmp_path, nodes=2)
    environment = slurm_of_straw(tmp_path)
    log = Path(environment["FAKE"]) / "log"
    job = subprocess.Popen(["bash", "train.sbatch"], cwd=tmp_path, env=environment)
    wait_for(Path(environment["FAKE"]) / "training")
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=60) == 0
    first = log.read_text().splitlines()
    assert first[0].endswith("-m danlu train small.yaml --output runs --name small")
    assert "--rdzv-backend=c10d --rdzv-endpoint=node-a:20007 " in first[0]
    assert first[1:] == ["scancel --signal=TERM 7", "asked to stop", "scontrol requeue 7"]

    log.unlink()
    subprocess.run(["bash", "train.sbatch"], cwd=tmp_path, env=environment, check=True, timeout=60)
    assert log.read_text().splitlines()[0].endswith("-m danlu train --resume runs/small")

    log.unlink()
    done = subprocess.run(
        ["bash", "train.sbatch"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "runs/small is trained to its end\n"
    assert not log.exists()


def slurm_of_straw(folder: Path) -> dict[str, str]:
    fakes = folder / "fakes"
    fakes.mkdir()
    for name, script in FAKES.items():
        (fakes / name).write_text(f"#!/bin/bash\n{script}\n")
        (fakes / name).chmod(0o755)
    said = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_JOB_NUM_NODES": "2"}
    return {
        **os.environ,
        **said,
        "FAKE": str(fakes),
        "PATH": f"{fakes}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(folder),
    }


def wait_for(file: Path) -> None:
    end = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def documents(file: Path) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(file.read_text(encoding="utf-8")))


def test_a_train_job_has_its_fields_where_kubeflow_looks_for_them(recipe: Path, tmp_path: Path) -> None:
    danlu.deploy(
        recipe, training="kubeflow", output=tmp_path, nodes=3, gpus=8, name="Churn_2.b", image="example.org/danlu:1"
    )
    claim, job = documents(tmp_path / "trainjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    assert job["metadata"]["name"] == "churn-2-b"
    spec = job["spec"]
    assert spec["runtimeRef"] == {"name": "torch-distributed"}
    trainer = spec["trainer"]
    assert (trainer["image"], trainer["numNodes"], trainer["numProcPerNode"]) == ("example.org/danlu:1", 3, 8)
    assert trainer["resourcesPerNode"]["limits"] == {"nvidia.com/gpu": 8}
    (patch,) = spec["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (node["name"], container["name"]) == ("node", "node")
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    subprocess.run(["bash", "-n", "-c", trainer["args"][0]], check=True)


def test_another_kind_of_cluster_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="training: cannot take 'pbs'; give one of slurm, kubeflow, ray"):
        danlu.deploy(recipe, training="pbs", output=tmp_path)  # type: ignore[arg-type]


def test_a_train_job_without_gpus_asks_for_none(recipe: Path, tmp_path: Path) -> None:
    danlu.deploy(recipe, training="kubeflow", output=tmp_path, gpus=0, image="example.org/danlu:1")
    trainer = documents(tmp_path / "trainjob.yaml")[1]["spec"]["trainer"]
    assert "resourcesPerNode" not in trainer
    assert trainer["numProcPerNode"] == 1


def test_a_pod_meets_the_others_at_the_first(recipe: Path, tmp_path: Path) -> None:
    danlu.deploy(recipe, training="kubeflow", output=tmp_path, nodes=2, image="example.org/danlu:1")
    command = documents(tmp_path / "trainjob.yaml")[1]["spec"]["trainer"]["args"][0]
    environment = slurm_of_straw(tmp_path)
    (tmp_path / "fakes" / "torchrun").write_text('#!/bin/bash\necho "$*"\n')
    said = {"PET_NODE_RANK": "0", "PET_MASTER_ADDR": "small-node-0-0.small", "PET_MASTER_PORT": "29500"}
    for rank, host in (("0", "is_host=1"), ("1", "is_host=0")):
        done = subprocess.run(
            ["bash", "-c", command.replace("/workspace", str(tmp_path))],
            env={**environment, **said, "PET_NODE_RANK": rank},
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"--rdzv-endpoint=small-node-0-0.small:29500 --rdzv-conf={host} -m danlu train small.yaml" in done.stdout


# In place of Ray: one worker in this process, with the process group that Ray would have opened.
FAKE_RAY = """
import torch as pytorch
class Config:
    def __init__(self, **said): self.__dict__.update(said)
FailureConfig = RunConfig = ScalingConfig = TorchConfig = Config
class TorchTrainer:
    def __init__(self, train_loop_per_worker, train_loop_config, torch_config, scaling_config, run_config):
        assert (scaling_config.num_workers, scaling_config.use_gpu) == (1, False)
        assert run_config.failure_config.max_failures == 3
        self.work, self.said, self.backend = train_loop_per_worker, train_loop_config, torch_config.backend
    def fit(self):
        pytorch.distributed.init_process_group(self.backend, init_method="env://")
        self.work(self.said)
        pytorch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.training
def test_a_program_for_ray_trains_in_each_worker_and_goes_on(recipe: Path, tmp_path: Path) -> None:
    danlu.deploy(recipe, training="ray", output=tmp_path, gpus=0)
    package = tmp_path / "fake" / "ray" / "train"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").write_text(FAKE_RAY)
    (package / "torch.py").write_text("from ray.train import TorchConfig, TorchTrainer")
    path = os.pathsep.join([str(tmp_path / "fake"), os.environ.get("PYTHONPATH", "")])
    for _ in range(2):  # a second time there is nothing left to do
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        world = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        subprocess.run(
            [sys.executable, tmp_path / "ray_train.py"],
            env={**os.environ, **world, "PYTHONPATH": path},
            check=True,
            timeout=120,
        )
    assert (tmp_path / "runs" / "small" / "model" / "bundle.json").is_file()


@pytest.mark.parametrize("system", ["slurm", "kubeflow", "ray"])
def test_nothing_names_the_machine(system: Any, recipe: Path, tmp_path: Path) -> None:
    written = danlu.deploy(recipe, training=system, output=tmp_path / "out", image="example.org/danlu:1")
    for file in written:
        text = file.read_text(encoding="utf-8")
        for name in (str(tmp_path), str(REPOSITORY), str(DANLU.parent), socket.gethostname(), str(Path.home())):
            assert name not in text or name == "/"


def test_what_a_recipe_extends_goes_with_it(recipe: Path, tmp_path: Path) -> None:
    longer = recipe.with_name("longer.yaml")
    longer.write_text("extends: small.yaml\ntraining: {epochs: 9}\n", encoding="utf-8")
    written = danlu.deploy(longer, training="ray", output=tmp_path / "out")
    assert sorted(file.name for file in written) == ["longer.yaml", "ray_train.py", "small.yaml"]
    assert danlu.load_recipe(tmp_path / "out" / "longer.yaml").training.epochs == 9
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text("extends: own/small.yaml\n", encoding="utf-8")
    danlu.deploy(elsewhere, training="ray", output=tmp_path / "below")
    outside = recipe.parent / "outside.yaml"
    outside.write_text("extends: ../elsewhere.yaml\n", encoding="utf-8")
    with pytest.raises(ArgumentError, match="another folder"):
        danlu.deploy(outside, training="ray", output=tmp_path / "out2")


def test_what_is_there_is_not_replaced_unasked(recipe: Path, tmp_path: Path) -> None:
    danlu.deploy(recipe, training="slurm", output=tmp_path)
    with pytest.raises(ArgumentError, match="exists already"):
        danlu.deploy(recipe, training="slurm", output=tmp_path)
    danlu.deploy(recipe, training="slurm", output=tmp_path, nodes=7, overwrite=True)
    assert "--nodes=7" in (tmp_path / "train.sbatch").read_text(encoding="utf-8")
    danlu.deploy(recipe, training="slurm", output=recipe.parent)  # the recipe itself is in its place


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"training": "kubeflow"}, "needs --image"),
        ({"training": "slurm", "nodes": 0}, "nodes: cannot take 0; give a whole number above 0"),
        ({"training": "slurm", "time": "a day"}, "not a SLURM time limit"),
        ({"training": "slurm", "name": "a b"}, "use only letters"),
    ],
)
def test_what_no_cluster_would_take_is_refused(
    said: dict[str, Any], message: str, recipe: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=message):
        danlu.deploy(recipe, output=tmp_path, **said)


@pytest.mark.parametrize(("name", "taken"), [("Churn 1", "churn-1"), ("7b", "run-7b"), ("a" * 60, "a" * 40)])
def test_kubernetes_gets_a_name_that_it_takes(name: str, taken: str) -> None:
    assert TrainingJob(name, "x.yaml").kubernetes_name == taken
