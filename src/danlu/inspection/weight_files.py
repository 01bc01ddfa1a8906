"""Files that hold weights or a graph and no code: safetensors, GGUF, ONNX.

In: a file. Out: named tensors read one at a time, and the graph that the file tells of: ONNX its nodes, others the
modules that the tensors' names spell.
"""

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.core.imports import require_extra
from danlu.errors import DataError, MissingExtra
from danlu.inspection.graph import INPUT, OUTPUT, Graph, Module, Node
from danlu.inspection.trace import Shape

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".gguf", ".onnx")
# Last parts of tensors' names that say which number of a layer it is, and not which layer.
OF_LAYER = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
ONNX = "needs the package onnx; pip install onnx"


def is_weight_file(path: Path) -> bool:
    """Return whether a file is of a format that is read here."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def file_tensors(path: Path) -> "Iterator[tuple[str, Tensor]]":
    """Yield the named tensors of a file, one at a time.

    Raises:
        DataError: the file is damaged or of another format.
        MissingExtra: the package that reads it is not installed.
    """
    readers = {".safetensors": _safetensors, ".gguf": _gguf, ".onnx": _onnx_tensors}
    try:
        yield from readers[path.suffix.lower()](path)
    except (MissingExtra, DataError):
        raise
    except Exception as error:  # each library has errors of its own
        raise _damaged(path, error) from error


def file_graph(path: Path) -> Graph:
    """Return the graph that a file tells of; nothing is run, so nothing is measured.

    Raises:
        DataError: the file is damaged or of another format.
        MissingExtra: the package that reads it is not installed.
    """
    readers = {".safetensors": _safetensors_shapes, ".gguf": _gguf_shapes}
    suffix = path.suffix.lower()
    try:
        return _graph_of_names(readers[suffix](path)) if suffix in readers else _onnx_graph(path)
    except (MissingExtra, DataError):
        raise
    except Exception as error:  # each library has errors of its own
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(f"{path}: is damaged or no {path.suffix} file: {first}", code="DL272")


def _safetensors(path: Path) -> "Iterator[tuple[str, Tensor]]":
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - it is no dict
            yield name, opened.get_tensor(name)


def _safetensors_shapes(path: Path) -> Iterator[tuple[str, Shape]]:
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - it is no dict
            yield name, tuple(opened.get_slice(name).get_shape())


def _gguf_shapes(path: Path) -> Iterator[tuple[str, Shape]]:
    """Yield names and shapes of a GGUF file, which lists sizes backwards."""
    require_extra("gguf", str(path))
    from gguf import GGUFReader

    for tensor in GGUFReader(path).tensors:
        yield str(tensor.name), tuple(int(size) for size in reversed(tensor.shape))


def _gguf(path: Path) -> "Iterator[tuple[str, Tensor]]":
    """Yield the tensors of a GGUF file as the numbers that they stand for."""
    require_extra("gguf", str(path))
    import torch
    from gguf import GGUFReader, dequantize

    reader: Any = GGUFReader(path)
    for tensor in reader.tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        yield str(tensor.name), values.reshape(tuple(int(size) for size in reversed(tensor.shape)))


def _onnx(path: Path) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra(f"{path} {ONNX}", code="DL701") from error
    return onnx.load(path)


def _onnx_tensors(path: Path) -> "Iterator[tuple[str, Tensor]]":
    import torch

    model = _onnx(path)
    from onnx import numpy_helper

    for stored in model.graph.initializer:
        values = torch.from_numpy(numpy_helper.to_array(stored).copy())
        if values.is_floating_point():
            yield stored.name, values


def _graph_of_names(tensors: Iterable[tuple[str, Shape]]) -> Graph:
    """Make modules of the parts of names."""
    modules = {"": Module("", "", "weights", None, (), ())}
    layers: dict[str, list[Shape]] = {}
    for name, shape in tensors:
        path, _, last = name.rpartition(".")
        layer = path if path and last in OF_LAYER else name
        layers.setdefault(layer, []).append(shape)
    nodes = []
    for layer, shapes in layers.items():
        parts = layer.split(".")
        for depth in range(1, len(parts)):
            own = ".".join(parts[:depth])
            modules.setdefault(own, Module(own, parts[depth - 1], "module", ".".join(parts[: depth - 1]), (), ()))
        nodes.append(
            Node(
                id=layer,
                name=parts[-1],
                type="weights",
                inputs=(),
                outputs=tuple(shapes),
                parameters=sum(prod(shape) for shape in shapes),
                module=".".join(parts[:-1]),
            )
        )
    return Graph(tuple(nodes), (), tuple(modules.values()))


def _onnx_graph(path: Path) -> Graph:
    """Return ONNX's nodes, with the shapes that its own inference finds; unknown sizes are 0."""
    model = _onnx(path)
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(model).graph
    shapes = {each.name: _onnx_shape(each) for each in (*inferred.value_info, *inferred.input, *inferred.output)}
    weights = {each.name: tuple(each.dims) for each in inferred.initializer}
    producer: dict[str, str] = {}
    nodes: list[Node] = []
    edges: list[tuple[str, str]] = []
    for given in inferred.input:
        if given.name not in weights:
            producer[given.name] = f"input.{given.name}"
            nodes.append(Node(f"input.{given.name}", given.name, INPUT, (shapes[given.name],), (shapes[given.name],)))
    taken, counted = {node.id for node in nodes}, set[str]()
    for place, each in enumerate(inferred.node):
        own = each.name or f"{each.op_type}_{place}"
        own = own if own not in taken else f"{own}#{place}"
        taken.add(own)
        read = [name for name in each.input if name and name not in weights]
        used = [name for name in each.input if name in weights and name not in counted]
        counted.update(used)
        edges += [(producer[name], own) for name in read if name in producer]
        producer |= dict.fromkeys(each.output, own)
        nodes.append(
            Node(
                id=own,
                name=own,
                type=each.op_type,
                inputs=tuple(shapes.get(name, ()) for name in read),
                outputs=tuple(shapes.get(name, ()) for name in each.output),
                parameters=sum(prod(weights[name]) for name in used),
            )
        )
    for given in inferred.output:
        nodes.append(Node(f"output.{given.name}", given.name, OUTPUT, (shapes[given.name],), (shapes[given.name],)))
        if given.name in producer:
            edges.append((producer[given.name], f"output.{given.name}"))
    return Graph(tuple(nodes), tuple(dict.fromkeys(edges)), (Module("", "", "ONNX", None, (), ()),))


def _onnx_shape(value: Any) -> Shape:
    return tuple(int(size.dim_value) for size in value.type.tensor_type.shape.dim)
