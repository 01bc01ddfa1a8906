"""The files of an image and of a cluster say what was measured, and always the same of the same bundle."""

import base64
import csv
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import danlu
from danlu.artifacts.files import sha256
from danlu.deployment.container import Resources, write_compose, write_container
from danlu.deployment.index_hashes import with_hashes
from danlu.deployment.kubernetes import write_kserve, write_kubernetes
from danlu.deployment.own_wheel import write_own_wheel
from danlu.deployment.packages import Package, closure, full_roots, lean_roots, modules_of_others
from danlu.deployment.subject import Subject
from danlu.errors import ArgumentError
from danlu.recipe.sections.deployment import Kubernetes

TRAINING = {"torch", "scikit-learn", "matplotlib", "imbalanced-learn"}


def documents(folder: Path) -> dict[str, Any]:
    return {file.stem: YAML(typ="safe").load(file) for file in sorted(folder.iterdir())}


def test_an_image_gets_what_its_engine_needs_and_nothing_of_training() -> None:
    lean = {package.name: package for package in closure(lean_roots("numpy", "tabular", signed=False))}
    assert {"polars", "starlette", "uvicorn", "pydantic-core"} <= set(lean)
    assert not TRAINING & set(lean)
    assert set(lean["starlette"].needs) <= set(lean)
    assert "onnxruntime" in {each.name for each in closure(lean_roots("onnxruntime", "image", signed=False))}
    assert "torch" in {each.name for each in closure(lean_roots("torch", "tabular", signed=False))}
    assert set(lean) | TRAINING <= {each.name for each in closure(full_roots("numpy", "tabular", signed=False))}
    barred = modules_of_others([*lean.values()])
    assert {"torch", "sklearn"} <= set(barred)
    assert not {"danlu", "polars", "starlette"} & set(barred)


def test_the_wheel_holds_the_code_that_runs_here_and_is_always_the_same(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first, second = write_own_wheel(tmp_path), write_own_wheel(tmp_path / "again")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as wheel:
        names = set(wheel.namelist())
        (record,) = [name for name in names if name.endswith("/RECORD")]
        rows = {name: (digest, size) for name, digest, size in csv.reader(wheel.read(record).decode().splitlines())}
        assert set(rows) == names
        for name in names - {record}:
            digest = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(name)).digest()).rstrip(b"=").decode()
            assert rows[name] == (f"sha256={digest}", str(len(wheel.read(name))))
        assert wheel.read("danlu/errors.py") == Path(danlu.errors.__file__).read_bytes()
    assert not any("__pycache__" in name for name in names)
    assert f"danlu-{danlu.__version__}.dist-info/entry_points.txt" in names


def test_hashes_are_those_of_the_index_and_what_it_lacks_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_own_wheel(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    known, absent = Package("danlu", danlu.__version__, ()), Package("torch", "2.13.0+cpu", ())
    assert [each.sha256 for each in with_hashes([known, absent], "3.11")] == [(sha256(wheel),), ()]
    with pytest.raises(ArgumentError, match="--hashes"):
        with_hashes([Package("danlu", "99.0", ())], "3.11")


def test_what_has_no_hash_is_installed_apart_and_named(subject: Subject, resources: Resources, tmp_path: Path) -> None:
    packages = [Package("numpy", "2.4.6", (), sha256=("ab" * 32, "cd" * 32)), Package("torch", "2.13.0+cpu", ())]
    installed = write_container(subject, packages, resources, (), tmp_path)
    assert [each.name for each in installed] == ["danlu", "numpy", "torch"]
    lines = (tmp_path / "requirements.txt").read_text()
    assert f"numpy==2.4.6 \\\n    --hash=sha256:{'ab' * 32} \\\n    --hash=sha256:{'cd' * 32}\n" in lines
    assert "torch" not in lines
    assert f"--hash=sha256:{sha256(tmp_path / installed_wheel(tmp_path))}" in lines
    assert (tmp_path / "requirements-unhashed.txt").read_text().endswith("torch==2.13.0+cpu\n")
    text = (tmp_path / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert "Not hashed, since the index that was asked has no such file: torch==2.13.0+cpu." in text
    assert "--require-hashes" in text
    assert "curl" not in text
    assert danlu.load(tmp_path / "model").manifest.digest == subject.digest


def installed_wheel(folder: Path) -> str:
    (wheel,) = folder.glob("*.whl")
    return wheel.name


def test_without_hashes_the_image_installs_nothing_and_says_so(
    subject: Subject, resources: Resources, tmp_path: Path
) -> None:
    write_container(subject, [Package("numpy", "2.4.6", ())], resources, (), tmp_path)
    assert "\nnumpy==2.4.6\n" in (tmp_path / "requirements.txt").read_text()
    assert not (tmp_path / "requirements-unhashed.txt").exists()
    text = (tmp_path / "Dockerfile").read_text()
    assert "--require-hashes" in text
    assert "write it again with `danlu deploy ... --hashes`" in text


def test_the_bill_of_materials_names_the_model_and_every_package(
    subject: Subject, resources: Resources, tmp_path: Path
) -> None:
    packages = closure(lean_roots("numpy", "tabular", signed=False))
    installed = write_container(subject, packages, resources, (), tmp_path)
    first = (tmp_path / "bom.cdx.json").read_bytes()
    bill = json.loads(first)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": subject.digest}]
    assert [each["name"] for each in bill["components"]] == [each.name for each in installed]
    known = {each["bom-ref"] for each in bill["components"]}
    assert all(set(each["dependsOn"]) <= known for each in bill["dependencies"])
    write_container(subject, packages, resources, (), tmp_path)
    assert (tmp_path / "bom.cdx.json").read_bytes() == first


def test_manifests_ask_for_what_was_measured_and_allow_nothing_else(
    subject: Subject, resources: Resources, tmp_path: Path
) -> None:
    write_kubernetes(subject, resources, Kubernetes(), tmp_path)
    found = documents(tmp_path)
    assert set(found) - {"kustomization"} == {Path(name).stem for name in found["kustomization"]["resources"]}
    spec = found["deployment"]["spec"]
    assert "replicas" not in spec
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    # 100 MiB: 110 and 150, in steps of 16; 2.5 ms a request: 250 thousandths of a core for 100 a second.
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "112Mi"},
        "limits": {"cpu": "1000m", "memory": "160Mi"},
    }
    assert "100 MiB at most" in found["deployment"]["metadata"]["annotations"]["danlu/resources"]
    assert [container[f"{name}Probe"]["httpGet"]["path"].rpartition("/")[2] for name in ("startup", "readiness")] == [
        "startup",
        "ready",
    ]
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] == 60
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert found["networkpolicy"]["spec"]["egress"] == []
    assert (found["hpa"]["spec"]["minReplicas"], found["hpa"]["spec"]["maxReplicas"]) == (2, 10)
    assert found["pdb"]["spec"]["maxUnavailable"] == 1


def test_one_fixed_replica_has_neither_autoscaler_nor_budget(
    subject: Subject, resources: Resources, tmp_path: Path
) -> None:
    write_kubernetes(subject, resources, Kubernetes(replicas=1), tmp_path / "one")
    found = documents(tmp_path / "one")
    assert found["deployment"]["spec"]["replicas"] == 1
    assert not {"hpa", "pdb"} & set(found)
    write_kserve(subject, resources, Kubernetes(replicas=1), tmp_path / "kserve.yaml")
    predictor = YAML(typ="safe").load(tmp_path / "kserve.yaml")["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 1)
    assert predictor["containers"][0]["env"] == [{"name": "PROTOCOL", "value": "v2"}]


def test_compose_serves_this_machine_alone_from_a_root_that_cannot_be_written(
    subject: Subject, resources: Resources, tmp_path: Path
) -> None:
    write_compose(subject, resources, tmp_path / "compose.yaml", builds=True)
    service = YAML(typ="safe").load(tmp_path / "compose.yaml")["services"]["model"]
    assert service["ports"] == ["127.0.0.1:8080:8080"]
    assert (service["read_only"], service["cap_drop"], service["mem_limit"]) == (True, ["ALL"], "160m")
