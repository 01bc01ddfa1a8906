"""A torch module followed once: a program without Python, whose batch and length stay free."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from danlu.artifacts.files import translate_write_errors
from danlu.core.imports import silence_libraries
from danlu.errors import ArgumentError
from danlu.exporters.ports import BATCH, LENGTH, Port


class Positional(nn.Module):
    """Call a module whose inputs have names by position, since exporters mix up names."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return what the module makes of its inputs."""
        found: Tensor = self.network(**dict(zip(self.names, inputs, strict=True)))
        return found


def trace(network: nn.Module, ports: Sequence[Port], samples: Sequence[Tensor], longest: int) -> ExportedProgram:
    """Follow a network with free batch and length.

    Args:
        network: in evaluation mode, on the CPU; its forward takes the ports by name.
        ports: its inputs.
        samples: one tensor a port, two samples or more.
        longest: the most tokens of a text; ignored where no port has a length.

    Raises:
        ArgumentError: the network computes something that cannot be followed, or depends on a size.
    """
    free = {BATCH: Dim(BATCH), LENGTH: Dim(LENGTH, max=max(longest, samples[0].shape[-1] + 1))}
    shapes = tuple({at: free[size] for at, size in enumerate(port.shape) if isinstance(size, str)} for port in ports)
    module = Positional(network, [port.name for port in ports]).eval()
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(module, tuple(samples), dynamic_shapes={"inputs": shapes})
        except Exception as error:  # own modules may do anything, and torch reports it in many classes
            raise ArgumentError(
                f"the network cannot leave torch: {_first_lines(error)}; compute it without Python that looks at "
                "values or sizes of tensors",
                code="DL409",
            ) from error

    for node in program.graph.nodes:  # lines of code, with paths of this machine
        node.meta.pop("stack_trace", None)
    return program


def save_program(program: ExportedProgram, path: Path) -> None:
    """Write a program as torch's own file, `.pt2`.

    Raises:
        ArtifactError: the disk is full.
    """
    with translate_write_errors(path), path.open("wb") as file:
        kept = _LateFailure(file)
        with quiet():
            torch.export.save(program, cast(IO[bytes], kept))
        kept.settle()


class _LateFailure(io.RawIOBase):
    """Write to a file, and keep a failure for later.

    torch's writer ends the whole process on one.

    Args:
        file: open for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        """Write unless writing failed before."""
        if self.failure is None:
            try:
                self.file.write(content)
            except OSError as error:
                self.failure = error
        return len(content)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def settle(self) -> None:
        """Raise the failure, if there was one."""
        if self.failure is not None:
            raise self.failure


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    place = next((line for line in reversed(lines) if line.startswith("File ") and "/torch/" not in line), "")
    return " ".join([*lines[:2], *([f"({place})"] if place else [])]) or type(error).__name__


def module_of(program: ExportedProgram, operator: str) -> str:
    """Return the module that calls an operator first, as `layer.0`; empty for none."""
    for node in program.graph.nodes:
        if str(node.target) == operator or str(node.target).startswith(f"{operator}."):
            stack: Any = list(node.meta.get("nn_module_stack", {}).values())
            names = [str(name) for name, _ in stack if name]
            return names[-1].removeprefix("network.") if names else "the network itself"
    return ""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what exporters say of their own inner workings."""
    with warnings.catch_warnings(), silence_libraries():
        warnings.simplefilter("ignore")
        yield
