"""Which packages a bundle needs to be served by its engine, from the metadata of what is installed here.

In: an engine and a kind of data. Out: packages with versions, each with those that it needs. Nothing is downloaded.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions, requires
from typing import TYPE_CHECKING, Any

from danlu.errors import MissingExtra

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OWN = "danlu"
EXTRA = "serve"
# What the server itself imports of danlu's requirements, beside its extra; torch and scikit-learn are none of it.
SERVER = (
    *("cyclopts", "jinja2", "numpy", "polars", "pydantic", "ruamel.yaml", "safetensors", "typing-extensions"),
    "scipy",  # of the route /drift
)
ENGINE: Mapping[str, tuple[str, ...]] = {
    "numpy": (),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "torch": ("torch",),
}
# What reads a kind of data, where another engine than torch answers; the extra that holds it, where torch does.
READERS: Mapping[str, tuple[str, ...]] = {"image": ("pillow", "simplejpeg"), "text": ("tokenizers",)}
READERS_EXTRA = {"image": "image", "text": "text", "words": "text", "corpus": "text", "chat": "text"}
READERS_EXTRA |= {"preference": "text"}
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}


@dataclass(frozen=True)
class Package:
    """Hold a package that an image needs.

    Attributes:
        name: normalized (PEP 503).
        version: that is installed here.
        needs: names of other packages.
        license: as it says itself, if it does.
        sha256: of its files on the index; empty where nobody was asked, or the index has no such file.
    """

    name: str
    version: str
    needs: tuple[str, ...]
    license: str | None = None
    sha256: tuple[str, ...] = ()

    @property
    def pin(self) -> str:
        """Its requirement, with the exact version."""
        return f"{self.name}=={self.version}"


def lean_roots(engine: str, kind: str, *, signed: bool) -> list[str]:
    """Return what serving imports for an engine and a kind of data."""
    readers = READERS.get(kind, ())
    if engine == "torch":
        readers = tuple(_extra(READERS_EXTRA[kind])) if kind in READERS_EXTRA else ()
    return [*SERVER, *_extra(EXTRA), *ENGINE[engine], *readers, *(["cryptography"] if signed else [])]


def full_roots(engine: str, kind: str, *, signed: bool) -> list[str]:
    """Return all that danlu, the engine and the kind of data require."""
    core = [each.name for each in _requirements(distribution(OWN), "")]
    extra = _extra(READERS_EXTRA[kind]) if kind in READERS_EXTRA else []
    return [*core, *extra, *lean_roots(engine, kind, signed=signed)]


def closure(roots: Iterable[str]) -> list[Package]:
    """Return packages and all that they need on Linux, by name.

    Raises:
        MissingExtra: a root is not installed here, so its version is not known.
    """
    found: dict[str, Package] = {}
    wanted = [(normalized(root), frozenset[str](), True) for root in roots]
    asked: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        name, extras, is_root = wanted.pop()
        if (name, extras) in asked:
            continue
        asked.add((name, extras))
        try:
            known = distribution(name)
        except PackageNotFoundError:
            if is_root:
                raise MissingExtra(
                    f"danlu deploy: {name} is needed to serve this bundle and not installed here, so its version is "
                    f"not known: pip install {name}",
                    code="DL701",
                ) from None
            continue  # needed on another system, or by an optional part
        needed = [each for extra in ("", *extras) for each in _requirements(known, extra)]
        names = tuple(
            sorted({normalized(each.name) for each in needed} | set(found[name].needs if name in found else ()))
        )
        found[name] = Package(name, known.version, names, _license(known))
        wanted += [(normalized(each.name), frozenset(each.extras), False) for each in needed]
    present = dict(sorted(found.items()))
    return [
        Package(each.name, each.version, tuple(name for name in each.needs if name in present), each.license)
        for each in present.values()
    ]


def modules_of_others(packages: Sequence[Package]) -> list[str]:
    """Return the modules installed here that none of the packages, nor danlu, brings."""
    own = {OWN, *(package.name for package in packages)}
    return sorted(
        module
        for module, owners in packages_distributions().items()
        if module.isidentifier() and not own & {normalized(owner) for owner in owners}
    )


def normalized(name: str) -> str:
    """Return a package's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _extra(extra: str) -> list[str]:
    """Return the names of the packages of one of danlu's extras."""
    return [each.name for each in _requirements(distribution(OWN), extra) if normalized(each.name) != OWN]


def _requirements(known: Distribution, extra: str) -> list["Requirement"]:
    """Return what a package requires on Linux: by itself, or beside it for an extra."""
    from packaging.requirements import Requirement

    parsed = map(Requirement, requires(known.metadata["Name"]) or ())
    by_itself, with_extra = {**LINUX, "extra": ""}, {**LINUX, "extra": extra}
    found = []
    for each in parsed:
        always = each.marker is None or each.marker.evaluate(by_itself)
        belongs = not always and each.marker is not None and each.marker.evaluate(with_extra)
        if belongs if extra else always:
            found.append(each)
    return found


def _license(known: Distribution) -> str | None:
    """Return the license that a package states, if it is a name."""
    metadata: Any = known.metadata
    stated = str(metadata.get("License-Expression") or metadata.get("License") or "")
    return stated if stated and "\n" not in stated and len(stated) < 80 else None
