"""What a network makes of rows: features before its last layer projected to a plane, maps of an image, attention.

In: a network and inputs. Out: arrays. The projection is a principal component analysis, and UMAP where it is installed.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from danlu.core.imports import install_command, missing_packages, silence_libraries
from danlu.core.seeds import Seed
from danlu.core.torch_compat import TorchDispatchMode
from danlu.data.loader import Tensors
from danlu.inspection.layers import observed

MAP_LAYERS, MAP_CHANNELS = 10, 8  # of an image's feature maps, spread over depth and channels
NEIGHBOURS = 15  # of UMAP
ATTENTION_LAYERS, HEADS, TOKENS = 6, 8, 48
SOFTMAX = ("_softmax", "_safe_softmax")


def last_features(network: nn.Module, batches: Iterable[Tensors]) -> np.ndarray:
    """Return what the last linear layer reads of each row, averaged over positions, [rows, width].

    A network without one gives its answers.
    """
    last = _last_linear(network)
    found: list[Tensor] = []
    held: list[Tensor] = []
    handle = None if last is None else last.register_forward_pre_hook(lambda module, given: held.append(given[0]))
    try:
        with torch.no_grad():
            for inputs in batches:
                held.clear()
                returned = network(**inputs)
                values = held[-1] if held else _first_tensor(returned)
                rows = len(next(iter(inputs.values())))
                if len(values) != rows:  # several positions of a row stand among the rows
                    values = values.reshape(rows, -1, values.shape[-1])
                found.append((values.flatten(1, -2).mean(dim=1) if values.ndim > 2 else values).float().cpu())
    finally:
        if handle is not None:
            handle.remove()
    return torch.cat(found).numpy()


def _last_linear(network: nn.Module) -> nn.Module | None:
    named = getattr(network, "last_layer", None)
    if isinstance(named, nn.Linear):
        return named
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None


def _first_tensor(returned: Any) -> Tensor:
    from danlu.inspection.trace import tensors_of

    return tensors_of(returned)[0]


def project(features: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Project features on their two principal components.

    Args:
        features: [rows, width].

    Returns:
        [rows, 2], and the share of the variance that each component explains. Signs are such that each component's
        largest weight is positive, so the same features give the same picture on every machine.
    """
    centred = np.nan_to_num(features - features.mean(axis=0)).astype(np.float64)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    count = min(2, len(sizes))
    signs = np.sign(directions[np.arange(count), np.abs(directions[:count]).argmax(axis=1)])
    projected = centred @ (directions[:count] * np.where(signs == 0, 1, signs)[:, None]).T
    total = float((sizes**2).sum()) or 1.0
    shares = [float(size**2) / total for size in sizes[:count]]
    return np.pad(projected, ((0, 0), (0, 2 - count))), [*shares, *[0.0] * (2 - count)]


def lacks_for_umap(rows: int) -> str:
    """Return what UMAP lacks for so many rows; empty where nothing."""
    if missing_packages("umap"):
        return f"it is not installed: {install_command('umap')}"
    return f"it needs more than {NEIGHBOURS} rows" if rows <= NEIGHBOURS else ""


def project_by_umap(features: np.ndarray, seed: Seed) -> np.ndarray:
    """Project features by UMAP, [rows, 2], all rows in one fit.

    McInnes et al. 2018, https://arxiv.org/abs/1802.03426. Nothing is transformed later: a row that is transformed
    alone lands elsewhere than among others.

    Args:
        features: [rows, width], more rows than NEIGHBOURS; numbers that are not finite count as 0.
        seed: the same features and seed give the same places on one machine.
    """
    import umap

    with silence_libraries(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own threads, which a seed allows one of
        fitted = umap.UMAP(n_neighbors=NEIGHBOURS, random_state=seed.value % 2**32, n_jobs=1)
        found: np.ndarray = fitted.fit_transform(np.nan_to_num(features, posinf=0.0, neginf=0.0))
    return found


def feature_maps(network: nn.Module, inputs: Tensors) -> list[tuple[str, np.ndarray]]:
    """Return the first image's maps by layer, spread over the depth, [channels, height, width]."""
    found: list[tuple[str, np.ndarray]] = []

    def keep(layer: str, kind: str, output: Tensor) -> None:
        if output.ndim == 4 and min(output.shape[-2:]) > 1 and "Conv" in kind:
            step = max(1, output.shape[1] // MAP_CHANNELS)
            found.append((layer, output[0, ::step][:MAP_CHANNELS].float().cpu().numpy()))

    with torch.no_grad(), observed(network, keep):
        network(**{name: values[:1] for name, values in inputs.items()})
    return _spread(found, MAP_LAYERS)


def _spread(items: list[Any], most: int) -> list[Any]:
    """Return items spread evenly over a list, its ends among them."""
    if len(items) <= most:
        return items
    return [items[place] for place in np.linspace(0, len(items) - 1, most).astype(int)]


class _Softmax(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keep what softmax gives where it weighs tokens."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        name = str(func._schema.name).partition("::")[2]
        if name in SOFTMAX and results.ndim in (3, 4) and min(results.shape[-2:]) > 1:
            self.found.append(results.detach().float().cpu())
        return results


def attention_weights(network: nn.Module, inputs: Tensors) -> list[np.ndarray]:
    """Return the first row's attention by layer, spread over the depth, [heads, queries, keys].

    Attention is computed by its plain formula here, whatever kernel the network uses otherwise.
    """
    return [each[:HEADS, :TOKENS, :TOKENS] for each in _spread(all_attention(network, inputs), ATTENTION_LAYERS)]


def all_attention(network: nn.Module, inputs: Tensors) -> list[np.ndarray]:
    """Return the first row's attention of every layer, [heads, queries, keys], as `attention_weights`."""
    first = {name: values[:1] for name, values in inputs.items()}
    watch = _Softmax()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), watch:
        network(**first)
    return [values.reshape(-1, *values.shape[-2:]).numpy() for values in watch.found]
