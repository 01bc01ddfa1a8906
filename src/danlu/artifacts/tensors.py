"""Named tensors in safetensors files: whole in one file, or as shards in one file per process.

weights.safetensors                              everything
weights.rank-0000.safetensors …rank-0003…        shards; the file's header holds the position of each
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.core.distributed.shards import ShardSpec
from danlu.errors import ArtifactError

if TYPE_CHECKING:
    from torch import Tensor

Slices = tuple[slice, ...]


def save_tensors(tensors: "dict[str, Tensor]", path: Path, shards: dict[str, ShardSpec] | None = None) -> None:
    """Write tensors as safetensors.

    Args:
        shards: the position of each tensor that is a shard.
    """
    from safetensors.torch import save_file

    header = {name: json.dumps([piece.global_shape, piece.offset]) for name, piece in (shards or {}).items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, str(path), header or None)
    path.chmod(0o644)  # safetensors creates files that only the owner may read


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """Load whole tensors into host memory."""
    from safetensors.torch import load_file

    return load_file(path)


class StoredTensors(Mapping[str, "Tensor"]):
    """Read tensors lazily from one file, or from the shards of all processes.

    Args:
        folder: where the files are.
        name: the file's, without `.safetensors` or `.rank-….safetensors`.
    """

    def __init__(self, folder: Path, name: str) -> None:
        alone = folder / f"{name}.safetensors"
        self.files = [alone] if alone.is_file() else sorted(folder.glob(f"{name}.rank-*.safetensors"))
        self._shards: dict[str, list[tuple[Path, Slices | None]]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for file in self.files:
            self._read_header(file)

    def _read_header(self, file: Path) -> None:
        from safetensors import safe_open

        with safe_open(file, "pt") as opened:
            header = opened.metadata() or {}
            for name in opened.keys():  # noqa: SIM118 - it is no dict
                shape = tuple(opened.get_slice(name).get_shape())
                if name not in header:
                    self._shards.setdefault(name, []).append((file, None))
                    self._shapes[name] = shape
                    continue
                whole, offset = json.loads(header[name])
                box = tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
                self._shards.setdefault(name, []).append((file, box))
                self._shapes[name] = tuple(whole)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shards)

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, name: str) -> "Tensor":
        """Return the whole tensor."""
        return self.read_slice(name, (0,) * len(self._shapes[name]), self._shapes[name])

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the whole tensor."""
        return self._shapes[name]

    def read_slice(self, name: str, offset: tuple[int, ...], shape: tuple[int, ...]) -> "Tensor":
        """Read a slice of a tensor, assembled from the shards that it overlaps.

        Raises:
            ArtifactError: a part of it is in no file.
        """
        import torch
        from safetensors import safe_open

        wanted = tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
        result: Tensor | None = None
        filled = 0
        with ExitStack() as stack:
            for file, box in self._shards[name]:
                opened: Any = stack.enter_context(safe_open(file, "pt"))
                if box is None:
                    found: Tensor = opened.get_slice(name)[wanted] if shape else opened.get_tensor(name)
                    return found
                shared = tuple(_overlap(own, other) for own, other in zip(wanted, box, strict=True))
                if any(part.stop <= part.start for part in shared):
                    continue
                read = opened.get_slice(name)[tuple(_shift(part, own) for part, own in zip(shared, box, strict=True))]
                if result is None:
                    result = torch.empty(shape, dtype=read.dtype)
                result[tuple(_shift(part, own) for part, own in zip(shared, wanted, strict=True))] = read
                filled += read.numel()
        if result is None:
            result = torch.empty(shape)
        if filled != result.numel():
            raise ArtifactError(
                f"{self.files[0].parent}: shards of {name} are missing; copy the whole folder again", code="DL303"
            )
        return result


def _overlap(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _shift(part: slice, origin: slice) -> slice:
    return slice(part.start - origin.start, part.stop - origin.start)
