"""`danlu doctor`: check this installation: devices, incompatible versions, missing extras, and how to fix them."""

import importlib.util
from importlib.metadata import version
from typing import TYPE_CHECKING

from danlu.artifacts.environment import installed_versions
from danlu.core.component import Frozen
from danlu.core.devices.setup import TPU_MODULE
from danlu.core.imports import EXTRAS, install_command, missing_packages

if TYPE_CHECKING:
    from danlu.core.devices import Accelerator


class Advice(Frozen):
    """Hold one result: whether it is fine, what was checked, and how to fix it."""

    well: bool
    subject: str
    message: str
    cure: str = ""


def doctor() -> list[Advice]:
    """Check the installation. Imports torch, but no package whose import may fail.

    Example:
        >>> import danlu
        >>> [advice.subject for advice in danlu.doctor()][0]
        'versions'
    """
    found = ", ".join(f"{name} {number}" for name, number in installed_versions().items())
    return [
        Advice(well=True, subject="versions", message=found),
        *_check_devices(),
        *_check_extras(),
        *_check_torchvision(),
    ]


def _check_devices() -> list[Advice]:
    import torch

    from danlu.core.devices import available_devices
    from danlu.core.threads import usable_cores

    found = available_devices()
    advice = [
        Advice(
            well=True, subject="device", message=_describe_device(kind, device) + ("; auto takes it" if first else "")
        )
        for first, (kind, device) in zip((True, *(False for _ in found)), found.items(), strict=False)
    ]
    cores = f"{usable_cores()} cores usable, torch uses {torch.get_num_threads()} threads"
    advice.append(Advice(well=True, subject="threads", message=cores))
    if importlib.util.find_spec(TPU_MODULE) is not None:
        told = "torch-tpu is installed; it is imported if a recipe sets training.device: tpu"
        advice.append(Advice(well=True, subject="device", message=told))
    built_for: str | None = torch.version.cuda
    if built_for is not None and not torch.cuda.is_available():
        advice.append(
            Advice(
                well=False,
                subject="torch",
                message=f"torch is built for CUDA {built_for} but finds no GPU; models will run on the CPU",
                cure="check the driver with nvidia-smi; without a GPU, the CPU build of torch saves several GB",
            )
        )
    return advice


def _describe_device(device_type: str, device: "Accelerator") -> str:
    """Describe a device and its memory.

    For example `cuda (NVIDIA H100 PCIe, 2 in all), 85.0 GB of memory, 84.1 GB free`.
    """
    import torch

    named = f"{device_type} ({device.name}" + (
        f", {torch.cuda.device_count()} in all)" if device_type == "cuda" else ")"
    )
    total, free = device.total_bytes(), device.free_bytes()
    memory = "" if total is None else f", {total / 1e9:.1f} GB of memory"
    return named + memory + ("" if free is None else f", {free / 1e9:.1f} GB free")


def _check_extras() -> list[Advice]:
    advice: list[Advice] = []
    for extra in EXTRAS:
        absent = missing_packages(extra)
        message = f"{', '.join(absent)} not installed" if absent else "installed"
        cure = install_command(extra) if absent else ""
        advice.append(Advice(well=not absent, subject=f"extra [{extra}]", message=message, cure=cure))
    return advice


def _check_torchvision() -> list[Advice]:
    """Check that torchvision was built for this torch.

    With another build its import fails unless danlu repairs it.
    """
    if importlib.util.find_spec("torchvision") is None:
        return []
    from danlu.core.imports import patch_torchvision

    if patch_torchvision() is None:
        return [Advice(well=True, subject="torchvision", message=f"{version('torchvision')} fits this torch")]
    import torch

    return [
        Advice(
            well=True,
            subject="torchvision",
            message=f"{version('torchvision')} was built for another torch than {torch.__version__}: its compiled "
            "operators do not load. danlu registers their schemas and uses none of them, so timm and transformers "
            "work in danlu; other programs need matching builds",
        )
    ]
