"""The bundle that is deployed, the engine that answers it, and the words by which files name it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from danlu.artifacts.bundle import Bundle, digest_of
from danlu.artifacts.files import StrPath
from danlu.launch.clusters import kubernetes_name
from danlu.models.bundle_form import open_checked
from danlu.models.predictor import Predictor

TAG_DIGITS = 12  # of the digest, in an image's tag


@dataclass(frozen=True)
class Subject:
    """Hold what is deployed.

    Attributes:
        bundle: opened and verified.
        engine: what computes it.
        image: the image's name where files need it; by default from name and digest.
    """

    bundle: Bundle
    engine: str
    image: str

    @classmethod
    def open(cls, bundle: StrPath, engine: str, image: str | None) -> "Subject":
        """Open a bundle with an engine, which has to answer its golden samples.

        Args:
            bundle: folder of a bundle or a run.
            engine: its name, or `auto` for the bundle's own order.
            image: name and tag of the image; None for one that says the bundle.

        Raises:
            ArgumentError, ArtifactError, MissingExtra: the bundle cannot be opened by it.
        """
        opened = open_checked(bundle)
        chosen = Predictor.load(opened, engine=engine).engine.name
        name, digest = kubernetes_name(opened.manifest.name), digest_of(opened.manifest)
        return cls(opened, chosen, image or f"{name}:{digest[:TAG_DIGITS]}")

    @property
    def folder(self) -> Path:
        """The bundle's folder."""
        return self.bundle.folder

    @cached_property
    def name(self) -> str:
        """The model's name in routes, and the name of all objects."""
        return kubernetes_name(self.bundle.manifest.name)

    @cached_property
    def digest(self) -> str:
        """The bundle's digest."""
        return digest_of(self.bundle.manifest)
