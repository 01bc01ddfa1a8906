"""Device setup: find the device that a recipe asks for, or the best one, and make it deterministic on request."""

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from danlu.core.devices.accelerator import Accelerator
from danlu.core.devices.cpu import CPU
from danlu.core.devices.gpu import GPU, AppleGPU
from danlu.core.distributed.env import dist_env
from danlu.errors import ArgumentError

if TYPE_CHECKING:
    import torch

PREFERENCE = ("cuda", "xpu", "mps", "cpu")  # best first
TPU_MODULE = "torch_tpu"


def open_device(asked: str = "auto") -> Accelerator:
    """Return the device to work on.

    Args:
        asked: cuda, xpu, mps, cpu or tpu; `auto` takes the first of these that is available, never a tpu, since
            torch-tpu ends the process where its driver is absent.

    Raises:
        ArgumentError: it is not available.
    """
    if asked == "tpu":
        return _open_tpu()
    found = available_devices()
    if asked == "auto":
        return next(iter(found.values()))
    if asked not in found:
        raise ArgumentError(
            f"training.device: torch finds no {asked} device here; choose {', '.join(found)} or auto. "
            "`danlu doctor` says what this torch is built for",
            code="DL501",
        )
    return found[asked]


def available_devices() -> dict[str, Accelerator]:
    """Return the kinds of device that torch finds, best first; TPUs are not probed."""
    import torch

    there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "xpu": torch.xpu.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    return {kind: _accelerator_of_kind(kind) for kind in PREFERENCE if there[kind]()}


def accelerator_of(device: "torch.device") -> Accelerator:
    """Return the interface of a torch device that is already open."""
    return _accelerator_of_kind(device.type)


def _accelerator_of_kind(device_type: str) -> Accelerator:
    if device_type == "cpu":
        return CPU()
    if device_type == "mps":
        return AppleGPU()
    _use_local_device()
    return GPU(device_type)


def _use_local_device() -> None:
    """Select the GPU whose number is this process's local rank."""
    env = dist_env()
    if env.world_size > 1:
        import torch

        torch.accelerator.set_device_index(env.local_rank)


def _open_tpu() -> Accelerator:
    """Import torch-tpu, which becomes torch's accelerator by that."""
    if importlib.util.find_spec(TPU_MODULE) is None:
        raise ArgumentError(
            "training.device: a tpu needs the package torch-tpu and its driver libtpu, not installed here; "
            "see the guide's chapter on devices",
            code="DL501",
        )
    importlib.import_module(TPU_MODULE)
    import torch

    current = torch.accelerator.current_accelerator()
    if current is None or current.type != "tpu":
        raise ArgumentError(
            f"training.device: torch-tpu is installed, but torch's accelerator is {current or 'none'}; "
            "it must be the only accelerator of this torch, and a TPU must be attached",
            code="DL501",
        )
    _use_local_device()
    return GPU("tpu")


def make_deterministic() -> None:
    """Ask torch for deterministic operators; those without one warn instead of failing."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # `use_deterministic_algorithms` does the same but imports the compiler, which costs a second.
    torch.set_deterministic_debug_mode("warn")
    # Otherwise every new tensor is filled first: 4 % of a small ResNet's step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
