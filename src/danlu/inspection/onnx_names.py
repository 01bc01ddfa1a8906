"""Which layer a node of an ONNX file belongs to, by what exporters leave in names.

In: nodes of a graph. Out: paths of modules as torch has them, `layer1.0.conv1`. Runs nothing.
"""

import ast
from collections.abc import Iterable
from typing import Any

SCOPES = "pkg.torch.onnx.name_scopes"  # torch's exporter: the modules around a node, outermost first, then its name
# What quantisation puts behind a tensor's name.
QUANTIZED = ("_quantized", "_scale", "_zero_point", "_Transposed")
NOWHERE = "_empty_nn_module_stack"  # torch's word for sizes of inputs, which no module computes
OF_LAYER = ("weight", "bias", "running_mean", "running_var", "gamma", "beta")


def scope_of(node: Any) -> str:
    """Return the module whose code a node is, as torch's exporter noted it."""
    noted = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
    if not noted:
        return ""
    scopes = ast.literal_eval(noted)
    found = str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""
    return "" if found.startswith(NOWHERE) else found


def layer_of(node: Any, constants: Iterable[str]) -> str:
    """Return the layer that a node belongs to; empty where nothing says it.

    Args:
        node: of an ONNX graph.
        constants: names of the file's tensors of weights.
    """
    return scope_of(node) or _layer_of_path(node.name) or _layer_of_tensors(node, set(constants))


def _layer_of_path(name: str) -> str:
    """Read a name with a path, as danlu (`layer1.0.conv1/Conv_3`) and torch's older exporter write it."""
    parts = [part for part in name.split("/")[:-1] if part]
    kept: list[str] = []
    for part in parts:  # `/layer1/layer1.0/conv1/Conv` tells modules in lists by their whole path
        if kept and part.startswith(f"{kept[-1]}."):
            kept.pop()
        kept.append(part)
    return ".".join(kept)


def _layer_of_tensors(node: Any, constants: set[str]) -> str:
    for name in node.input:
        layer, _, last = tensor_name(name).rpartition(".")
        if name in constants and layer and last in OF_LAYER:
            return layer
    return ""


def tensor_name(name: str) -> str:
    """Return torch's name of a tensor of weights, without what quantization added."""
    for ending in QUANTIZED:
        name = name.removesuffix(ending)
    return name.replace("/", ".")
