"""Models as they are in memory: opened bundles by name and version, loaded before the workers are forked.

What polars computes would start its threads, which no fork has; so the supervisor opens weights here and computes
nothing, and each worker answers the golden samples itself before it takes any request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.artifacts.signatures import check_signature, require_signature
from danlu.core.console import suppressed
from danlu.models.bundle_form import open_checked
from danlu.models.engines.torch_engine import TorchEngine
from danlu.models.predictor import Predictor
from danlu.serving.answering import Served
from danlu.serving.store import Model


@dataclass
class LoadedVersion:
    """Hold one version of a model.

    Attributes:
        name, version: of the model.
        folder: of its bundle.
        engine: what computes it, as it was chosen.
        own_code: whether code that the bundle names may run.
        digest: of the bundle.
        survives_fork: whether it may be opened before the fork.
        trusted: public keys, one of which has to have signed it; none for any bundle.
    """

    name: str
    version: str
    folder: Path
    engine: str
    own_code: bool
    digest: str
    survives_fork: bool
    trusted: tuple[str, ...] = ()
    _served: Served | None = None

    def load(self) -> None:
        """Open its bundle, where the engine's memory outlives a fork; nothing is computed.

        Raises:
            ArgumentError, ArtifactError, MissingExtra: as `Predictor.load`.
        """
        require_signature(self.folder, self.trusted)
        if self.engine == TorchEngine.name:
            import torch

            torch.set_num_threads(1)  # threads that torch had begun would be missing in every fork
        if self.survives_fork:
            self._served = self._open(replay=False)

    def open(self) -> Served:
        """Return it in a worker, once its golden samples are answered as they were recorded.

        Raises:
            ArgumentError, ArtifactError, MissingExtra: as `Predictor.load`.
        """
        if self._served is None:
            self._served = self._open(replay=True)
        else:
            golden = self._served.predictor.bundle.golden()
            if golden is not None:
                with suppressed():
                    self._served.predictor.replay(golden)
        return self._served

    def _open(self, replay: bool) -> Served:
        bundle = open_checked(self.folder)
        if self.trusted:  # of what was opened, which may have been replaced since it was loaded
            check_signature(bundle.folder, bundle.manifest.digest, self.trusted)
        return Served.of(Predictor.load(bundle, engine=self.engine, own_code=self.own_code, replay=replay))

    def describe(self) -> dict[str, Any]:
        """Return what the ready line says of it."""
        return {"name": self.name, "version": self.version, "digest": self.digest, "engine": self.engine}


@dataclass(frozen=True)
class LoadedModel:
    """Hold a model's policy and the versions it names."""

    model: Model
    versions: Mapping[str, LoadedVersion]


Models = Mapping[str, LoadedModel]
