"""Write what was asked for of a deployment into a folder, after the bundle was served and measured here.

In: a bundle and options. Out: files, and a document that says what they need. Nothing is built and nothing is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.artifacts.bundle import files_in
from danlu.artifacts.files import StrPath, atomic_folder
from danlu.artifacts.signatures import read_public_key, require_signature
from danlu.core.console import info
from danlu.deployment.container import PYTHON, SBOM, Resources, write_compose, write_container
from danlu.deployment.index_hashes import with_hashes
from danlu.deployment.kubernetes import write_kserve, write_kubernetes
from danlu.deployment.measure import Measured, measure
from danlu.deployment.packages import Package, closure, full_roots, lean_roots
from danlu.deployment.subject import Subject
from danlu.errors import ArgumentError, ArtifactError
from danlu.recipe.sections.deployment import Deployment, Kubernetes

EDGE = "edge"
# File or folder -> what it is for, in the document.
PURPOSES = {
    "Dockerfile": "container",
    "compose.yaml": "compose",
    "kserve.yaml": "kserve",
    "kubernetes": "kubernetes",
    EDGE: "edge",
    SBOM: "sbom",
}


@dataclass(frozen=True)
class Places:
    """Hold files that the recipe does not name.

    Attributes:
        trusted: public keys, one of which has to have signed the bundle.
        web: the npm package onnxruntime-web, for the page of an edge folder.
    """

    trusted: tuple[Path, ...] = ()
    web: Path | None = None


def write_deployment(bundle: StrPath, options: Deployment, folder: Path, places: Places) -> dict[str, Any]:
    """Write the files that options ask for, and return the document.

    Args:
        bundle: folder of a bundle or a run.
        options: what to write.
        folder: takes its name once all is written.
        places: further files.

    Raises:
        ArgumentError: nothing is asked for, or the bundle has no such form.
        ArtifactError: the bundle is damaged or not signed, or does not answer as recorded.
        MissingExtra: packages that serve or write it are not installed.
    """
    is_served = options.container or options.compose or options.kubernetes is not None or options.kserve
    if not (is_served or options.edge):
        raise ArgumentError(
            "danlu deploy: say what to write: --container, --compose, --kubernetes, --kserve, --edge", code="DL401"
        )
    require_signature(Path(bundle), [read_public_key(key) for key in places.trusted])
    subject = Subject.open(bundle, options.server.engine, options.image)
    packages: list[Package] = []
    measured: Measured | None = None
    with atomic_folder(folder) as written:
        if is_served:
            packages, measured = _proved_packages(subject, places.trusted)
            if options.hashes:
                packages = with_hashes(packages, PYTHON)
            resources = Resources(measured, options.server.workers)
            packages = _write_served(subject, options, packages, resources, places, written)
        if options.edge:
            from danlu.deployment.edge import write_edge

            (written / EDGE).mkdir()
            write_edge(subject, written / EDGE, places.web)
        names = files_in(written)
    _tell(options, packages, measured, folder)
    return {
        "bundle": subject.digest,
        "engine": subject.engine,
        "folder": str(folder),
        "files": [{"path": name, "kind": _purpose(name)} for name in names],
        "packages": [{"name": each.name, "version": each.version, "sha256": list(each.sha256)} for each in packages],
        "sbom": SBOM if options.container else None,
        "measured": None if measured is None else measured.as_json(),
        "built": False,
    }


def _write_served(
    subject: Subject,
    options: Deployment,
    packages: Sequence[Package],
    resources: Resources,
    places: Places,
    folder: Path,
) -> list[Package]:
    """Write what serves the bundle, and return what its image installs."""
    installed = list(packages)
    if options.container:
        installed = write_container(subject, packages, resources, places.trusted, folder)
    if options.compose:
        write_compose(subject, resources, folder / "compose.yaml", builds=options.container)
    cluster = options.kubernetes or Kubernetes()
    if options.kubernetes is not None:
        write_kubernetes(subject, resources, cluster, folder / "kubernetes")
    if options.kserve:
        write_kserve(subject, resources, cluster, folder / "kserve.yaml")
    return installed


def _proved_packages(subject: Subject, trusted: Sequence[Path]) -> tuple[list[Package], Measured]:
    """Return the fewest packages with which the bundle was served here, and what that took.

    Raises:
        ArtifactError: it is not served with all that danlu requires either.
    """
    kind, is_signed = subject.bundle.manifest.kind, bool(trusted)
    lean = closure(lean_roots(subject.engine, kind, signed=is_signed))
    try:
        return lean, measure(subject, lean, trusted)
    except ArtifactError as error:
        info(f"{len(lean)} packages do not suffice ({error}); all that danlu requires are taken")
    full = closure(full_roots(subject.engine, kind, signed=is_signed))
    return full, measure(subject, full, trusted)


def _purpose(name: str) -> str:
    first = name.split("/", 1)[0]
    return PURPOSES.get(first, "container")


def _tell(options: Deployment, packages: Sequence[Package], measured: Measured | None, folder: Path) -> None:
    """Say what was measured, and what is left to do."""
    if measured is not None:
        info(f"measured: {measured.described()}")
    if options.container:
        unhashed = [package.pin for package in packages if not package.sha256]
        if not options.hashes:
            info(
                f"{folder}/requirements.txt has no hashes, so the image cannot be built yet: add --hashes, which asks "
                "the package index that pip is configured for"
            )
        elif unhashed:
            info(f"not hashed, since the index has no such file: {', '.join(unhashed)}")
        info("nothing was built: docker build, podman build or a builder in the cluster do that")
