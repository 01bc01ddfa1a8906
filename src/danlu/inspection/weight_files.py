"""Files that hold weights and no code: safetensors, GGUF, ONNX.

In: a file. Out: named tensors read one at a time, and the modules that the tensors' names spell. What an ONNX file
computes is `onnx_graph`'s.
"""

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.core.imports import require_extra
from danlu.errors import DanluError, DataError, MissingExtra
from danlu.inspection.graph import Graph, Module, Node
from danlu.inspection.onnx_names import tensor_name
from danlu.inspection.trace import Shape
from danlu.models.engines.onnxruntime_engine import damaged_onnx

if TYPE_CHECKING:
    import numpy as np
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
        ArtifactError: an ONNX file is damaged.
        DataError: another file is damaged or of another format.
        MissingExtra: the package that reads it is not installed.
    """
    readers = {".safetensors": _safetensors, ".gguf": _gguf, ".onnx": _onnx_tensors}
    try:
        yield from readers[path.suffix.lower()](path)
    except DanluError:
        raise
    except Exception as error:  # each library has errors of its own
        raise _damaged(path, error) from error


def file_graph(path: Path) -> Graph:
    """Return the modules that the names of a file's tensors spell; nothing is run.

    Args:
        path: of a safetensors or GGUF file.

    Raises:
        DataError: the file is damaged or of another format.
        MissingExtra: the package that reads it is not installed.
    """
    readers = {".safetensors": _safetensors_shapes, ".gguf": _gguf_shapes}
    try:
        return _graph_of_names(readers[path.suffix.lower()](path))
    except DanluError:
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


def onnx_model(path: Path) -> Any:
    """Return an ONNX file as onnx has it.

    Raises:
        ArtifactError: it is damaged.
        MissingExtra: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra(f"{path} {ONNX}", code="DL701") from error
    try:
        return onnx.load(path)
    except Exception as error:  # of protobuf, of files with weights of their own
        raise damaged_onnx(path, error) from error


def onnx_tensors(path: Path, model: Any) -> "Iterator[tuple[str, Tensor]]":
    """Yield the named tensors of an ONNX file, quantized ones as what they mean."""
    import numpy as np
    import torch
    from onnx import numpy_helper

    stored = {each.name: each for each in model.graph.initializer}
    for name, each in stored.items():
        values = numpy_helper.to_array(each, base_dir=str(path.parent))
        scale, zero = (stored.get(name.removesuffix("_quantized") + part) for part in ("_scale", "_zero_point"))
        if name.endswith("_quantized") and scale is not None and zero is not None:
            steps, zeros = numpy_helper.to_array(scale), numpy_helper.to_array(zero)
            yield tensor_name(name), torch.from_numpy(_dequantized(values, steps, zeros))
        elif np.issubdtype(values.dtype, np.floating) and not name.endswith("_scale"):
            yield tensor_name(name), torch.from_numpy(np.ascontiguousarray(values).copy())


def _dequantized(values: "np.ndarray", steps: "np.ndarray", zeros: "np.ndarray") -> "np.ndarray":
    """Return whole numbers as what they mean.

    Scales of channels lie along the last axis that fits them.
    """
    if steps.ndim == 1 and steps.size > 1:
        axis = max(at for at, size in enumerate(values.shape) if size == steps.size)
        shape = [steps.size if at == axis else 1 for at in range(values.ndim)]
        steps, zeros = steps.reshape(shape), zeros.reshape(shape)
    meant: np.ndarray = ((values.astype("float32") - zeros.astype("float32")) * steps).astype("float32")
    return meant


def _onnx_tensors(path: Path) -> "Iterator[tuple[str, Tensor]]":
    yield from onnx_tensors(path, onnx_model(path))


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
