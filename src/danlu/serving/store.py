"""What is to be served: bundles by name and version, and which version answers whom.

A source is a bundle (`[NAME=]FOLDER`), or a store: a folder of `NAME/VERSION/` bundles. Beside its versions a model
of a store may keep `serving.json`, whose keys are those of `Policy`. Reads folders and opens no bundle's weights.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.files import read_json
from danlu.core.component import Frozen, first_fault
from danlu.core.text import suggestion
from danlu.errors import ArgumentError, ArtifactError

SERVING = "serving.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ONLY_VERSION = "1"  # of a bundle that is no part of a store
SHARES = 2**32


class Canary(Frozen):
    """Let another version answer a share of the requests.

    Attributes:
        version: the one on trial.
        share: of the requests that name no version, 0 to 1.
    """

    version: str
    share: float = Field(ge=0, le=1)


class Policy(Frozen):
    """Say which versions of a model answer.

    Attributes:
        default: the version for requests that name none; without it the newest.
        aliases: further names of versions, which a request may name as well.
        canary: the version on trial, and its share.
        shadow: the version that is asked beside the one that answers, and compared with it.
    """

    default: str | None = None
    aliases: dict[str, str] = Field(default_factory=dict)
    canary: Canary | None = None
    shadow: str | None = None

    @model_validator(mode="after")
    def _check_aliases(self) -> "Policy":
        for alias in self.aliases:
            if not NAME.fullmatch(alias):
                raise ValueError(f"{alias!r} cannot be an alias; letters, digits, dots, dashes and underscores can")
        return self

    @property
    def named(self) -> list[str]:
        """The versions that it names."""
        found = [self.default, *self.aliases.values(), self.canary.version if self.canary else None, self.shadow]
        return [version for version in dict.fromkeys(found) if version is not None]


@dataclass(frozen=True)
class Model:
    """Describe a model that is served.

    Attributes:
        name: in routes.
        versions: the folder of each version that is served, oldest first.
        policy: which of them answers; its `default` is set.
        root: the model's folder in a store; None for a single bundle.
    """

    name: str
    versions: Mapping[str, Path]
    policy: Policy = field(default_factory=Policy)
    root: Path | None = None

    @property
    def default(self) -> str:
        """The version that answers requests which name none."""
        assert self.policy.default is not None, "Model.of sets it"
        return self.policy.default

    def resolve(self, named: str) -> str | None:
        """Return the version of that name or alias; None where there is none."""
        version = self.policy.aliases.get(named, named)
        return version if version in self.versions else None

    def version_for(self, request_id: str) -> str:
        """Return the version for a request that names none; the same for the same id."""
        canary = self.policy.canary
        if canary is not None and zlib.crc32(request_id.encode()) < canary.share * SHARES:
            return canary.version
        return self.default


def find_models(sources: Sequence[str]) -> dict[str, Model]:
    """Return the models that sources name.

    Raises:
        ArgumentError: a name cannot be one, or stands twice, or nothing is there.
        ArtifactError: a `serving.json` cannot be read, or names a version that is not there.
    """
    found: dict[str, Model] = {}
    for source in sources:
        for model in _models_of(source):
            if model.name in found:
                raise ArgumentError(
                    f"serve: two models are called {model.name!r}; give one another name: NAME={source}", code="DL402"
                )
            found[model.name] = model
    if not found:
        raise ArgumentError("serve: name a bundle, a run, or a folder of NAME/VERSION/ bundles", code="DL401")
    return found


def _models_of(source: str) -> list[Model]:
    name, equals, place = source.partition("=")
    if equals and not Path(source).exists():
        folder = Path(place)
        if not is_bundle(folder):
            raise ArtifactError(f"serve: {place}: no bundle here; NAME= goes before a bundle or a run", code="DL301")
        return [_single(_checked_name(name), folder)]
    folder = Path(source)
    if is_bundle(folder):
        return [_single(_checked_name(_name_of(folder)), folder)]
    roots = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    models = [read_model(root) for root in roots if versions_in(root)]
    if not models:
        raise ArtifactError(
            f"serve: {source}: neither a bundle, nor a run, nor a folder of NAME/VERSION/ bundles", code="DL301"
        )
    return models


def is_bundle(folder: Path) -> bool:
    """Return whether a folder is a bundle or a run that has one."""
    return (folder / MANIFEST).is_file() or (folder / "model" / MANIFEST).is_file()


def _name_of(folder: Path) -> str:
    """Return the name that a bundle's manifest gives, else its folder's."""
    manifest = folder / MANIFEST if (folder / MANIFEST).is_file() else folder / "model" / MANIFEST
    written = read_json(manifest)
    named = written.get("name") if isinstance(written, dict) else None
    return named if isinstance(named, str) and NAME.fullmatch(named) else folder.resolve().name


def _checked_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ArgumentError(
            f"serve: {name!r} cannot be a model's name in a route; letters, digits, dots, dashes and underscores can: "
            "NAME=BUNDLE gives another",
            code="DL402",
        )
    return name


def _single(name: str, folder: Path) -> Model:
    return Model(name, {ONLY_VERSION: folder}, Policy(default=ONLY_VERSION))


def versions_in(root: Path) -> dict[str, Path]:
    """Return the versions of a model in a store, oldest first: 2 before 10."""
    found = {path.name: path for path in root.iterdir() if path.is_dir() and is_bundle(path)}
    return {name: found[name] for name in sorted(found, key=_natural)}


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def read_model(root: Path) -> Model:
    """Return a model of a store, as its folder says now.

    Raises:
        ArgumentError: its name cannot be one.
        ArtifactError: its `serving.json` cannot be read, or names a version that is not there.
    """
    policy = Policy()
    if (root / SERVING).is_file():
        policy = parse_policy(read_json(root / SERVING), str(root / SERVING))
    return model_with(root, policy)


def parse_policy(value: Any, place: str) -> Policy:
    """Read a policy.

    Raises:
        ArtifactError: it is none.
    """
    try:
        return Policy.model_validate(value)
    except ValidationError as error:
        raise ArtifactError(f"{place}: {first_fault(error, whole='it')}", code="DL303") from None


def model_with(root: Path, policy: Policy) -> Model:
    """Return a model of a store under a policy.

    It has the versions that the policy names, or the newest.

    Raises:
        ArgumentError: its name cannot be one.
        ArtifactError: the policy names a version that is not there.
    """
    present = versions_in(root) if root.is_dir() else {}
    if not present:
        raise ArtifactError(f"{root}: holds no version; a version is a bundle's folder in it", code="DL301")
    policy = policy if policy.default is not None else policy.model_copy(update={"default": next(reversed(present))})
    for version in policy.named:
        if version not in present:
            near = suggestion(version, present)
            raise ArtifactError(f"{root}: has no version {version!r}{near}", code="DL301")
    kept = {version: folder for version, folder in present.items() if version in policy.named}
    return Model(_checked_name(root.name), kept, policy, root)
