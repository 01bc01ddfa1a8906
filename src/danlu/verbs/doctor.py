"""`danlu doctor`: this installation. Devices, versions that do not fit together, missing extras, and the cures."""

import importlib.util
from importlib.metadata import version

from danlu.artifacts.environment import versions
from danlu.core.component import Frozen
from danlu.core.extras import EXTRAS, install_line, missing


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

    from danlu.core.device import find_device, usable_cores

    device = find_device()
    named = f"{device}"
    if device.type == "cuda":
        named += f" ({torch.cuda.get_device_name()}, {torch.cuda.device_count()} in all)"
    cores = f"{usable_cores()} cores usable, torch uses {torch.get_num_threads()} threads"
    advice = [Advice(well=True, subject="device", message=f"{named}; {cores}")]
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
