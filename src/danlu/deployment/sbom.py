"""The bill of materials of an image: CycloneDX 1.6 in JSON (https://cyclonedx.org/docs/1.6/json/).

The same packages and bundle always give the same bytes: no time, and a serial number of the content.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from danlu.artifacts.files import sha256_of_json
from danlu.deployment.packages import Package
from danlu.deployment.subject import Subject

SPECIFICATION = "1.6"
NAMESPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # of addresses, RFC 4122


def bill_of_materials(subject: Subject, packages: Sequence[Package]) -> dict[str, Any]:
    """Return the document: the model as the component, and all packages that its image installs.

    Args:
        subject: the bundle.
        packages: danlu first.
    """
    model = f"danlu:{subject.digest}"
    component = {
        "type": "machine-learning-model",
        "bom-ref": model,
        "name": subject.bundle.manifest.name,
        "version": subject.digest[:12],
        "hashes": [{"alg": "SHA-256", "content": subject.digest}],
        "modelCard": {"modelParameters": {"task": subject.bundle.manifest.task}},
    }
    components = [_component(package) for package in packages]
    dependencies = [{"ref": model, "dependsOn": [_purl(packages[0])]}]
    known = {package.name: _purl(package) for package in packages}
    dependencies += [
        {"ref": _purl(package), "dependsOn": sorted(known[name] for name in package.needs if name in known)}
        for package in packages
    ]
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE, sha256_of_json([component, components]))}",
        "version": 1,
        "metadata": {"component": component},
        "components": components,
        "dependencies": dependencies,
    }


def _component(package: Package) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "version": package.version,
        "purl": _purl(package),
    }
    if package.license:
        found["licenses"] = [{"license": {"name": package.license}}]
    if package.sha256:
        found["hashes"] = [{"alg": "SHA-256", "content": value} for value in package.sha256]
    return found


def _purl(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version.replace('+', '%2B')}"
