"""`danlu doctor`: check this installation, a run, or the cache, and say how to fix what is wrong.

Of an installation: devices, incompatible versions, missing extras. Of a run: every file that a later command reads.
"""

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat

from danlu.artifacts.cache import CacheUse, cache_root, prune_cache
from danlu.artifacts.environment import installed_versions
from danlu.artifacts.files import StrPath
from danlu.core.advice import Advice
from danlu.core.arguments import checked
from danlu.core.devices.setup import TPU_MODULE
from danlu.core.imports import EXTRAS, install_command, missing_packages
from danlu.errors import ArgumentError

if TYPE_CHECKING:
    from danlu.core.devices import Accelerator


UNUSED_DAYS = 30.0  # after which a cached result is pruned


@checked
def doctor(
    run: StrPath | None = None, *, cache: bool = False, unused_days: NonNegativeFloat = UNUSED_DAYS
) -> list[Advice]:
    """Check the installation, a run, or the cache.

    Of a run all files are verified that a later command reads; leftovers of a process that died are deleted, and an
    earlier run whose replacement came to nothing is brought back. The cache loses what was not used for long.

    Args:
        run: the run to check, instead of the installation.
        cache: show and prune the cache instead.
        unused_days: days after which an unused result of the cache is deleted; 0 empties it.

    Raises:
        ArgumentError: it is not a run, both are asked for, or the days are negative.
        ArtifactError: another process holds the run, or the cache cannot be pruned.

    Example:
        >>> import danlu
        >>> [advice.subject for advice in danlu.doctor()][0]
        'versions'
    """
    if run is not None and cache:
        raise ArgumentError("give a run or --cache, not both", code="DL401")
    if run is not None:
        from danlu.experiment.run_examination import examine_run

        return examine_run(Path(run))
    if cache:
        return _prune(unused_days)
    found = ", ".join(f"{name} {number}" for name, number in installed_versions().items())
    return [
        Advice(well=True, subject="versions", message=found),
        *_check_devices(),
        *_check_extras(),
        *_check_torchvision(),
    ]


def _prune(unused_days: float) -> list[Advice]:
    if not unused_days >= 0:
        raise ArgumentError(f"--unused-days {unused_days}: must be 0 or more", code="DL402")
    uses = prune_cache(unused_days)
    total = f"{sum(use.size_bytes for use in uses) / 1e6:,.1f} MB in {cache_root()}"
    return [Advice(well=True, subject="cache", message=total), *map(_describe_use, uses)]


def _describe_use(use: CacheUse) -> Advice:
    kept = f"{use.entries:,} results, {use.size_bytes / 1e6:,.1f} MB"
    gone = f"; deleted {use.pruned:,} unused or half-made, {use.freed_bytes / 1e6:,.1f} MB" if use.pruned else ""
    return Advice(well=True, subject=f"cache {use.kind}", message=kept + gone, mended=bool(use.pruned))


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
