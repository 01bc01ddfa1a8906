"""The same bits from the same inputs, on whichever device. What a device can do is in `core.devices`."""

import os


def make_deterministic() -> None:
    """Ask torch for the same bits from the same inputs; operators without such a version warn instead of failing."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As `use_deterministic_algorithms` does, which would import the compiler: a second that predicting can spare.
    torch.set_deterministic_debug_mode("warn")
    # Else every new tensor is filled first, for programs that read what nobody wrote: 4 % of a small ResNet's step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
