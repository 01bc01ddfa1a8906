"""Checkers of others find nothing: kubernetes-validate, checkov, hadolint, the schema of CycloneDX, KServe's types."""

import json
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from danlu.deployment.container import Resources, write_compose, write_container
from danlu.deployment.kubernetes import EXCEPTIONS, write_kserve, write_kubernetes
from danlu.deployment.packages import closure, lean_roots
from danlu.deployment.subject import Subject
from danlu.recipe.sections.deployment import Kubernetes
from tests.support.processes import REPOSITORY

CLIENTS = REPOSITORY / ".venv-clients" / "bin"
SCHEMA = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(found) if found else 0)
"""
KSERVE = """
import json, sys
from kserve import V1beta1InferenceService, V1beta1PredictorSpec
told = json.load(open(sys.argv[1]))
assert set(told) <= {*V1beta1InferenceService.attribute_map.values()}, told.keys()
unknown = set(told["spec"]["predictor"]) - {*V1beta1PredictorSpec.attribute_map.values()}
sys.exit(f"unknown: {unknown}" if unknown else 0)
"""


@pytest.fixture(scope="module")
def folder(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from danlu.deployment.measure import Measured

    folder = tmp_path_factory.mktemp("deployed")
    resources = Resources(Measured(100 * 2**20, 2.5, 1.5, 400, 256, 8, "a processor"))
    write_container(subject, closure(lean_roots("numpy", "tabular", signed=False)), resources, (), folder)
    write_kubernetes(subject, resources, Kubernetes(), folder / "kubernetes")
    write_kserve(subject, resources, Kubernetes(), folder / "kserve.yaml")
    write_compose(subject, resources, folder / "compose.yaml", builds=True)
    return folder


def checked(*command: str | Path, program: str) -> str:
    """What a program of the clients' environment says, which has to find nothing."""
    if not (CLIENTS / program).exists():
        pytest.skip(f"{program} is not in .venv-clients; make clients installs it")
    done = subprocess.run([CLIENTS / program, *command], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_manifests_are_of_the_types_of_kubernetes(folder: Path) -> None:
    files = [file for file in (folder / "kubernetes").iterdir() if file.stem != "kustomization"]
    checked("--strict", *files, program="kubernetes-validate")


@pytest.mark.slow
def test_hadolint_finds_nothing_in_the_dockerfile(folder: Path) -> None:
    checked(folder / "Dockerfile", program="hadolint")


@pytest.mark.slow
def test_checkov_finds_nothing_but_what_the_manifest_explains(folder: Path) -> None:
    said = checked(
        *("--directory", folder, "--framework", "kubernetes", "dockerfile", "--output", "json", "--skip-download"),
        program="checkov",
    )
    for report in json.loads(said):
        summary = report["summary"]
        assert (summary["failed"], summary["parsing_errors"]) == (0, 0)
        assert summary["passed"] > 20
        skipped = {each["check_id"] for each in report["results"]["skipped_checks"]}
        assert skipped <= {text.partition("=")[0] for text in EXCEPTIONS.values()}


@pytest.mark.slow
def test_the_bill_of_materials_is_of_cyclonedx(folder: Path) -> None:
    checked("-c", SCHEMA, folder / "bom.cdx.json", program="python")


@pytest.mark.slow
def test_the_inference_service_has_keys_that_kserve_knows(folder: Path) -> None:
    told = YAML(typ="safe").load(folder / "kserve.yaml")
    (folder / "kserve.json").write_text(json.dumps(told))
    checked("-c", KSERVE, folder / "kserve.json", program="python")
