"""`danlu doctor`: this installation. Devices, versions that do not fit together, missing extras, and the cures."""

import importlib.util
from importlib.metadata import version
from typing import TYPE_CHECKING

from danlu.artifacts.environment import versions
from danlu.core.component import Frozen
from danlu.core.devices.opening import TPU_MODULE
from danlu.core.extras import EXTRAS, install_line, missing

if TYPE_CHECKING:
    from danlu.core.devices import Accelerator


class Advice(Frozen):
    """One thing found: whether it is well, what it is, and what to do if it is not."""

    well: bool
    subject: str
    message: str
    cure: str = ""


def doctor() -> list[Advice]:
    """Look at what is installed. Imports torch, and nothing that may break."""
    found = ", ".join(f"{name} {number}" for name, number in versions().items())
    return [Advice(well=True, subject="versions", message=found), *_devices(), *_extras(), *_torchvision()]


def _devices() -> list[Advice]:
    import torch

    from danlu.core.devices import found_devices
    from danlu.core.threads import usable_cores

    found = found_devices()
    advice = [
        Advice(well=True, subject="device", message=_device(kind, device) + ("; auto takes it" if first else ""))
        for first, (kind, device) in zip((True, *(False for _ in found)), found.items(), strict=False)
    ]
    cores = f"{usable_cores()} cores usable, torch uses {torch.get_num_threads()} threads"
    advice.append(Advice(well=True, subject="threads", message=cores))
    if importlib.util.find_spec(TPU_MODULE) is not None:
        told = "torch-tpu is installed; a recipe that asks for training.device: tpu imports it"
        advice.append(Advice(well=True, subject="device", message=told))
    built_for: str | None = torch.version.cuda
    if built_for is not None and not torch.cuda.is_available():
        advice.append(
            Advice(
                well=False,
                subject="torch",
                message=f"torch is built for CUDA {built_for} but finds no card; models will run on the CPU",
                cure="check the driver with nvidia-smi; without a card, the CPU build of torch saves several GB",
            )
        )
    return advice


def _device(kind: str, device: "Accelerator") -> str:
    """A device in words: `cuda (NVIDIA H100 PCIe, 2 in all), 85.0 GB of memory, 84.1 GB free`."""
    import torch

    named = f"{kind} ({device.name}" + (f", {torch.cuda.device_count()} in all)" if kind == "cuda" else ")")
    total, free = device.total_bytes(), device.free_bytes()
    memory = "" if total is None else f", {total / 1e9:.1f} GB of memory"
    return named + memory + ("" if free is None else f", {free / 1e9:.1f} GB free")


def _extras() -> list[Advice]:
    advice: list[Advice] = []
    for extra in EXTRAS:
        absent = missing(extra)
        message = f"{', '.join(absent)} not installed" if absent else "installed"
        cure = install_line(extra) if absent else ""
        advice.append(Advice(well=not absent, subject=f"extra [{extra}]", message=message, cure=cure))
    return advice


def _torchvision() -> list[Advice]:
    """Whether torchvision was built for this torch; beside another build its import fails without danlu's mending."""
    if importlib.util.find_spec("torchvision") is None:
        return []
    from danlu.core.torchvision import mend_torchvision

    if mend_torchvision() is None:
        return [Advice(well=True, subject="torchvision", message=f"{version('torchvision')} fits this torch")]
    import torch

    return [
        Advice(
            well=True,
            subject="torchvision",
            message=f"{version('torchvision')} was built for another torch than {torch.__version__}: its compiled "
            "operators do not load. danlu registers their schemas and uses none of them, so timm and transformers "
            "work here; other programs need builds that match",
        )
    ]
