"""The engine of plain numpy: models of tables, from the bundle's own files, without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from danlu.data.specs import TabularInputs, require_inputs
from danlu.errors import ArtifactError
from danlu.models.base import Model
from danlu.models.engines.base import Arrays, Engine, EngineSource
from danlu.models.engines.numpy_networks import FAMILIES, Network, Spec, build_network, read_safetensors
from danlu.models.normalization import MIN_FEATURES_PER_GROUP, num_groups
from danlu.models.tabular.options import Boosting, Tree
from danlu.models.tabular.tree_arrays import MODEL_FILE, boosted_groups, read_boosted_trees


class NumpyEngine(Engine):
    """Compute networks of tables in numpy."""

    name: ClassVar[str] = "numpy"
    tolerance = 1e-4

    def __init__(self, network: Network) -> None:
        self.network = network

    @classmethod
    def obstacle(cls, source: EngineSource) -> str | None:
        manifest = source.bundle.manifest
        if manifest.structure is not None or manifest.coding is not None:
            return "its network was compressed, and has other sizes or weights of fewer bits"
        if source.options.name in FAMILIES and isinstance(source.inputs, TabularInputs):
            return None
        return f"it computes {', '.join(FAMILIES)}, not {source.options.name}"

    @classmethod
    def open(cls, source: EngineSource) -> Self:
        options, outputs = source.options, source.target.outputs
        folder, name = source.bundle.folder, options.name
        spec = network_spec(options, require_inputs(source.inputs, TabularInputs, name), outputs)
        try:
            return cls(build_network(spec, read_weights(source.bundle.require(options.weights_file), outputs)))
        except (KeyError, ValueError, IndexError) as error:
            raise ArtifactError(f"{folder}: the weights do not fit {name}: {error!r}", code="DL310") from error

    @property
    def survives_fork(self) -> bool:
        return True

    def run(self, inputs: Arrays) -> np.ndarray:
        return self.network(inputs.get("numeric"), inputs.get("categories"))


def network_spec(options: Model, inputs: TabularInputs, outputs: int) -> Spec:
    """Return a network's description, as `numpy_networks.build_network` and JSON take it."""
    spec: dict[str, Any] = {
        **options.model_dump(mode="json"),
        "family": options.name,
        "numeric": inputs.numeric,
        "cardinalities": list(inputs.cardinalities),
        "edges": [list(edges) for edges in inputs.edges],
    }
    if isinstance(options, Boosting):
        spec |= {"groups": boosted_groups(outputs), "zero_first": outputs == 2}
    elif isinstance(options, Tree):
        spec |= {"groups": 1, "zero_first": False}
    elif spec.get("normalization") == "group":
        spec["groups"] = [num_groups(size, MIN_FEATURES_PER_GROUP) for size in spec["hidden"]]
    return spec


def read_weights(path: Path, outputs: int) -> Mapping[str, np.ndarray]:
    """Read a file of weights by names; of boosting the arrays of its trees."""
    if path.name == MODEL_FILE:
        return read_boosted_trees(path.read_text(encoding="utf-8"), boosted_groups(outputs))
    return read_safetensors(path)
